use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::model::call_outcome::CallOutcome;
use crate::model::error_code::ErrorCode;
use crate::telemetry::labels::{APIS, OTHER};

const MS: Duration = Duration::from_millis(1);
const API: &str = "live_config/get_callback";

/// The value of the one sample that begins so, up to the space before its value.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    Some(line.parse().expect("a number"))
}

fn samples(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count()
}

/// One of everything, so that every family shows.
fn full() -> Arc<Metrics> {
    let metrics = Metrics::new("1.2.3");
    let endpoint = Endpoint::https("a.example");
    let api = metrics.api("live", API);
    let caller = metrics.caller("gifts");
    api.call(caller, ErrorCode(60007), CallOutcome::Throttled, 7 * MS);
    api.refused(caller, "queue_full");
    api.retried("broken");
    api.waited(Duration::ZERO);
    api.attempt(&endpoint, "answered");
    api.upstream(&endpoint, 5 * MS);
    metrics.ignored_header("priority");
    metrics.usersig_signed("live", 1_700_000_000);
    metrics.usersig_failed("live");
    metrics.app_tripped("live", "wrong_key", true);
    metrics.endpoint_healthy("live", &endpoint, true);
    metrics.config_reloaded("ok");
    metrics.clock_skew(&endpoint, -2);
    metrics.register_ceilings(Box::new(|| {
        vec![CeilingReading {
            app: "live".into(),
            api: API.into(),
            limit: 190.5,
            used: 12,
            waiting: 3,
            leased: 0,
            unproven: 4,
            shadowed: 5,
        }]
    }));
    metrics
}

#[test]
fn every_family_has_its_contracted_name_and_labels() {
    let text = full().encode();
    let samples: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("usersig_gateway_") && !line.contains("_bucket{"))
        .map(|line| line.rsplit_once(' ').expect("a sample").0)
        .collect();
    let expected = [
        r#"usersig_gateway_admission_wait_seconds_count{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_admission_wait_seconds_sum{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_app_tripped{app="live",reason="wrong_key"}"#,
        r#"usersig_gateway_attempts_total{app="live",endpoint="a.example",result="answered"}"#,
        r#"usersig_gateway_build_info{version="1.2.3"}"#,
        r#"usersig_gateway_call_duration_seconds_count{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_call_duration_seconds_sum{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_calls_total{api="live_config/get_callback",app="live",caller="gifts",error_code="60007",outcome="throttled"}"#,
        r#"usersig_gateway_ceiling_leased{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_ceiling_limit{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_ceiling_store_commands_total{result="late"}"#,
        r#"usersig_gateway_ceiling_store_commands_total{result="ok"}"#,
        r#"usersig_gateway_ceiling_store_commands_total{result="refused"}"#,
        r#"usersig_gateway_ceiling_store_commands_total{result="timeout"}"#,
        r#"usersig_gateway_ceiling_store_commands_total{result="unreachable"}"#,
        r#"usersig_gateway_ceiling_store{mode="degraded"}"#,
        r#"usersig_gateway_ceiling_store{mode="local"}"#,
        r#"usersig_gateway_ceiling_store{mode="shared"}"#,
        r#"usersig_gateway_ceiling_shadow_total{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_ceiling_unproven_total{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_ceiling_used{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_ceiling_waiting{api="live_config/get_callback",app="live"}"#,
        r#"usersig_gateway_clock_skew_seconds{endpoint="a.example"}"#,
        r#"usersig_gateway_config_reloads_total{result="failed"}"#,
        r#"usersig_gateway_config_reloads_total{result="ok"}"#,
        r#"usersig_gateway_connections{listener="admin"}"#,
        r#"usersig_gateway_connections{listener="gateway"}"#,
        r#"usersig_gateway_endpoint_healthy{app="live",endpoint="a.example"}"#,
        r#"usersig_gateway_ignored_headers_total{header="priority"}"#,
        r#"usersig_gateway_refused_total{api="live_config/get_callback",app="live",caller="gifts",reason="queue_full"}"#,
        r#"usersig_gateway_retries_total{api="live_config/get_callback",app="live",reason="broken"}"#,
        r#"usersig_gateway_trace_spans_total{result="dropped"}"#,
        r#"usersig_gateway_trace_spans_total{result="exported"}"#,
        r#"usersig_gateway_trace_spans_total{result="failed"}"#,
        r#"usersig_gateway_upstream_duration_seconds_count{api="live_config/get_callback",app="live",endpoint="a.example"}"#,
        r#"usersig_gateway_upstream_duration_seconds_sum{api="live_config/get_callback",app="live",endpoint="a.example"}"#,
        r#"usersig_gateway_usersig_expires_timestamp_seconds{app="live"}"#,
        r#"usersig_gateway_usersig_signed_total{app="live",result="failed"}"#,
        r#"usersig_gateway_usersig_signed_total{app="live",result="ok"}"#,
    ];
    assert_eq!(samples, BTreeSet::from(expected));
}

#[test]
fn every_family_has_help_in_a_sentence_and_a_type() {
    let text = full().encode();
    let mut families = 0;
    for line in text.lines().filter(|line| line.starts_with("# HELP ")) {
        families += 1;
        assert!(line.ends_with('.') || line.contains(" process_"), "{line}");
        let name = line.split(' ').nth(2).expect("a name");
        assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
    }
    assert_eq!(families, text.lines().filter(|line| line.starts_with("# TYPE ")).count());
    assert_eq!(text.lines().filter(|line| line.starts_with("# HELP usersig_gateway_")).count(), 25);
}

#[test]
fn values_are_those_that_were_counted() {
    let metrics = full();
    let api = metrics.api("live", API);
    let caller = metrics.caller("gifts");
    api.call(caller, ErrorCode(60007), CallOutcome::Throttled, 70 * MS);
    api.attempt(&Endpoint::https("a.example"), "answered");
    let text = metrics.encode();
    let of = |name: &str, labels: &str| value(&text, &format!("usersig_gateway_{name}{{{labels}}}"));
    let here = r#"api="live_config/get_callback",app="live""#;
    let throttled = format!(r#"{here},caller="gifts",error_code="60007",outcome="throttled""#);
    assert_eq!(of("calls_total", &throttled), Some(2.0));
    assert_eq!(of("refused_total", &format!(r#"{here},caller="gifts",reason="queue_full""#)), Some(1.0));
    assert_eq!(of("call_duration_seconds_bucket", &format!(r#"{here},le="0.005""#)), Some(0.0));
    assert_eq!(of("call_duration_seconds_bucket", &format!(r#"{here},le="0.01""#)), Some(1.0));
    assert_eq!(of("call_duration_seconds_bucket", &format!(r#"{here},le="0.1""#)), Some(2.0));
    assert_eq!(of("admission_wait_seconds_bucket", &format!(r#"{here},le="0.0001""#)), Some(1.0));
    assert_eq!(of("attempts_total", r#"app="live",endpoint="a.example",result="answered""#), Some(2.0));
    assert_eq!(of("ceiling_limit", here), Some(190.5));
    assert_eq!(of("ceiling_used", here), Some(12.0));
    assert_eq!(of("ceiling_waiting", here), Some(3.0));
    assert_eq!(of("ceiling_unproven_total", here), Some(4.0));
    assert_eq!(of("ceiling_shadow_total", here), Some(5.0));
    assert_eq!(of("endpoint_healthy", r#"app="live",endpoint="a.example""#), Some(1.0));
    assert_eq!(of("clock_skew_seconds", r#"endpoint="a.example""#), Some(-2.0));
    assert_eq!(of("ceiling_store", r#"mode="local""#), Some(1.0));
    assert_eq!(of("ceiling_store", r#"mode="shared""#), Some(0.0));
    assert_eq!(of("usersig_expires_timestamp_seconds", r#"app="live""#), Some(1_700_000_000.0));
}

#[test]
fn the_process_tells_of_itself() {
    let text = Metrics::new("1").encode();
    for name in ["process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(value(&text, name).is_some_and(|value| value > 0.0), "{name}");
    }
}

#[test]
fn ceilings_are_read_anew_each_time() {
    let metrics = Metrics::new("1");
    assert_eq!(samples(&metrics.encode(), "usersig_gateway_ceiling_limit"), 0);
    let reading = |api: &str| CeilingReading {
        app: "live".into(),
        api: api.into(),
        limit: 1.0,
        used: 0,
        waiting: 0,
        leased: 0,
        unproven: 0,
        shadowed: 0,
    };
    let (first, second) = (reading("a/b"), reading("a/c"));
    metrics.register_ceilings(Box::new(move || vec![first.clone()]));
    assert!(metrics.encode().contains(r#"ceiling_limit{api="a/b",app="live"} 1"#));
    metrics.register_ceilings(Box::new(move || vec![second.clone()]));
    let text = metrics.encode();
    assert!(text.contains(r#"ceiling_limit{api="a/c",app="live"} 1"#));
    assert_eq!(samples(&text, "usersig_gateway_ceiling_limit"), 1);
}

#[test]
fn counters_of_a_ceiling_stay_when_it_is_forgotten_and_never_go_back() {
    let metrics = Metrics::new("1");
    let reading = |api: &str, unproven, shadowed| CeilingReading {
        app: "live".into(),
        api: api.into(),
        limit: 1.0,
        used: 0,
        waiting: 0,
        leased: 0,
        unproven,
        shadowed,
    };
    let shown = |readings: Vec<CeilingReading>| {
        metrics.register_ceilings(Box::new(move || readings.clone()));
        let text = metrics.encode();
        let of = |family: &str| {
            value(&text, &format!(r#"usersig_gateway_ceiling_{family}{{api="a/b",app="live"}}"#))
        };
        (of("unproven_total"), of("shadow_total"), of("limit"))
    };
    assert_eq!(shown(vec![reading("a/b", 0, 0)]), (Some(0.0), Some(0.0), Some(1.0)));
    assert_eq!(shown(vec![reading("a/c", 0, 0)]), (None, None, None));
    assert_eq!(shown(vec![reading("a/b", 7, 0)]), (Some(7.0), Some(0.0), Some(1.0)));
    assert_eq!(shown(Vec::new()), (Some(7.0), Some(0.0), None));
    assert_eq!(shown(vec![reading("a/b", 8, 2)]), (Some(8.0), Some(2.0), Some(1.0)));
    assert_eq!(shown(vec![reading("a/b", 3, 2)]), (Some(8.0), Some(2.0), Some(1.0)));
}

#[test]
fn the_same_names_share_their_counters() {
    let metrics = Metrics::new("1");
    assert!(Arc::ptr_eq(&metrics.api("live", API), &metrics.api("live", API)));
    assert!(!Arc::ptr_eq(&metrics.api("live", API), &metrics.api("chat", API)));
}

#[test]
fn an_endpoint_with_tls_and_without_is_one() {
    let metrics = Metrics::new("1");
    let api = metrics.api("live", API);
    for url in ["http://localhost:8443", "https://localhost:8443"] {
        let endpoint = url.parse().unwrap();
        api.attempt(&endpoint, "answered");
        api.upstream(&endpoint, MS);
    }
    let text = metrics.encode();
    for family in ["attempts_total", "upstream_duration_seconds_count"] {
        let name = format!("usersig_gateway_{family}");
        let line = text.lines().find(|line| line.starts_with(&name)).unwrap();
        assert_eq!((samples(&text, &name), line.rsplit_once(' ').unwrap().1), (1, "2"), "{family}");
    }
}

#[test]
fn callers_beyond_the_cap_share_a_label() {
    let metrics = Metrics::new("1");
    let api = metrics.api("live", API);
    for n in 0..CALLERS + 50 {
        api.call(metrics.caller(&format!("c{n}")), ErrorCode::OK, CallOutcome::Ok, MS);
        api.refused(metrics.caller(&format!("c{n}")), "queue_full");
    }
    let text = metrics.encode();
    assert_eq!(samples(&text, "usersig_gateway_calls_total"), CALLERS + 1);
    assert_eq!(samples(&text, "usersig_gateway_refused_total"), CALLERS + 1);
    let other = format!(
        r#"usersig_gateway_calls_total{{api="{API}",app="live",caller="{OTHER}",error_code="0",outcome="ok"}}"#
    );
    assert_eq!(value(&text, &other), Some(50.0));
    // Nobody knew the caller: that is no caller like others.
    assert_eq!(&*metrics.shared.callers.text(metrics.caller(UNKNOWN)), UNKNOWN);
}

#[test]
fn codes_beyond_the_cap_share_a_label_and_our_own_never_do() {
    let metrics = Metrics::new("1");
    let api = metrics.api("live", API);
    let caller = metrics.caller("gifts");
    for code in 1..=i64::try_from(ERROR_CODES).unwrap() + 50 {
        api.call(caller, ErrorCode(code), CallOutcome::TencentError, MS);
        api.call(caller, ErrorCode(code), CallOutcome::TencentError, MS);
    }
    let own = ErrorCode::of_gateway(http::StatusCode::TOO_MANY_REQUESTS);
    api.call(caller, own, CallOutcome::Refused, MS);
    let text = metrics.encode();
    assert_eq!(samples(&text, "usersig_gateway_calls_total"), ERROR_CODES + 2);
    assert!(text.contains(r#"error_code="9900429",outcome="refused"} 1"#));
    assert!(text.contains(r#"error_code="other",outcome="tencent_error"} 100"#));
}

#[test]
fn apis_outside_the_catalogue_are_capped_for_each_app() {
    let metrics = Metrics::new("1");
    for n in 0..APIS + 50 {
        _ = metrics.api("live", &format!("made/up_{n}"));
    }
    assert_eq!(metrics.apis.len_of("live"), APIS + 1);
    let text = metrics.encode();
    assert!(text.contains(r#"call_duration_seconds_count{api="other",app="live"}"#));
    // One of the catalogue keeps its name even now, and so does one of another app.
    _ = (metrics.api("live", API), metrics.api("chat", "made/up_1049"));
    let text = metrics.encode();
    assert!(text.contains(&format!(r#"call_duration_seconds_count{{api="{API}",app="live"}}"#)));
    assert!(text.contains(r#"call_duration_seconds_count{api="made/up_1049",app="chat"}"#));
}

#[test]
fn series_that_name_their_caller_are_capped_over_all_apis() {
    let metrics = Metrics::with_bounds("1", 100, 30);
    for n in 0..20 {
        let api = metrics.api("live", &format!("made/up_{n}"));
        for caller in ["a", "b", "c"] {
            for _ in 0..3 {
                api.call(metrics.caller(caller), ErrorCode::OK, CallOutcome::Ok, MS);
            }
        }
    }
    let text = metrics.encode();
    // Ten APIs name their three callers; the other ten have one series each.
    assert_eq!(samples(&text, "usersig_gateway_calls_total"), 40);
    let last = r#"usersig_gateway_calls_total{api="made/up_19",app="live",caller="other",error_code="0",outcome="ok"}"#;
    assert_eq!(value(&text, last), Some(9.0));
}

#[test]
fn hostile_label_values_cannot_break_out_of_their_line() {
    let metrics = Metrics::new("1");
    let hostile = "a\"} 1\nfaked_total{x=\"\\";
    metrics.api(hostile, hostile).call(metrics.caller(hostile), ErrorCode::OK, CallOutcome::Ok, MS);
    let text = metrics.encode();
    assert!(!text.lines().any(|line| line.starts_with("faked_total")));
    assert!(text.contains(r#"caller="a\"} 1\nfaked_total{x=\"\\","#), "{text}");
}

#[test]
fn a_connection_counts_while_it_lives() {
    let metrics = Metrics::new("1");
    let open = [metrics.connection(Listener::Gateway), metrics.connection(Listener::Gateway)];
    let gateway = r#"usersig_gateway_connections{listener="gateway"}"#;
    assert_eq!(value(&metrics.encode(), gateway), Some(2.0));
    drop(open);
    assert_eq!(value(&metrics.encode(), gateway), Some(0.0));
}

#[test]
fn a_scrape_beside_counting_sees_whole_numbers_only() {
    let metrics = Metrics::new("1");
    let api = metrics.api("live", API);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..1_000 {
                    let caller = metrics.caller(&format!("c{}", n % 7));
                    api.call(caller, ErrorCode(n % 5), CallOutcome::Ok, MS);
                }
            });
        }
        for _ in 0..5 {
            assert!(metrics.encode().ends_with('\n'));
        }
    });
    let text = metrics.encode();
    let sum: f64 = text
        .lines()
        .filter(|line| line.starts_with("usersig_gateway_calls_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert!((sum - 2_000.0).abs() < f64::EPSILON, "{sum}");
}

#[test]
fn who_waits_is_shown_by_name_and_stays_at_zero() {
    let metrics = Metrics::with_bounds("1", 1, 100);
    let waiting = |callers: &[(&str, u64)]| {
        let readings: Vec<_> = callers
            .iter()
            .map(|&(caller, calls)| WaitingReading { app: "live".to_owned(), caller: caller.into(), calls })
            .collect();
        metrics.register_waiting(Box::new(move || readings.clone()));
        let text = metrics.encode();
        ["gifts", OTHER].map(|caller| {
            value(&text, &format!(r#"usersig_gateway_caller_waiting{{app="live",caller="{caller}"}}"#))
        })
    };
    assert_eq!(waiting(&[]), [None, None]);
    assert_eq!(waiting(&[("gifts", 3)]), [Some(3.0), None]);
    assert_eq!(waiting(&[("gifts", 1), ("a", 2), ("b", 5)]), [Some(1.0), Some(7.0)]);
    assert_eq!(waiting(&[]), [Some(0.0), Some(0.0)]);
}

#[test]
fn the_last_minute_is_what_the_counters_have_grown_by() {
    let metrics = Metrics::new("1");
    let (api, gifts) = (metrics.api("live", API), metrics.caller("gifts"));
    let began = Instant::now();
    let at = |seconds: u64| began + Duration::from_secs(seconds);
    let call = |code: i64, outcome| api.call(gifts, ErrorCode(code), outcome, MS);
    let endpoint = Endpoint::https("a.example");
    assert_eq!(metrics.last_minute(began), Minute::default());
    metrics.keep_reading(began);
    call(0, CallOutcome::Ok);
    api.waited(Duration::from_millis(10));
    api.waited(Duration::from_millis(30));
    api.upstream(&endpoint, Duration::from_millis(50));
    for n in 1..=12 {
        metrics.keep_reading(at(5 * n));
    }
    let minute = metrics.last_minute(at(60));
    assert_eq!((minute.span, minute.calls.len(), minute.times.len()), (MINUTE, 1, 1));
    let of = &minute.calls[0];
    assert_eq!((&*of.app, &*of.api, &*of.caller), ("live", API, "gifts"));
    assert_eq!((of.code, of.outcome, of.count), (Some(ErrorCode::OK), CallOutcome::Ok, 1));
    let milliseconds = |mean: Option<Duration>| mean.map(|mean| mean.as_secs_f64() * 1e3).map(f64::round);
    let times = &minute.times[0];
    assert_eq!((milliseconds(times.wait), milliseconds(times.upstream)), (Some(20.0), Some(50.0)));

    // A reading later it is over; what came meanwhile is not.
    call(60007, CallOutcome::Throttled);
    call(60007, CallOutcome::Throttled);
    metrics.keep_reading(at(65));
    let minute = metrics.last_minute(at(66));
    assert_eq!((minute.span.as_secs(), minute.calls.len(), minute.times.len()), (61, 1, 0));
    assert_eq!((minute.calls[0].code, minute.calls[0].count), (Some(ErrorCode(60007)), 2));
    // However often they are read.
    assert_eq!(metrics.readings.len(), 14 - 1);
}
