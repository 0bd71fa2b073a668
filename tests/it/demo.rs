//! `demo`, as a new user would try it: its printed curl lines, run as printed.

use std::process::Command;

use serde_json::Value;

use crate::binary::{command, run};
use crate::process::Process;

#[test]
fn the_printed_calls_work_as_printed() {
    let demo = Process::start(command(&[
        "demo",
        "--gateway",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--sandbox",
        "127.0.0.1:0",
    ]));
    demo.printed(|line| line == "Ctrl-C ends it.");
    let printed = demo.stdout();
    let address = |of: &str| {
        let line = printed.iter().find_map(|line| line.strip_prefix(of)).unwrap();
        line.split_whitespace().next().unwrap().trim_end_matches('/').to_owned()
    };
    assert_eq!(run(&["wait", "--admin", &address("admin")]).status, Some(0));
    let calls: Vec<&str> = printed.iter().filter_map(|line| line.strip_prefix("  ")).collect();
    let [success, refused, burst] = calls[..] else { panic!("three calls in {printed:#?}") };

    let success = shell(success);
    assert!(success.starts_with("HTTP/1.1 200 OK\r\n"), "{success}");
    assert!(success.contains("\r\nx-tencent-error-code: 0\r\n"), "{success}");
    assert_eq!(body(&success)["ErrorCode"], 0);

    let refused = shell(refused);
    assert!(refused.starts_with("HTTP/1.1 200 OK\r\n"), "{refused}");
    assert!(refused.contains("\r\nx-tencent-error-code: 100302\r\n"), "{refused}");
    assert_eq!(body(&refused)["ErrorCode"], 100_302);

    let burst = shell(burst);
    let (answered, limited): (Vec<&str>, Vec<&str>) =
        burst.lines().partition(|line| line.starts_with("200 "));
    assert_eq!(answered.len() + limited.len(), 50, "{burst}");
    assert!(limited.iter().all(|line| line.starts_with("429 ")), "{burst}");
    assert!(answered.len() >= 10 && !limited.is_empty(), "{burst}");

    // What the sandbox saw of it.
    let report = shell(&format!("curl -s --insecure {}/sandbox/report", address("sandbox")));
    let report: Value = serde_json::from_str(&report).unwrap();
    let rooms = &report["apps"]["1400000001"]["apis"]["live_engine_http_srv/get_room_list"];
    assert_eq!(rooms["arrived"], answered.len(), "{report}");
    assert_eq!(rooms["refused"], 0, "{report}");
    assert!(rooms["worst_second"].as_u64().unwrap() <= 10, "{report}");

    let reload = shell(&format!("curl -s -i -X POST {}/-/reload", address("admin")));
    assert!(reload.starts_with("HTTP/1.1 422 "), "{reload}");
    assert!(reload.contains("the demo has no file to read anew"), "{reload}");

    demo.signal("INT");
    let ended = demo.end();
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
    assert_eq!(ended.access_lines().len(), 52);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listener, option) in [("gateway", "--gateway"), ("admin", "--admin"), ("sandbox", "--sandbox")] {
        let mut args = vec!["demo"];
        for other in ["--gateway", "--admin", "--sandbox"] {
            args.extend([other, if other == option { &address } else { "127.0.0.1:0" }]);
        }
        let run = run(&args);
        assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""));
        let told = format!("cannot listen on {address} for the {listener}: Address already in use");
        assert!(run.stderr.lines().last().unwrap().starts_with(&told), "{}", run.stderr);
    }
}

/// What a shell prints for this line.
fn shell(line: &str) -> String {
    let mut command = Command::new("sh");
    // A proxy of this machine's is not the new user's.
    command.args(["-c", line]).env("NO_PROXY", "*").env("no_proxy", "*");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}
