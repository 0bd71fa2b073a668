use proptest::prelude::*;

use super::*;
use crate::model::endpoint::Endpoint;
use crate::net::client::Roots;

pub(super) fn app(name: &str, sdkappid: u64) -> App {
    App {
        name: name.parse().unwrap(),
        sdkappid: SdkAppId::try_from(sdkappid).unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: Vec::new(),
        region: None,
        endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

pub(super) fn with_apps(named: &[(&str, u64)], default: Option<&str>) -> Apps {
    let mut apps = Apps::default();
    for &(name, sdkappid) in named {
        apps.add(app(name, sdkappid), default == Some(name)).unwrap();
    }
    apps
}

fn live_and_chat() -> Apps {
    with_apps(&[("live", 1_400_000_001), ("chat.eu", 20_000_002)], Some("live"))
}

#[test]
fn what_apps_have_in_common_lies_in_memory_once() {
    let mut apps = Apps::default();
    for (name, sdkappid) in [("live", 1_400_000_001), ("chat.eu", 20_000_002)] {
        let roots = vec![vec![1, 2, 3].into()].into();
        apps.add(App { extra_roots: roots, ..app(name, sdkappid) }, false).unwrap();
    }
    let [chat, live] = apps.all()[..] else { panic!("two apps") };
    assert_eq!((chat.name.as_str(), live.name.as_str()), ("chat.eu", "live"), "in the order of names");
    let authorities = [chat, live].map(|app| [&app.endpoints.v4[0], &app.endpoints.v1[0]]);
    let first = authorities[0][0].authority().as_ptr();
    assert!(authorities.iter().flatten().all(|endpoint| endpoint.authority().as_ptr() == first));
    assert_eq!(chat.extra_roots.as_ptr(), live.extra_roots.as_ptr());
}

/// `app forwarded-path`, or the error's text.
fn told(path: &str, query: Option<&str>, apps: &Apps) -> Result<String, String> {
    resolve(path, query, apps, &Apis::new())
        .map(|target| format!("{} {}", target.app.name, target.api.url_path))
        .map_err(|error| error.to_string())
}

fn error(path: &str, query: Option<&str>, apps: &Apps) -> TargetError {
    resolve(path, query, apps, &Apis::new()).unwrap_err()
}

#[test]
fn the_four_forms_are_accepted() {
    let apps = live_and_chat();
    for (path, expected) in [
        ("/v4/live_config/get_callback", "live /v4/live_config/get_callback"),
        ("/v1/callback/set", "live /v1/callback/set"),
        ("/apps/chat.eu/v4/openim/sendmsg", "chat.eu /v4/openim/sendmsg"),
        ("/apps/chat.eu/v1/callback/set", "chat.eu /v1/callback/set"),
        ("/v4/ConfigSvc/GetIPList", "live /v4/ConfigSvc/GetIPList"),
        ("/v4/brand-new/no_one_knows_it", "live /v4/brand-new/no_one_knows_it"),
        ("/v4/v4/v1", "live /v4/v4/v1"),
    ] {
        assert_eq!(told(path, None, &apps), Ok(expected.into()));
    }
}

#[test]
fn well_formed_paths_that_lead_nowhere_are_no_such_path() {
    let apps = live_and_chat();
    for path in [
        "",
        "/",
        "*",
        "v4/a/b",
        "/v4",
        "/v4/a",
        "/v4/a/b/c",
        "/v2/a/b",
        "/V4/a/b",
        "/apps/live",
        "/apps/live/a/b",
        "/apps/live/v4/a",
        "/apps/live/v2/a/b",
        "/apps/live/v4/a/b/c",
        "/apps/live/apps/live/v4/a/b",
        "/Apps/live/v4/a/b",
        "/metrics",
    ] {
        assert!(matches!(error(path, None, &apps), TargetError::NoSuchPath { .. }), "{path}");
    }
}

#[test]
fn paths_that_servers_might_read_differently_are_bad() {
    let apps = live_and_chat();
    let long = "x".repeat(65);
    for (path, segment, fault) in [
        ("//v4/a/b", 1, PathFault::Empty),
        ("/v4//b", 2, PathFault::Empty),
        ("/v4/a/b/", 4, PathFault::Empty),
        ("/v4/a/b//", 4, PathFault::Empty),
        ("/apps//v4/a/b", 2, PathFault::Empty),
        ("/v4/./b", 2, PathFault::Dot),
        ("/v4/a/..", 3, PathFault::Dot),
        ("/v4/a/../b", 3, PathFault::Dot),
        ("/../v4/a/b", 1, PathFault::Dot),
        ("/apps/../v4/a/b", 2, PathFault::Dot),
        ("/apps/.live/v4/a/b", 2, PathFault::Dot),
        ("/apps/live/v4/a.b/c", 4, PathFault::Dot),
        ("/v4/a/b.json", 3, PathFault::Dot),
        ("/v4/a/b%2fc", 3, PathFault::PercentEncoded),
        ("/v4/%61/b", 2, PathFault::PercentEncoded),
        ("/%764/a/b", 1, PathFault::PercentEncoded),
        ("/v4/a/%2e%2e", 3, PathFault::PercentEncoded),
        ("/v4/a/b;c", 3, PathFault::Character(';')),
        ("/v4/a/b c", 3, PathFault::Character(' ')),
        ("/v4/a/b\0", 3, PathFault::Character('\0')),
        ("/v4/a/é", 3, PathFault::Character('é')),
        ("/v4/a\\b/c", 2, PathFault::Character('\\')),
        ("/v4/a/b@host", 3, PathFault::Character('@')),
        ("/v4/a/b:80", 3, PathFault::Character(':')),
        (&format!("/v4/{long}/b"), 2, PathFault::TooLong(65)),
        (&format!("/v4/a/{long}"), 3, PathFault::TooLong(65)),
        (&format!("/apps/{long}/v4/a/b"), 2, PathFault::TooLong(65)),
    ] {
        assert_eq!(error(path, None, &apps), TargetError::BadPath(BadPath { segment, fault }), "{path}");
    }
    assert!(told(&format!("/v4/{}/{}", &long[1..], &long[1..]), None, &apps).is_ok());
}

#[test]
fn the_path_goes_before_the_parameter_and_the_parameter_before_the_default() {
    let apps = live_and_chat();
    for (path, query, expected) in [
        ("/v4/a/b", Some("sdkappid=20000002"), "chat.eu"),
        ("/v4/a/b", Some("x=1&SDKAppID=20000002&y"), "chat.eu"),
        ("/v4/a/b", Some("%73dkappid=%320000002"), "chat.eu"),
        ("/v4/a/b", Some("sdkappid=20000002&SdkAppId=20000002"), "chat.eu"),
        ("/v4/a/b", Some("appid=20000002&x=sdkappid"), "live"),
        ("/v4/a/b", Some(""), "live"),
        ("/apps/chat.eu/v4/a/b", Some("nettype=5"), "chat.eu"),
        ("/apps/chat.eu/v4/a/b", Some("sdkappid=20000002"), "chat.eu"),
    ] {
        let api = if path.starts_with("/apps") { &path[13..] } else { path };
        assert_eq!(told(path, query, &apps), Ok(format!("{expected} {api}")), "{query:?}");
    }
}

#[test]
fn an_unknown_app_is_told_what_there_is() {
    let apps = live_and_chat();
    let expected = |asked| Err(format!("no app \"{asked}\" is configured; there are chat.eu, live"));
    assert_eq!(told("/apps/lvie/v4/a/b", None, &apps), expected("lvie"));
    assert_eq!(told("/v4/a/b", Some("sdkappid=7"), &apps), expected("7"));
    // Names are as case-sensitive as Tencent's paths.
    assert_eq!(told("/apps/Live/v4/a/b", None, &apps), expected("Live"));
    assert!(matches!(error("/apps/lvie/v4/a/b", None, &apps), TargetError::UnknownApp { .. }));
}

#[test]
fn without_a_default_a_call_must_name_its_app_unless_there_is_only_one() {
    let two = with_apps(&[("live", 1), ("chat", 2)], None);
    assert!(matches!(error("/v4/a/b", None, &two), TargetError::NoAppChosen { .. }));
    assert!(told("/v4/a/b", None, &two).unwrap_err().ends_with("there are chat, live"));
    assert_eq!(told("/v4/a/b", Some("sdkappid=2"), &two), Ok("chat /v4/a/b".into()));

    let one = with_apps(&[("live", 1)], None);
    assert_eq!(told("/v4/a/b", None, &one), Ok("live /v4/a/b".into()));
    assert!(told("/v4/a/b", None, &Apps::default()).unwrap_err().ends_with("there are none"));
}

#[test]
fn a_call_that_contradicts_itself_is_a_conflict() {
    let apps = live_and_chat();
    for (path, query, expected) in [
        (
            "/apps/live/v4/a/b",
            "sdkappid=20000002",
            "the path names the app live (sdkappid 1400000001) and the query has sdkappid 20000002",
        ),
        (
            "/apps/live/v4/a/b",
            "sdkappid=7",
            "the path names the app live (sdkappid 1400000001) and the query has sdkappid 7",
        ),
        (
            "/v4/a/b",
            "sdkappid=20000002&SDKAPPID=1400000001",
            "the query has sdkappid twice, as 20000002 and as 1400000001",
        ),
        (
            "/v4/a/b",
            "sdkappid=",
            "the query has sdkappid \"\", and an SDKAppID is a whole number from 1 to 4294967295",
        ),
        (
            "/v4/a/b",
            "sdkappid=20000002&sdkappid=1%0a",
            "the query has sdkappid \"1\\n\", and an SDKAppID is a whole number from 1 to 4294967295",
        ),
    ] {
        assert_eq!(told(path, Some(query), &apps), Err(expected.into()));
        assert!(matches!(error(path, Some(query), &apps), TargetError::ConflictingApp(_)));
    }
}

#[test]
fn errors_quote_little_of_what_was_sent_and_list_few_names() {
    let many: Vec<String> = (0..50).map(|n| format!("app{n:02}")).collect();
    let many: Vec<(&str, u64)> = many.iter().map(String::as_str).zip(1..).collect();
    let apps = with_apps(&many, None);
    let usersig = "eJ".repeat(150);
    for (path, query) in [
        ("/v4/a/b", Some(format!("sdkappid={usersig}"))),
        (&format!("/v4/a/b&usersig={usersig}"), None),
        (&format!("/{}", "x/".repeat(10_000)), None),
        (&"/a".repeat(10_000), None),
        (&format!("/apps/{}/v4/a/b", "x".repeat(64)), None),
    ] {
        let text = told(path, query.as_deref(), &apps).unwrap_err();
        assert!(text.len() < 400 && !text.contains(&usersig), "{text}");
        assert!(text.is_ascii() && !text.contains(char::is_control), "{text}");
    }
    let text = told("/apps/x/v4/a/b", None, &apps).unwrap_err();
    assert!(text.contains("app00, app01") && text.ends_with("app19 and 30 more"), "{text}");
}

#[test]
fn an_excerpt_is_escaped_and_cut() {
    assert_eq!(Excerpt::of("a\"b\n\u{202e}é").to_string(), r#""a\"b\n\u{202e}\u{e9}""#);
    assert_eq!(Excerpt::of(&"x".repeat(61)).to_string(), format!("\"{}...\"", "x".repeat(60)));
    assert_eq!(Excerpt::of(&"x".repeat(60)).to_string(), format!("\"{}\"", "x".repeat(60)));
}

/// Pieces of good paths, and of bad ones.
const PIECES: [&str; 20] = [
    "/",
    "/",
    "/",
    "/v4",
    "/v1",
    "/apps",
    "/live",
    "/chat.eu",
    "/openim",
    "/sendmsg",
    "/v4/openim/sendmsg",
    ".",
    "..",
    "%2f",
    "%2e",
    ";",
    "\\",
    "\0",
    "é",
    "?",
];

proptest! {
    #[test]
    fn what_is_forwarded_is_the_end_of_what_was_asked_and_plain(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..6),
        query in prop::option::of("[a-z%0-9=&]{0,20}"),
    ) {
        let path = pieces.concat();
        if let Ok(target) = resolve(&path, query.as_deref(), &live_and_chat(), &Apis::new()) {
            let forwarded = target.api.url_path.as_str();
            let prefix = path.strip_suffix(forwarded);
            prop_assert!(["", "/apps/live", "/apps/chat.eu"].map(Some).contains(&prefix), "{} from {}", forwarded, path);
            let segments: Vec<&str> = forwarded.split('/').collect();
            prop_assert_eq!(segments.len(), 4);
            prop_assert!(segments[0].is_empty() && ["v4", "v1"].contains(&segments[1]));
            prop_assert!(segments[1..].iter().all(|segment| crate::model::api::is_segment(segment)));
        }
    }
}
