//! What a whole configuration becomes.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

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

const APP: &str = "
[[app]]
name = 'live'
sdkappid = 20000001
identifier = 'administrator'
secret_key_env = 'LIVE_KEY'
";

fn parsed(text: &str, overrides: &[(&str, &str)]) -> Result<Loaded, String> {
    let key = [("LIVE_KEY", "FAKENEW\nFAKEOLD")];
    let environment = key.iter().chain(overrides).copied().collect();
    parse(text, "gateway.toml".as_ref(), &environment).map_err(|problems| problems.to_string())
}

/// The settings of `text` and one app.
fn settings(text: &str) -> Settings {
    parsed(&format!("{text}{APP}"), &[]).unwrap().settings
}

/// The warnings of `text` and one app.
fn warnings(text: &str) -> Vec<String> {
    let loaded = parsed(&format!("{text}{APP}"), &[]).unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_that_stands_where_a_name_belongs_is_not_shown() {
    let key = "FAKE0123456789abcdef".repeat(4);
    for text in [format!("[{key}]"), format!("limits.{key} = 1"), format!("{key} = 'live.key'")] {
        let told = parse(&text, Path::new("gateway.toml"), &Environment::default()).unwrap_err();
        let told = format!("{told} {told:?}");
        assert!(told.contains("unknown key") && !told.contains("0123456789"), "{told}");
    }
}

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
fn a_rule_that_matches_nobody_or_nothing_is_a_warning() {
    let rule = |text: &str| format!("[[callers.rule]]\nname = 'gifts'\n{text}");
    let told = |text: &str| {
        let warnings = warnings(text);
        warnings.into_iter().map(|told| told.split_once(": ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    for (text, warning) in [
        (
            "uid = [0]",
            "uid: the rule matches nobody: only a Unix socket tells the user, and listen.gateway is none",
        ),
        (
            "tls_name = ['a.example']",
            "tls_name: the rule matches nobody: listen.tls.client_ca_file is not set",
        ),
        (
            "cidr = ['::1']\nallow = ['live_config/get_calback']",
            "allow[0]: the catalogue knows no API like live_config/get_calback, did you mean live_config/get_callback?",
        ),
        (
            "cidr = ['::1']\nallow = ['*']\ndeny = ['live_confg/*']",
            "deny[0]: the catalogue knows no API like live_confg/*, did you mean live_config/…?",
        ),
        (
            "cidr = ['::1']\nallow = ['*/fly_to_the_moon']",
            "allow[0]: the catalogue knows no API like */fly_to_the_moon",
        ),
    ] {
        assert_eq!(told(&rule(text)), [format!("callers.rule[0].{warning}")], "{text}");
    }
    for text in [
        "cidr = ['::1']\nallow = ['*', 'v1/*/*', 'live_*/*', 'room_config/get_callback_token']",
        "cidr = ['0.0.0.0/0']",
    ] {
        assert_eq!(told(&rule(text)), Vec::<String>::new(), "{text}");
    }
    let on_socket = |text: &str| told(&format!("listen.gateway = 'unix:run/x'\n{}", rule(text)));
    assert_eq!(on_socket("uid = [0]"), Vec::<String>::new());
    assert_eq!(
        on_socket("cidr = ['::1']"),
        [
            "callers.rule[0].cidr: the rule matches nobody: what comes through the Unix socket at listen.gateway has \
          no address"
        ]
    );
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
fn an_override_that_is_wrong_is_named_by_its_variable() {
    for (variable, value, problem) in [
        ("LISTEN__WORKERS", "two", "listen.workers: found \"two\", wanted a whole number from 0 to 1024"),
        ("LISTEN__WORKER", "2", "listen.worker: unknown key, did you mean listen.workers?"),
        ("LISTENN__WORKERS", "2", "listenn: unknown key, did you mean listen?"),
        ("listen__workers", "2", "LISTEN: unknown key"),
        ("", "2", "\"\": unknown key"),
        ("LISTEN", "2", "listen: found \"2\", wanted a table"),
        ("LISTEN__WORKERS__X", "2", "listen.workers.x: found 1, wanted a table"),
        ("APP__0__NAME", "live", "app.0.name: the environment cannot override what is in a list"),
        ("CALLERS__RULE", "2", "callers.rule: the environment cannot override a list"),
        ("CEILING__API__X", "2", "ceiling.api.x: the environment cannot override what has a quoted key"),
        (
            "UPSTREAM__TOTAL_TIMEOUT",
            "1s",
            "upstream.total_timeout: found \"1s\", wanted at least upstream.request_timeout (\"10s\", the default)",
        ),
    ] {
        let variable = format!("USERSIG_GATEWAY__{variable}");
        let error = parsed(&format!("listen.workers = 1{APP}"), &[(&variable, value)]).unwrap_err();
        assert_eq!(error, format!("{variable}: {problem}"));
    }
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_a_warning() {
    assert_eq!(warnings(""), Vec::<String>::new());
    for (text, warning) in [
        (
            "listen.gateway = '0.0.0.0:8080'",
            "1: listen.gateway: whoever reaches 0.0.0.0:8080 can call every app",
        ),
        ("listen.admin = '[::]:9901'", "1: listen.admin: whoever reaches [::]:9901 sees metrics and status"),
        (
            "ceiling.max_wait = '20s'",
            "1: ceiling.max_wait: ceiling.max_wait (\"20s\") leaves nothing of upstream.total_timeout (\"20s\")",
        ),
        (
            "ceiling.api.'live_config/get_callbak' = 5",
            "1: ceiling.api.\"live_config/get_callbak\": the catalogue does not know this API, did you mean \
             live_config/get_callback?",
        ),
        (
            "ceiling.api.'live_config/get_callback' = [{ limit = 5, per = '1s' }, { limit = 300, per = '1m' }]",
            "1: ceiling.api.\"live_config/get_callback\": 300 in \"1m\" never holds anything back beside 5 in \"1s\"",
        ),
        (
            "retry.api.'live_config/no_such_api_at_all' = 'never'",
            "1: retry.api.\"live_config/no_such_api_at_all\": the catalogue does not know this API",
        ),
    ] {
        let [found] = &warnings(text)[..] else { panic!("{text}: {:?}", warnings(text)) };
        assert!(found.starts_with(&format!("gateway.toml:{warning}")), "{found}");
    }
}

#[test]
fn what_is_no_ceiling_is_a_problem() {
    let periods =
        |count: u32| (1..=count).map(|n| format!("{{ limit = {n}, per = '{n}s' }}")).collect::<Vec<_>>();
    let too_many = format!("[{}]", periods(5).join(", "));
    for ceiling in [
        "0",
        "-1",
        "1.5",
        "4294967296",
        "'fast'",
        "[]",
        "{ limit = 5 }",
        "{ limit = 0, per = '1s' }",
        "{ limit = -5, per = '1s' }",
        "{ limit = 5, per = '0s' }",
        "{ limit = 5, per = '9ms' }",
        "{ limit = 5, per = '745h' }",
        "[{ limit = 5, per = '1s' }, { limit = 6, per = '1s' }]",
        &too_many,
    ] {
        let error =
            parsed(&format!("ceiling.api.'live_config/get_callback' = {ceiling}{APP}"), &[]).unwrap_err();
        assert!(error.contains("1: ceiling.api.\"live_config/get_callback\""), "{ceiling}: {error}");
    }
}

#[test]
fn a_region_that_disagrees_with_the_number_is_a_warning() {
    let loaded = parsed(&format!("{APP}region = 'seoul'"), &[]).unwrap();
    let warning = "gateway.toml:7: app[0].region: seoul is set, but an SDKAppID such as 20000001 usually belongs to singapore";
    assert!(loaded.warnings[0].to_string().starts_with(warning), "{}", loaded.warnings[0]);
    let app = loaded.settings.live.apps.default_app().unwrap();
    assert_eq!((app.region, app.endpoints.v4[0].host()), (Some(Region::Seoul), "adminapikr.im.qcloud.com"));
    assert_eq!(parsed(&format!("{APP}region = 'singapore'"), &[]).unwrap().warnings, []);
}

#[test]
fn private_endpoints_stand_in_for_a_region() {
    let text = format!("{APP}endpoints = ['https://127.0.0.1:18443', 'http://localhost:18080']");
    let settings = parsed(&text, &[]).unwrap().settings;
    let app = settings.live.apps.default_app().unwrap();
    let endpoints: Vec<_> = app.endpoints.v4.iter().map(ToString::to_string).collect();
    assert_eq!(
        (app.region, endpoints),
        (None, vec!["https://127.0.0.1:18443".into(), "http://localhost:18080".into()])
    );
}

#[test]
fn an_endpoint_must_not_lead_back() {
    let leads_back = |gateway: &str, endpoint: &str| {
        let text = format!("listen.gateway = '{gateway}'{APP}endpoints = ['{endpoint}']");
        parsed(&text, &[]).is_err_and(|error| error.contains("not this gateway's own listener"))
    };
    assert!(leads_back("127.0.0.1:8080", "http://127.0.0.1:8080"));
    assert!(leads_back("127.0.0.1:8080", "http://localhost:8080"));
    assert!(leads_back("127.0.0.1:8080", "https://0.0.0.0:8080"));
    assert!(leads_back("0.0.0.0:8080", "http://127.0.0.1:8080"));
    assert!(leads_back("[::]:8080", "http://127.0.0.1:8080"));
    assert!(leads_back("10.0.0.1:8080", "https://10.0.0.1:8080"));
    assert!(leads_back("127.0.0.1:8080", "http://127.0.0.1:9901"), "the admin listener is one of ours, too");
    assert!(!leads_back("0.0.0.0:8080", "http://[::1]:8080"));
    assert!(!leads_back("127.0.0.1:8080", "http://127.0.0.1:8081"));
    assert!(!leads_back("127.0.0.1:8080", "http://127.0.0.2:8080"));
    assert!(!leads_back("10.0.0.1:8080", "http://localhost:8080"));
    assert!(!leads_back("0.0.0.0:8080", "https://example.com:8080"));
    assert!(!leads_back("unix:/run/gateway.sock", "http://127.0.0.1:8080"));
}

#[test]
fn two_listeners_need_two_addresses() {
    let collide = |gateway: &str, admin: &str| {
        let text = format!("listen.gateway = '{gateway}'\nlisten.admin = '{admin}'{APP}");
        parsed(&text, &[])
            .is_err_and(|error| error.contains("wanted another address than listen.gateway has"))
    };
    assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
    assert!(collide("127.0.0.1:80", "[::]:80"));
    assert!(collide("unix:/run/a", "unix:/run/a"));
    assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    assert!(collide("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
    assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
    assert!(!collide("0.0.0.0:80", "[::1]:80"));
    assert!(!collide("unix:/run/a", "unix:/run/b"));
}

#[test]
fn a_socket_path_must_fit_the_kernels_address_with_its_folder() {
    let error = |length: usize| {
        let text = format!("listen.gateway = 'unix:{}'{APP}", "x".repeat(length));
        let environment = Environment::from_iter([("LIVE_KEY", "FAKE")]);
        parse(&text, "/etc/gateway.toml".as_ref(), &environment).err().map(|problems| problems.to_string())
    };
    assert_eq!(error(102), None);
    assert_eq!(
        error(103).unwrap(),
        "/etc/gateway.toml:1: listen.gateway: found a path of 108 bytes, wanted at most 107, its folder's path included"
    );
}

/// A folder with `ca.pem`, `server.pem` and `server.key` signed by it, and `other.key`.
fn certificates() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new([]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server =
        rcgen::CertificateParams::new(["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    write("ca.pem", ca_certificate.pem());
    write("server.pem", server.pem());
    write("server.key", key.serialize_pem());
    write("other.key", rcgen::KeyPair::generate().unwrap().serialize_pem());
    let file = folder.path().join("gateway.toml");
    (folder, file)
}

#[test]
fn certificates_are_read_and_tried() {
    let (_folder, file) = certificates();
    let environment = Environment::from_iter([("LIVE_KEY", "FAKE")]);
    let load = |tls: &str| {
        let ca = "endpoints = ['https://127.0.0.1:18443']\nca_file = 'ca.pem'";
        parse(&format!("listen.tls = {{ {tls} }}{APP}{ca}"), &file, &environment)
    };
    let loaded =
        load("cert_file = 'server.pem', key_file = 'server.key', client_ca_file = 'ca.pem'").unwrap();
    let tls = loaded.settings.boot.tls.unwrap();
    assert_eq!((tls.chain.len(), tls.client_roots.unwrap().len()), (1, 1));
    assert_eq!(loaded.settings.live.apps.default_app().unwrap().extra_roots.len(), 1);

    let problem = |tls: &str| load(tls).unwrap_err().to_string();
    let mismatch = problem("cert_file = 'server.pem', key_file = 'other.key'");
    assert!(
        mismatch.contains("listen.tls: the certificate and its private key cannot be used together"),
        "{mismatch}"
    );
    let swapped = problem("cert_file = 'server.key', key_file = 'server.pem'");
    assert!(
        swapped.contains("listen.tls.cert_file: ") && swapped.contains("server.key\": holds no certificate")
    );
    assert!(
        swapped.contains("listen.tls.key_file: ") && swapped.contains("server.pem\": holds no private key")
    );
}

#[test]
fn client_certificates_or_rules_close_the_open_door() {
    let (_folder, file) = certificates();
    let environment = Environment::from_iter([("LIVE_KEY", "FAKE")]);
    let doors = |client_ca: &str, more: &str| {
        let tls = format!("listen.tls = {{ cert_file = 'server.pem', key_file = 'server.key'{client_ca} }}");
        let text = format!("listen.gateway = '0.0.0.0:8443'\n{tls}{APP}{more}");
        let warnings = parse(&text, &file, &environment).unwrap().warnings;
        warnings.iter().filter(|warning| warning.key == "listen.gateway").count()
    };
    assert_eq!(doors("", ""), 1);
    assert_eq!(doors("", "[callers]\nrule = []"), 1);
    assert_eq!(doors(", client_ca_file = 'ca.pem'", ""), 0);
    assert_eq!(doors("", "[[callers.rule]]\nname = 'gifts'\ncidr = ['10.0.0.0/8']"), 0);
}

#[test]
fn depth_is_bounded() {
    let (table, list) = (format!("{}x = 1", "a.".repeat(50_000)), format!("x = {}", "[".repeat(50_000)));
    for text in [table, list] {
        let error = parsed(&text, &[]).unwrap_err();
        assert!(error.contains("this is no TOML: "), "{error}");
    }
}

/// A file with every key.
const GOOD: &str = include_str!("../../config/gateway.toml");

fn never_panics(text: &str) -> Result<(), TestCaseError> {
    let Err(problems) = parse(text, "gateway.toml".as_ref(), &Environment::default()) else { return Ok(()) };
    prop_assert!(problems.iter().len() > 0);
    for problem in &problems {
        if let Place::Line(line) = problem.place {
            prop_assert!((1..=text.split('\n').count()).contains(&line), "{problem}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        never_panics(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_change_of_a_good_file_is_taken_or_refused(
        start in 0..GOOD.len(),
        length in 0..40_usize,
        insert in r#"[\[\]{}"'=.,#\n0-9a-z_ -]{0,20}"#,
    ) {
        let (mut bytes, end) = (GOOD.as_bytes().to_vec(), (start + length).min(GOOD.len()));
        bytes.splice(start..end, insert.bytes());
        never_panics(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_value_at_a_known_key_is_taken_or_refused(
        key in prop::sample::select(GOOD.lines().filter(|line| line.contains(" = ")).collect::<Vec<_>>()),
        value in prop::sample::select(vec![
            "-1", "0", "9223372036854775807", "nan", "-inf", "1e308", "true", "''", "'\\u0000'", "\"\\u0000\"",
            "'🦀'", "[]", "[[]]", "{}", "{ a = 1 }", "1979-05-27", "'10y'", "'999999999999999999d'", "'17GiB'",
            "'https://['", "'unix:'", "'[::1]:65536'",
        ]),
    ) {
        let (name, _) = key.split_once(" = ").unwrap();
        let name = name.trim_start_matches("# ");
        never_panics(&GOOD.replace(key, &format!("{name} = {value}")))?;
    }
}

#[test]
fn traces_go_where_the_file_says_and_nowhere_by_default() {
    let of = |text: &str| settings(text).boot.tracing;
    assert_eq!(of(""), crate::telemetry::traces::Settings::default());
    let tracing = of("[tracing]\notlp_endpoint = \"http://collector:4318\"\nsample = 0.1\npropagate = true");
    assert_eq!(tracing.collector.unwrap().to_string(), "http://collector:4318/v1/traces");
    assert!(tracing.propagate && (tracing.sample - 0.1).abs() < f64::EPSILON);
}
