//! The access log of the real binary: a line for each call, with the fields that README promises, and nothing of the URL.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::client::{Client, post, send};
use crate::process::Serving;
use crate::world::{key, sdkappid};

const READ: &str = "/v4/live_config/get_callback";
const WRITE: &str = "/v4/live_config/delete_callback_token";

#[tokio::test(flavor = "multi_thread")]
async fn a_line_has_the_fields_that_readme_lists() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(
        &sandbox,
        "[retry]\nmax_attempts = 1\n[tracing]\notlp_endpoint = \"http://127.0.0.1:1\"\n",
    );
    let mut answered = post(READ, "{\"a\":1}");
    answered.headers_mut().insert("x-caller", "gifts".parse().unwrap());
    answered.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer = send(&gateway.gateway, answered).await;
    assert_eq!(send(&gateway.gateway, post("/v4//x?secret=1", "{}")).await.status, StatusCode::BAD_REQUEST);
    sandbox.control().inject(Fault::new(Effect::NotJson)).unwrap();
    assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.status, StatusCode::BAD_GATEWAY);

    let lines = access_lines(gateway);
    let [ok, refused, fault] = &lines[..] else { panic!("{lines:#?}") };
    let names: BTreeSet<&str> =
        lines.iter().flat_map(|line| line.as_object().unwrap().keys()).map(String::as_str).collect();
    assert_eq!(names, fields_in_readme());

    let request_id = answer.json()["RequestId"].as_str().unwrap().to_owned();
    let bytes_out = answer.body.len();
    let upstream = sandbox.address().to_string();
    for (line, field, value) in [
        (ok, "level", Value::from("INFO")),
        (ok, "target", "access".into()),
        (ok, "message", "call".into()),
        (ok, "app", "live".into()),
        (ok, "api", "live_config/get_callback".into()),
        (ok, "caller", "gifts".into()),
        (ok, "error_code", 0.into()),
        (ok, "outcome", "ok".into()),
        (ok, "reason", Value::Null),
        (ok, "info", Value::Null),
        (ok, "status", 200.into()),
        (ok, "attempts", 1.into()),
        (ok, "endpoint", upstream.as_str().into()),
        (ok, "request_id", "mine".into()),
        (ok, "tencent_request_id", request_id.into()),
        (ok, "bytes_in", 7.into()),
        (ok, "bytes_out", bytes_out.into()),
        (refused, "app", "".into()),
        (refused, "api", "".into()),
        (refused, "caller", "none".into()),
        (refused, "error_code", 9_900_400.into()),
        (refused, "outcome", "refused".into()),
        (refused, "reason", "bad_path".into()),
        (refused, "status", 400.into()),
        (refused, "attempts", 0.into()),
        (refused, "endpoint", Value::Null),
        (refused, "upstream_ms", Value::Null),
        (refused, "tencent_request_id", Value::Null),
        (fault, "api", "live_config/get_callback".into()),
        (fault, "error_code", 9_900_502.into()),
        (fault, "outcome", "fault".into()),
        (fault, "reason", "unusable_answer".into()),
        (fault, "status", 502.into()),
        (fault, "attempts", 1.into()),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    for field in ["wait_ms", "upstream_ms", "duration_ms"] {
        assert!(ok[field].as_f64().unwrap() >= 0.0, "{field} of {ok}");
    }
    assert!(ok["duration_ms"].as_f64() >= ok["upstream_ms"].as_f64(), "{ok}");
    assert!(!refused["info"].as_str().unwrap().contains("secret"), "nothing of the raw URL: {refused}");
    assert!(ok["timestamp"].as_str().unwrap().ends_with('Z'), "{ok}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_url_is_told_wherever_a_usersig_stands_in_it() {
    const USERSIG: &str = "eJwtzM0KgkAUhuF7mXXIGWcc";
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    let paths = [
        format!("/v2/{USERSIG}/x"),
        format!("/v4/{USERSIG}"),
        format!("/apps/{USERSIG}/v4/live_config/get_callback"),
        format!("{READ}?sdkappid={USERSIG}"),
    ];
    for path in &paths {
        let answer = send(&gateway.gateway, post(path, "{}")).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
    let lines = access_lines(gateway);
    assert_eq!(lines.len(), paths.len());
    for line in lines {
        let info = line["info"].as_str().unwrap();
        assert!(info.len() > 20 && !line.to_string().contains(&USERSIG[..8]), "{line}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_off_and_writes_are_told_all_the_same_with_audit() {
    let sandbox = sandbox().await;
    for (settings, reads, writes) in [
        ("access = \"off\"", 0, 0),
        ("access = \"off\"\naudit = true", 0, 2),
        ("access = \"on\"", 1, 2),
        ("access = 1e-12\naudit = true", 0, 2),
    ] {
        let gateway = Serving::start(&sandbox, &format!("[log]\n{settings}"));
        for path in [READ, WRITE, WRITE] {
            assert_eq!(send(&gateway.gateway, post(path, "{}")).await.status, StatusCode::OK);
        }
        let lines = access_lines(gateway);
        let told = |api: &str| lines.iter().filter(|line| line["api"] == api).count();
        assert_eq!(told(&READ["/v4/".len()..]), reads, "{settings}: {lines:#?}");
        assert_eq!(told(&WRITE["/v4/".len()..]), writes, "{settings}: {lines:#?}");
        assert_eq!(lines.len(), reads + writes, "{settings}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_calls_can_be_told() {
    const CALLS: usize = 400;
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "[log]\naccess = 0.5");
    let mut client = Client::to(&gateway.gateway).await;
    for _ in 0..CALLS {
        assert_eq!(client.send(post("/nowhere", "{}")).await.status, StatusCode::NOT_FOUND);
    }
    drop(client);
    let told = access_lines(gateway).len();
    // Half of them, give or take eight standard deviations.
    assert!((CALLS / 2 - 80..=CALLS / 2 + 80).contains(&told), "{told} of {CALLS}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_can_be_for_people() {
    let sandbox = sandbox().await;
    // The listeners' lines are read as text here, hence a process of our own making.
    let folder = crate::process::configuration(&sandbox, "[log]\nformat = \"text\"");
    let process = crate::process::Process::start(crate::process::serve(folder.path()));
    let listening = process.logged(|line| line.contains("listening listener=\"gateway\" address="));
    let (_, address) = listening.split_once("address=").unwrap();
    assert_eq!(send(address, post(READ, "{}")).await.status, StatusCode::OK);
    process.signal("INT");
    let ended = process.end();
    let lines: Vec<_> = ended.log.iter().filter(|line| line.contains(" access: call ")).collect();
    let [line] = lines[..] else { panic!("{:#?}", ended.log) };
    for told in
        ["  INFO access: call app=\"live\"", "api=\"live_config/get_callback\"", "error_code=0", "status=200"]
    {
        assert!(line.contains(told), "{told} in {line}");
    }
    sandbox.stop().await;
}

async fn sandbox() -> Sandbox {
    let settings =
        Settings { tls: true, apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Settings::default() };
    Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap()
}

/// The access lines of a gateway, which ends by this.
fn access_lines(gateway: Serving) -> Vec<Value> {
    gateway.process.signal("INT");
    let ended = gateway.process.end();
    assert_eq!(ended.status, Some(0));
    ended.access_lines()
}

/// The first column of README's table of fields.
fn fields_in_readme() -> BTreeSet<&'static str> {
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("| field | meaning |").expect("README has the table");
    let (table, _) = table.split_once("\n\n").expect("the table ends");
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    rows.collect()
}
