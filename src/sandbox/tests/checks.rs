//! What is checked of a call before it is carried out.

use super::*;

/// The code that a call with this query gets.
async fn code_of(client: &mut Client, query: &str) -> i64 {
    client.exchange("POST", &format!("{GET_CALLBACK}?{query}"), "{}").await.code()
}

#[tokio::test]
async fn a_good_call_is_answered_in_the_shape_of_its_family() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let reply = client.call(GET_CALLBACK, json!({})).await;
    assert_eq!(reply.code(), 0);
    assert_eq!(reply.json()["Response"], json!({"Url": "", "CallbackCommandList": []}));
    let id = reply.json()["RequestId"].as_str().unwrap().to_owned();
    let (hex, digits) = id.strip_prefix("Id-").unwrap().split_once("-O-Seq-").unwrap();
    assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), "{id}");
    assert_eq!(reply.header("access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(reply.header("date").as_deref(), Some("tue, 14 nov 2023 22:13:20 gmt"), "its own clock");

    let chat = client.call("/v4/openim/sendmsg", json!({})).await;
    assert_eq!(chat.json(), json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}));
    let old = client.call("/v1/callback/get", json!({})).await;
    assert_eq!((old.code(), &old.json()["data"]), (0, &json!("")));
    let account = json!({"CheckItem": [{"UserID": "anna"}]});
    let checked = client.call("/v4/im_open_login_svc/account_check", account).await;
    assert_eq!(checked.json()["ResultItem"][0]["AccountStatus"], "NotImported");
    sandbox.stop().await;
}

#[tokio::test]
async fn every_wrong_parameter_gets_its_documented_code() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let good = query();
    for (wanted, from, to) in [
        (60012, "sdkappid=1400000001&", ""),
        (60012, "sdkappid=1400000001&", "sdkappid=&"),
        (60012, "sdkappid", "SdkAppId"),
        (60025, "sdkappid=1400000001", "sdkappid=x"),
        (70020, "sdkappid=1400000001", "sdkappid=1400000009"),
        (60025, "identifier=administrator&", ""),
        (60002, "random=4294967295", "random=4294967296"),
        (60002, "random=4294967295", "random=-1"),
        (60002, "random=4294967295", "random=+1"),
        (60002, "&random=4294967295", ""),
        (60025, "contenttype=json", "contenttype=xml"),
        (60025, "&contenttype=json", ""),
        (60002, "&contenttype=json", "&contenttype=json&contenttype=json"),
        (60002, "&contenttype=json", "&contenttype=json&RANDOM=1"),
        (60002, "&contenttype=json", "&contenttype=json&%75sersig="),
        (0, "&contenttype=json", "&contenttype=json&nettype=5&nettype=6"),
        (0, "administrator", "%61dministrator"),
        (0, "random=4294967295", "random=0"),
    ] {
        assert!(good.contains(from));
        assert_eq!(code_of(client, &good.replacen(from, to, 1)).await, wanted, "{from} -> {to}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn every_wrong_usersig_gets_its_documented_code() {
    let mut settings = settings();
    settings.apps.push(SandboxApp::new(SdkAppId::try_from(1_400_000_002).unwrap(), vec![key("FAKE-second")]));
    let sandbox = start(settings).await;
    let client = &mut Client::to(&sandbox).await;
    let other_app = Sign { sdkappid: 1_400_000_002, key: "FAKE-second", ..GOOD };
    for (wanted, usersig) in [
        (70001, Sign { time: NOW - 60, ..GOOD }.sign()),
        (0, Sign { time: NOW - 59, ..GOOD }.sign()),
        (0, Sign { time: NOW + 3600, ..GOOD }.sign()),
        (70002, String::new()),
        (70003, "eJwVzM0KgkAUBeB3mW0hd".to_owned()),
        (70003, GOOD.sign().replace('A', "%20")),
        (70005, Sign { version: "1.0", ..GOOD }.sign()),
        (70009, Sign { key: "FAKE-other", ..GOOD }.sign()),
        (70013, Sign { identifier: "anna", ..GOOD }.sign()),
        (70014, other_app.sign()),
    ] {
        assert_eq!(code_of(client, &query_with(&usersig)).await, wanted, "{usersig}");
    }
    let anna = Sign { identifier: "anna", ..GOOD }.sign();
    let query = query_with(&anna).replace("administrator", "anna");
    assert_eq!(code_of(client, &query).await, 60010, "a good UserSig of a plain account");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_published_vectors_are_taken_while_they_are_valid() {
    let file: Value = serde_json::from_str(include_str!("../../../tests/data/usersig-vectors.json")).unwrap();
    let vector = &file["vectors"][0];
    let clock = Arc::new(ManualClock::at_unix(NOW + 86_399));
    let sandbox = Sandbox::start(settings(), Arc::clone(&clock) as Arc<dyn WallClock>).await.unwrap();
    let client = &mut Client::to(&sandbox).await;
    for name in ["token_python", "token_node"] {
        assert_eq!(code_of(client, &query_with(vector[name].as_str().unwrap())).await, 0);
    }
    clock.set_unix(NOW + 86_400);
    assert_eq!(code_of(client, &query_with(vector["token_node"].as_str().unwrap())).await, 70001);
    sandbox.stop().await;
}

#[tokio::test]
async fn keys_can_be_replaced() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let next = query_with(&Sign { key: "FAKE-next", ..GOOD }.sign());
    assert_eq!((code_of(client, &query()).await, code_of(client, &next).await), (0, 70009));
    assert!(sandbox.control().set_keys(app(), vec![key("FAKE-next"), key(KEY)]));
    assert_eq!((code_of(client, &query()).await, code_of(client, &next).await), (0, 0));
    assert!(sandbox.control().set_keys(app(), vec![key("FAKE-next")]));
    assert_eq!((code_of(client, &query()).await, code_of(client, &next).await), (70009, 0));
    assert!(!sandbox.control().set_keys(SdkAppId::try_from(9).unwrap(), vec![]));
    sandbox.stop().await;
}

#[tokio::test]
async fn path_and_body_are_judged_before_the_parameters() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    for path in [
        "/",
        "/v4",
        "/v4/live_config",
        "/v4/live_config/get_callback/",
        "/v4/live_config/nothing",
        "/V4/live_config/get_callback",
        "/v4/configsvc/GetIPList",
        "/live_config/get_callback",
        "/v2/live_config/get_callback",
        "/v1/live_config/get_callback",
        "/v4/v4/live_config",
    ] {
        assert_eq!(client.exchange("POST", path, "").await.code(), 60009, "{path}");
    }
    for body in ["", "{", "[]", "null", "{} {}", "a=b"] {
        assert_eq!(client.exchange("POST", GET_CALLBACK, body).await.code(), 60003, "{body}");
    }
    assert_eq!(client.exchange("POST", GET_CALLBACK, "{}").await.code(), 60012);
    let reply = client.exchange("GET", GET_CALLBACK, "").await;
    assert_eq!((reply.status(), reply.header("allow").as_deref()), ("405", Some("post")));
    let calls = sandbox.control().report().calls;
    assert_eq!(calls.last().unwrap().verdict, Verdict::NotPost);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_body_is_taken_up_to_its_bound() {
    let sandbox = start(settings()).await;
    let target = format!("{GET_CALLBACK}?{}", query());
    let mut body = vec![b' '; body::LONGEST_BODY];
    body[..2].copy_from_slice(b"{}");
    let client = &mut Client::to(&sandbox).await;
    client.send("POST", &target, &body).await.unwrap();
    assert_eq!(client.receive().await.unwrap().code(), 0);
    body.push(b' ');
    // The sandbox may close before it has read everything, so sending may fail too.
    _ = client.send("POST", &target, &body).await;
    if let Ok(reply) = client.receive().await {
        assert_eq!(reply.status(), "413");
    }
    assert_eq!(sandbox.control().report().calls[1].verdict, Verdict::Unread);
    sandbox.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ceilings_are_kept_for_the_api_and_for_the_app() {
    let api = |path: &str| path.trim_start_matches("/v4/").parse().unwrap();
    let per_api = [(api(GET_CALLBACK), 2)].into();
    let ceilings = Ceilings { per_api, per_app: Some(3), ..Ceilings::default() };
    let sandbox = start(Settings { ceilings, ..settings() }).await;
    let client = &mut Client::to(&sandbox).await;
    let mut codes = Vec::new();
    for path in [GET_CALLBACK, GET_CALLBACK, GET_CALLBACK, CREATE_ROOM, CREATE_ROOM] {
        codes.push(client.call(path, json!({})).await.code());
    }
    assert_eq!(codes, [0, 0, 60007, 0, 60011]);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0);
    let seen = sandbox.control().report().seen(app(), &api(GET_CALLBACK));
    assert_eq!(seen, Seen { arrived: 4, accepted: 3, refused: 1, refused_for_rate: 1, worst_second: 3 });
    sandbox.control().set_ceilings(Ceilings::default());
    for _ in 0..5 {
        assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn the_log_tells_what_came() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let target = format!("{GET_CALLBACK}?{}&Identifier=x&nettype=5", query());
    assert_eq!(client.exchange("POST", &target, r#"{"a": 1}"#).await.code(), 60002);
    let report = sandbox.control().report();
    let call = &report.calls[0];
    assert_eq!(
        (call.method.as_str(), call.path.as_str(), &call.body[..]),
        ("POST", GET_CALLBACK, &br#"{"a": 1}"#[..])
    );
    assert_eq!(call.query.as_deref(), Some(target.split_once('?').unwrap().1));
    assert_eq!(call.headers["host"], "sandbox.test");
    assert_eq!(call.parameters.identifier, ["administrator", "x"]);
    assert_eq!(call.parameters.sdkappid, [APP.to_string()]);
    assert_eq!(call.parameters.usersig, [GOOD.sign()]);
    assert_eq!(
        (&call.parameters.random[..], &call.parameters.contenttype[..]),
        (&["4294967295".to_owned()][..], &["json".to_owned()][..])
    );
    let refused = crate::model::error_code::ErrorCode(60002);
    assert_eq!((call.verdict, call.answered), (Verdict::Refused(refused), Some(refused)));
    assert_eq!((call.connection, call.version, report.connections), (1, http::Version::HTTP_11, 1));
    sandbox.stop().await;
}
