use super::*;
use crate::admin::tests::sample;
use crate::admin::{AppStatus, EndpointStatus, ReadinessState, TrippedApp};

#[test]
fn the_page_shows_what_the_status_holds() {
    let page = render(&sample(), &["/metrics"]);
    for part in [
        "<h1>usersig-gateway <span>1.2.3</span></h1>",
        "up 1 min 1 s · as of <time datetime=\"2023-11-14T22:14:21Z\">",
        "<h2 role=\"status\">In trouble</h2>",
        "1,239 calls in the last minute, 99.6 % of them successful; 3 wait for their turn.",
        "App live is stopped, since Tencent answers 60026",
        "App live passes over https://127.0.0.1:18443",
        "The changed configuration is not taken: a problem",
        "<strong class=\"bad\">stopped</strong>",
        "<li>https://127.0.0.1:18443 <span class=\"bad\">passed over</span></li>",
        "<li>https://127.0.0.1:18444 <span class=\"good\">in use</span></li>",
        "<div>23 h 58 min<br><span class=\"soft\">until <time datetime=\"2023-11-15T22:13:20Z\">",
        "answers 60026: set region. One call goes as a probe in 1 min 2 s.",
        "<rect width=\"6\" height=\"1\"/>",
        "12 of 200 <span class=\"soft\">(191/s)</span>",
        "<b>9900429</b>× 5",
        "the domain is not that of the SDKAppID&#39;s region",
        "<dd>20 s ago, 7 in all</dd>",
        "<dd class=\"mono\">gw-1</dd>",
        "<dd class=\"mono\">Id-1</dd>",
        "<a href=\"/metrics\">/metrics</a>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[test]
fn whatever_is_shown_is_text_and_no_markup() {
    let hostile = "<script>'\"&".to_owned();
    let mut status = sample();
    status.version.clone_from(&hostile);
    status.readiness = ReadinessState::NotReady(vec![hostile.clone()]);
    status.config.rejected = vec![hostile.clone()];
    status.apps[0] = AppStatus {
        name: hostile.clone(),
        sdkappid: 1,
        region: Some(hostile.clone()),
        endpoints: vec![EndpointStatus {
            url: hostile.clone(),
            healthy: false,
            in_use: false,
            clock_differs: true,
        }],
        usersig_expires_at: None,
        tripped: Some(TrippedApp {
            reason: hostile.clone(),
            diagnosis: hostile.clone(),
            error_code: 1,
            probe_in_seconds: 1,
        }),
    };
    let (api, caller, error) = (&mut status.apis[0], &mut status.callers[0], &mut status.errors[0]);
    for text in [
        &mut api.app,
        &mut api.api,
        &mut caller.name,
        &mut error.app,
        &mut error.api,
        &mut error.caller,
        &mut error.request_id,
    ] {
        text.clone_from(&hostile);
    }
    error.tencent_request_id = Some(hostile);
    let page = render(&status, &["/<script>"]);
    let own = page.matches("<script>").count();
    assert_eq!(own, 1, "{page}");
    assert!(page.matches("&lt;script&gt;&#39;&quot;&amp;").count() >= 20, "{page}");
}

#[test]
fn however_much_there_is_the_page_stays_short_and_says_so() {
    let mut status = sample();
    let (app, api, caller) = (status.apps[0].clone(), status.apis[0].clone(), status.callers[0].clone());
    for n in 0..1_000 {
        status.apps.push(AppStatus {
            name: format!("app{n}"),
            sdkappid: n + 2,
            tripped: None,
            ..app.clone()
        });
        status.apis.push(ApiStatus { api: format!("made/up_{n}"), ..api.clone() });
        status.callers.push(crate::admin::CallerStatus { name: format!("c{n}"), ..caller.clone() });
    }
    let page = render(&status, &[]);
    assert!(page.len() < 300_000, "{}", page.len());
    assert_eq!(page.matches("more: <a href=\"/status.json\">").count(), 4);
}

#[test]
fn the_policy_allows_the_one_style_and_the_one_script_by_their_hashes() {
    let page = render(&sample(), &[]);
    let policy = content_security_policy();
    let policy = policy.to_str().unwrap();
    for element in ["style", "script"] {
        let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
        let hash = STANDARD.encode(Sha256::digest(text));
        assert!(policy.contains(&format!("{element}-src 'sha256-{hash}';")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
}
