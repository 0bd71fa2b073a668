use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::gateway::caller::{self, Rule, Who, identify};
use crate::gateway::target::{Apis, Apps, Endpoints, resolve};
use crate::model::endpoint::Endpoint;
use crate::net::client::Roots;
use crate::net::tls::TlsName;

const HERE: Peer = Peer::Uid(Some(1000));

fn apps() -> Apps {
    let mut apps = Apps::default();
    for (name, sdkappid) in [("live", 1_400_000_001_u64), ("chat", 1_400_000_002)] {
        let app = App {
            name: name.parse().unwrap(),
            sdkappid: sdkappid.try_into().unwrap(),
            identifier: "administrator".parse().unwrap(),
            keys: Vec::new(),
            region: None,
            endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
            extra_roots: Roots::default(),
            index: Default::default(),
            counted: Default::default(),
        };
        apps.add(app, name == "live").unwrap();
    }
    apps
}

fn target(path: &str) -> Target {
    resolve(path, None, &apps(), &Apis::new()).unwrap()
}

/// One rule, for the user of [`HERE`].
fn rules() -> caller::Settings {
    let rule = Rule {
        name: "gifts".parse().unwrap(),
        who: Who { uids: vec![1000], ..Who::default() },
        weight: NonZeroU32::MIN,
        max_per_second: None,
    };
    caller::Settings { rules: vec![Arc::new(rule)], ..caller::Settings::default() }
}

fn patterns(texts: &[&str]) -> Vec<ApiPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn settings(rights: Rights) -> Settings {
    Settings { rights: HashMap::from([("gifts".parse().unwrap(), rights)]) }
}

/// What is lacking for the caller under the rule to call `path`.
fn lack(path: &str, rights: &Rights) -> Option<Lack> {
    let caller = identify(&HeaderMap::new(), HERE, &rules());
    match allow(caller, target(path), &settings(rights.clone())) {
        Ok(_) => None,
        Err(Denied::Lacking { lack, .. }) => Some(lack),
        Err(other) => panic!("{path}: {other}"),
    }
}

#[test]
fn a_caller_is_allowed_and_a_browser_is_not() {
    let mut headers = HeaderMap::new();
    headers.insert("x-caller", HeaderValue::from_static("gifts"));
    let (callers, settings) = (caller::Settings::default(), Settings::default());
    let call = || target("/v4/live_config/get_callback");
    let grant = allow(identify(&headers, HERE, &callers), call(), &settings).unwrap();
    assert_eq!(&**grant.caller().label(), "gifts");
    assert_eq!(grant.app().name.as_str(), "live");
    assert_eq!(grant.api().name.as_str(), "live_config/get_callback");

    headers.insert("origin", HeaderValue::from_static("null"));
    let browser = identify(&headers, HERE, &callers);
    assert_eq!(allow(browser, call(), &settings).unwrap_err(), Denied::Browser);
    let browser = identify(&headers, HERE, &rules());
    assert_eq!(may_call(&browser), Err(Denied::Browser), "a rule does not help it");
}

#[test]
fn without_rules_everything_may_be_called() {
    let caller = || identify(&HeaderMap::new(), HERE, &caller::Settings::default());
    for path in ["/apps/chat/v4/openim/sendmsg", "/v4/live_config/get_callback_token", "/v1/callback/set"] {
        assert!(allow(caller(), target(path), &Settings::default()).is_ok(), "{path}");
    }
}

#[test]
fn with_rules_a_stranger_may_call_nothing_and_reads_why() {
    let mut headers = HeaderMap::new();
    headers.insert("x-caller", HeaderValue::from_static("gifts"));
    let uri = TlsName::Uri("spiffe://example/\u{1b}".into());
    for (peer, names, told) in [
        (Peer::Ip([10, 3, 0, 4].into()), vec![], "its address is 10.3.0.4"),
        (Peer::Uid(Some(7)), vec![], "its user is 7"),
        (Peer::Uid(None), vec![], "its user is not known"),
        (Peer::Uid(Some(7)), vec![uri], "its user is 7, its certificate is for \"spiffe://example/\\u{1b}\""),
    ] {
        let remote = Remote { peer, names: names.into_iter().collect() };
        let stranger = identify(&headers, remote, &rules());
        let denied = may_call(&stranger).unwrap_err();
        assert_eq!(
            denied.to_string(),
            format!("no rule for callers ([[callers.rule]]) matches this one: {told}")
        );
        assert_eq!(denied.label(), "no_rule");
        let everything = settings(Rights { allow: Some(patterns(&["*"])), ..Rights::default() });
        assert!(allow(stranger, target("/v4/live_config/get_callback"), &everything).is_err());
    }
}

#[test]
fn a_rule_without_lists_allows_everything_but_secrets() {
    let rights = Rights::default();
    for path in ["/v4/live_config/get_callback", "/v4/brand_new/thing", "/apps/chat/v1/callback/set"] {
        assert_eq!(lack(path, &rights), None, "{path}");
    }
    for path in [
        "/v4/live_config/get_callback_token",
        "/v4/room_config/get_callback_token",
        "/v4/room_config/Get_callback_token",
        "/v1/live_config/get_callback_token",
    ] {
        assert_eq!(lack(path, &rights), Some(Lack::InFull), "{path}");
    }
}

#[test]
fn a_secret_is_answered_only_where_it_is_named_in_full() {
    let path = "/v4/live_config/get_callback_token";
    for (allow, lacking) in [
        (&["*"][..], Some(Lack::InFull)),
        (&["*/*"][..], Some(Lack::InFull)),
        (&["live_config/*"][..], Some(Lack::InFull)),
        (&["live_config/get_callback_toke*", "room_config/get_callback_token"][..], Some(Lack::InFull)),
        (&["live_config/GET_callback_token"][..], Some(Lack::InFull)),
        (&["live_config/get_callback_token"][..], None),
        (&["*", "v4/live_config/get_callback_token"][..], None),
    ] {
        let rights = Rights { allow: Some(patterns(allow)), ..Rights::default() };
        assert_eq!(lack(path, &rights), lacking, "{allow:?}");
        let denied = Rights { deny: patterns(&["*/*token"]), ..rights };
        assert_eq!(lack(path, &denied), Some(Lack::Deny), "{allow:?}");
    }
}

#[test]
fn apps_allow_and_deny_each_narrow() {
    let rights = Rights {
        apps: vec!["live".parse().unwrap()],
        allow: Some(patterns(&["live_engine_http_srv/*gift*", "live_config/get_callback"])),
        deny: patterns(&["*/del_*"]),
    };
    for (path, lacking) in [
        ("/v4/live_config/get_callback", None),
        ("/apps/live/v4/live_config/get_callback", None),
        ("/v4/live_engine_http_srv/get_gift_list", None),
        ("/v4/live_engine_http_srv/del_gift", Some(Lack::Deny)),
        ("/v4/live_engine_http_srv/DEL_gift", Some(Lack::Deny)),
        ("/v4/live_engine_http_srv/send_GIFT", Some(Lack::Allow)),
        ("/v4/live_config/get_callbac", Some(Lack::Allow)),
        ("/v1/live_config/get_callback", Some(Lack::Allow)),
        ("/apps/chat/v4/live_config/get_callback", Some(Lack::App)),
    ] {
        assert_eq!(lack(path, &rights), lacking, "{path}");
    }
}

#[test]
fn a_rule_of_which_no_rights_are_known_gives_none() {
    let caller = identify(&HeaderMap::new(), HERE, &rules());
    let denied = allow(caller, target("/v4/live_config/get_callback"), &Settings::default()).unwrap_err();
    assert_eq!(denied.label(), "not_allowed");
}

#[test]
fn a_refusal_names_the_rule_and_what_it_lacks() {
    let rights = Rights {
        apps: vec!["live".parse().unwrap()],
        allow: Some(patterns(&["a/*"])),
        deny: patterns(&["a/b"]),
    };
    for (path, told, label) in [
        ("/v4/x/y", "does not name x/y in `allow`", "not_allowed"),
        ("/v4/a/b", "names a/b in `deny`", "denied"),
        ("/apps/chat/v4/a/c", "does not name the app chat in `apps`", "app_not_allowed"),
        (
            "/v4/a/get_callback_token",
            "does not name a/get_callback_token in full in `allow`, which an API that answers a secret needs",
            "secret_not_allowed",
        ),
    ] {
        let caller = identify(&HeaderMap::new(), HERE, &rules());
        let denied = allow(caller, target(path), &settings(rights.clone())).unwrap_err();
        assert_eq!(denied.to_string(), format!("the rule gifts for callers {told}"));
        assert_eq!(denied.label(), label);
    }
}

#[test]
fn the_apis_that_rules_name_in_full_are_known() {
    let rights =
        Rights { allow: Some(patterns(&["a/b", "a/*"])), deny: patterns(&["v1/c/d"]), ..Rights::default() };
    let settings = settings(rights);
    let named: Vec<_> = settings.named_apis().map(ApiName::as_str).collect();
    assert_eq!(named, ["a/b", "v1/c/d"]);
}

proptest! {
    /// However a path is written: what is allowed is what the rule names, and is what is called.
    #[test]
    fn no_way_of_writing_a_path_reaches_another_api(
        prefix in prop::sample::select(vec!["", "/apps/live", "/apps/chat", "/apps/live/..", "/%61pps/live"]),
        parts in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..6),
    ) {
        let path = format!("{prefix}/v4/live_config/get_callback{}", parts.concat());
        let Ok(target) = resolve(&path, None, &apps(), &Apis::new()) else { return Ok(()) };
        let rights = Rights {
            apps: vec!["live".parse().unwrap()],
            allow: Some(patterns(&["live_config/get_callback", "live_config/*"])),
            deny: patterns(&["live_config/*set*"]),
        };
        let caller = identify(&HeaderMap::new(), HERE, &rules());
        if let Ok(grant) = allow(caller, target, &settings(rights)) {
            prop_assert_eq!(grant.app().name.as_str(), "live");
            let command = grant.api().url_path.strip_prefix("/v4/live_config/").unwrap();
            prop_assert!(command.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            let command = command.to_ascii_lowercase();
            prop_assert!(!command.contains("set") && command != "get_callback_token", "{}", path);
        }
    }
}

/// What is put behind a path to make it look like another one.
const PIECES: [&str; 24] = [
    "_token",
    "_TOKEN",
    "_Set",
    "set",
    "/",
    "//",
    "/..",
    "/.",
    "/../set_callback",
    "%2f",
    "%2F..%2Fset",
    "%252f",
    "%2e%2e",
    ";",
    ";a=b",
    "%00",
    "\0",
    "%c0%af",
    "\u{2215}",
    "\\",
    "?x",
    "#set",
    "%5f%74oken",
    " ",
];
