//! What is wrong or probably not meant is told, and shows no key.

use super::*;
use crate::model::region::Region;

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
