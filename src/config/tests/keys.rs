//! Each key reaches its setting.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::gateway::HttpStatus;
use crate::gateway::admission::{self, ApiCeiling, ColdStart, Guarantee};
use crate::gateway::attempt::{self, Repeat};
use crate::gateway::caller::{Rule, Who};
use crate::gateway::policy::{ApiPattern, Rights};
use crate::model::ceiling::Ceiling;
use crate::model::region::Region;
use crate::net::listener::ListenAddress;
use crate::telemetry::logs;

#[test]
fn one_app_is_enough() {
    let Settings { boot, live } = settings("");
    assert_eq!(
        (boot.gateway.to_string(), boot.admin.to_string()),
        ("127.0.0.1:8080".into(), "127.0.0.1:9901".into())
    );
    assert_eq!(boot.limits, crate::gateway::Limits::default());
    assert_eq!(boot.drain.grace, Duration::from_secs(25));
    assert_eq!(live.ceiling, admission::Settings::default());
    assert_eq!(live.callers.header, "x-caller");
    let app = live.apps.default_app().unwrap();
    assert_eq!((app.region, app.keys.len()), (Some(Region::Singapore), 2));
    assert_eq!(app.keys[0].expose(), b"FAKENEW");
    assert_eq!(app.endpoints.v4[0].host(), "adminapisgp.im.qcloud.com");
    assert!(app.extra_roots.is_empty());
}

#[test]
fn every_key_reaches_its_setting() {
    let Settings { boot, live } = settings(
        r#"
        [listen]
        gateway = "unix:run/gateway.sock"
        admin = "[::1]:0"
        workers = 3
        max_connections = 5
        max_connections_per_source = 2
        max_in_flight = 7
        [limits]
        header_bytes = "8KiB"
        request_body = "2KiB"
        answer_body = "3KiB"
        buffered = "1MiB"
        header_timeout = "1s"
        body_timeout = "2s"
        idle_timeout = "3s"
        [log]
        format = "json"
        level = "debug"
        access = 0.01
        audit = true
        [usersig]
        ttl = "1m"
        renew_before = "59s"
        [ceiling]
        mode = "shadow"
        per_second = 11
        app_per_second = 17
        burst = 3
        max_waiting_per_caller = 9
        headroom = 0.5
        share = 2
        cold_start = "wait"
        max_wait = "0s"
        max_waiting = 13
        guarantee = "dispatch"
        transit_max = "1s"
        [ceiling.api]
        "live_config/get_callback" = 5
        "live_config/set_callback" = "off"
        "v1/callback/set" = { limit = 6, per = "1s" }
        "all_member_push/im_push" = [{ limit = 2, per = "1s" }, { limit = 300, per = "24h" }]
        [callers]
        header = "X-Service"
        [upstream]
        connect_timeout = "4s"
        request_timeout = "5s"
        total_timeout = "6s"
        egress_proxy = "http://proxy:3128"
        [retry]
        max_attempts = 4
        budget = 0.5
        [retry.api]
        "live_config/get_callback" = "never"
        "v4/openim/sendmsg" = "safe"
        [drain]
        accept_for = "0s"
        grace = "8s"
        [answers]
        http_status = "always-200"
        "#,
    );
    assert_eq!(boot.gateway, ListenAddress::Unix("run/gateway.sock".into()));
    assert_eq!((boot.admin.to_string(), boot.workers.unwrap().get()), ("[::1]:0".into(), 3));
    assert_eq!((boot.max_connections, boot.max_in_flight), (5, 7));
    assert_eq!(boot.max_connections_per_source.unwrap().get(), 2);
    let seconds = Duration::from_secs;
    let limits = crate::gateway::Limits {
        header_bytes: 8192,
        request_body: 2048,
        answer_body: 3072,
        buffered: 1 << 20,
        header_timeout: seconds(1),
        body_timeout: seconds(2),
        idle_timeout: seconds(3),
    };
    assert_eq!(boot.limits, limits);
    assert_eq!(boot.log, logs::Settings { format: logs::Format::Json, level: logs::Level::Debug });
    assert_eq!((live.record.access_share, live.record.audit), (0.01, true));
    assert_eq!((live.usersig.ttl, live.usersig.renew_before), (seconds(60), seconds(59)));
    let per_second = |number| NonZeroU32::new(number).unwrap();
    let a_second = |number| Ceiling::per_second(per_second(number));
    let a_day = Ceiling { limit: per_second(300), period: seconds(24 * 3600) };
    let api = [
        ("live_config/get_callback", ApiCeiling::per_second(per_second(5))),
        ("live_config/set_callback", ApiCeiling::Off),
        ("v1/callback/set", ApiCeiling::per_second(per_second(6))),
        ("all_member_push/im_push", ApiCeiling::Periods(vec![a_second(2), a_day])),
    ];
    let ceiling = admission::Settings {
        mode: admission::Mode::Shadow,
        per_second: per_second(11),
        app_per_second: NonZeroU32::new(17),
        burst: NonZeroU32::new(3),
        headroom: 0.5,
        share: per_second(2),
        cold_start: ColdStart::Wait,
        max_wait: Duration::ZERO,
        max_waiting: 13,
        max_waiting_per_caller: 9,
        guarantee: Guarantee::Dispatch,
        transit_max: seconds(1),
        api: api.into_iter().map(|(name, ceiling)| (name.parse().unwrap(), ceiling)).collect(),
    };
    assert_eq!(live.ceiling, ceiling);
    assert_eq!(live.callers.header, "x-service");
    let upstream = &live.upstream;
    let timeouts = [upstream.connect_timeout, upstream.request_timeout, upstream.total_timeout];
    assert_eq!(timeouts, [seconds(4), seconds(5), seconds(6)]);
    assert_eq!(upstream.egress_proxy.as_ref().unwrap().uri().host(), Some("proxy"));
    let api = [("live_config/get_callback", Repeat::Never), ("openim/sendmsg", Repeat::Safe)];
    let retry = attempt::Settings {
        max_attempts: per_second(4),
        budget: 0.5,
        api: api.into_iter().map(|(name, repeat)| (name.parse().unwrap(), repeat)).collect(),
    };
    assert_eq!(live.retry, retry);
    assert_eq!((boot.drain.accept_for, boot.drain.grace), (Duration::ZERO, seconds(8)));
    assert_eq!(live.answers.http_status, HttpStatus::Always200);
}

#[test]
fn every_key_of_a_rule_reaches_its_setting() {
    let text = format!(
        r#"{APP}
        [[callers.rule]]
        name = "gifts"
        cidr = ["10.2.0.0/16", "2001:db8::1"]
        tls_name = ["Gifts.example", "spiffe://example/gifts"]
        apps = ["live"]
        allow = ["live_engine_http_srv/*gift*", "live_config/get_callback_token"]
        deny = ["v1/*/*"]
        weight = 2
        max_per_second = 50
        [[callers.rule]]
        name = "local"
        uid = [0, 1000]
        deny = []
        max_per_second = 0
        "#
    );
    let live = parsed(&text, &[]).unwrap().settings.live;
    let number = |number| NonZeroU32::new(number).unwrap();
    let gifts = Rule {
        name: "gifts".parse().unwrap(),
        who: Who {
            networks: vec!["10.2.0.0/16".parse().unwrap(), "2001:db8::1/128".parse().unwrap()],
            tls_names: vec!["gifts.example".parse().unwrap(), "spiffe://example/gifts".parse().unwrap()],
            uids: Vec::new(),
        },
        weight: number(2),
        max_per_second: Some(number(50)),
    };
    let local = Rule {
        name: "local".parse().unwrap(),
        who: Who { uids: vec![0, 1000], ..Who::default() },
        weight: number(1),
        max_per_second: None,
    };
    assert_eq!(live.callers.rules.iter().map(|rule| &**rule).collect::<Vec<_>>(), [&gifts, &local]);
    let pattern = |text: &str| text.parse::<ApiPattern>().unwrap();
    let rights = Rights {
        apps: vec!["live".parse().unwrap()],
        allow: Some(vec![pattern("live_engine_http_srv/*gift*"), pattern("live_config/get_callback_token")]),
        deny: vec![pattern("v1/*/*")],
    };
    let rights = HashMap::from([(gifts.name, rights), (local.name, Rights::default())]);
    assert_eq!(live.rules.rights, rights);
}

#[test]
fn what_asks_for_nothing_is_taken_though_the_feature_is_missing() {
    let settings = settings(
        r#"
        listen.admin_token_file = ""
        tracing.otlp_endpoint = ""
        callers.rule = []
        [ceiling]
        app_per_second = 0
        burst = 0
        max_waiting = 512
        max_waiting_per_caller = 512
        "#,
    );
    assert_eq!(settings.live.ceiling.max_waiting, 512);
}

#[test]
fn the_environment_overrides_what_has_one_value() {
    let overrides = [
        ("USERSIG_GATEWAY__LISTEN__MAX_CONNECTIONS", "5"),
        ("USERSIG_GATEWAY__LOG__ACCESS", "0.5"),
        ("USERSIG_GATEWAY__LOG__AUDIT", "true"),
        ("USERSIG_GATEWAY__CEILING__MAX_WAIT", "1s"),
        ("USERSIG_GATEWAY_SERVICE_HOST", "10.0.0.1"),
    ];
    let text = format!("listen.max_connections = 'many'{APP}");
    let Settings { boot, live } = parsed(&text, &overrides).unwrap().settings;
    assert_eq!(boot.max_connections, 5);
    assert_eq!((live.record.access_share, live.record.audit), (0.5, true));
    assert_eq!(live.ceiling.max_wait, Duration::from_secs(1));
}

#[test]
fn traces_go_where_the_file_says_and_nowhere_by_default() {
    let of = |text: &str| settings(text).boot.tracing;
    assert_eq!(of(""), crate::telemetry::traces::Settings::default());
    let tracing = of("[tracing]\notlp_endpoint = \"http://collector:4318\"\nsample = 0.1\npropagate = true");
    assert_eq!(tracing.collector.unwrap().to_string(), "http://collector:4318/v1/traces");
    assert!(tracing.propagate && (tracing.sample - 0.1).abs() < f64::EPSILON);
}
