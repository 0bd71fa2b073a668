//! Tencent's official signing library as a judge: does it make the same UserSig?
//!
//! The library is Python; `tests/python/official_signer.py` asks it.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use usersig_gateway::gateway::target::App;

use crate::python;
use crate::world::{Builder, KEY, post};

/// One UserSig to be judged.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) sdkappid: u64,
    pub(crate) key: &'a str,
    pub(crate) usersig: &'a str,
}

/// What the judge found.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Whether the exit status says that all are the same.
    pub(crate) all_same: bool,
    /// For each question, in order: `same`, `members`, `problem`.
    pub(crate) verdicts: Vec<Value>,
}

/// Asks the official library about each UserSig.
pub(crate) fn judge(questions: &[Question<'_>]) -> Judgement {
    let mut child = python::script("official_signer.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter runs");
    let mut input = child.stdin.take().expect("standard input is a pipe");
    for Question { sdkappid, key, usersig } in questions {
        let line = json!({ "sdkappid": sdkappid, "key": key, "usersig": usersig });
        writeln!(input, "{line}").expect("the judge reads to the end");
    }
    drop(input);
    let output = child.wait_with_output().expect("the judge ends");
    let verdicts: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("verdicts are JSON lines"))
        .collect();
    assert_eq!(verdicts.len(), questions.len(), "one verdict a question");
    Judgement { all_same: output.status.code() == Some(0), verdicts }
}

#[test]
fn the_published_vectors_are_the_librarys_own() {
    let vectors = vectors();
    let questions: Vec<_> = vectors
        .iter()
        .flat_map(|vector| ["token_python", "token_node"].map(|token| question(vector, token)))
        .collect();
    let judgement = judge(&questions);
    assert_eq!(judgement.verdicts.len(), 20);
    for (verdict, vector) in judgement.verdicts.chunks(2).zip(&vectors) {
        for verdict in verdict {
            assert_eq!(verdict["problem"], Value::Null, "{}", vector["name"]);
            assert_eq!(verdict["members"], vector["json"], "{}", vector["name"]);
        }
    }
    assert!(judgement.all_same);
}

#[test]
fn a_wrong_usersig_is_told_from_a_right_one() {
    let vectors = vectors();
    let right = question(&vectors[0], "token_python");
    for (wrong, problem) in [
        (Question { key: "FAKEanother", ..right }, "differs in TLS.sig"),
        (Question { sdkappid: 1_400_000_002, ..right }, "differs in TLS.sdkappid, TLS.sig"),
        (Question { usersig: "eJwrSyFg", ..right }, "cannot be decoded: "),
        (Question { usersig: "", ..right }, "cannot be decoded: "),
    ] {
        let judgement = judge(&[question(&vectors[0], "token_python"), wrong]);
        assert!(!judgement.all_same);
        assert_eq!(judgement.verdicts[0]["same"], true);
        assert_eq!(judgement.verdicts[1]["same"], false);
        let told = judgement.verdicts[1]["problem"].as_str().unwrap();
        assert!(told.starts_with(problem), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_sends_is_what_the_library_would_send() {
    let builder = Builder::new().tuned(|live| {
        // Signed anew for each app: names that JSON must escape, and a life of another length.
        let app = (**live.apps.named("live").expect("every world has it")).clone();
        for (name, sdkappid, identifier) in
            [("quoted", 1_400_000_002, "a\"b\\c/<d>"), ("chinese", 1_400_000_003, "管理员")]
        {
            let app = App {
                name: name.parse().expect("a good name"),
                sdkappid: sdkappid.try_into().expect("a good number"),
                identifier: identifier.parse().expect("a good identifier"),
                ..app.clone()
            };
            live.apps.add(app, false).expect("apps of different names and numbers");
        }
        live.usersig.ttl = Duration::from_secs(7_777);
    });
    let world = builder.start().await;
    for app in ["live", "quoted", "chinese"] {
        for _ in 0..2 {
            world.send(post(&format!("/apps/{app}/v4/live_config/get_callback"), "{}")).await;
        }
    }
    let report = world.report();
    assert_eq!(report.calls.len(), 6, "all reached the sandbox");
    let questions: Vec<_> = report
        .calls
        .iter()
        .map(|call| Question {
            sdkappid: call.sdkappid.expect("calls name their app").number().into(),
            key: KEY,
            usersig: &call.parameters.usersig[0],
        })
        .collect();
    let judgement = judge(&questions);
    for (verdict, call) in judgement.verdicts.iter().zip(&report.calls) {
        assert_eq!(verdict["problem"], Value::Null, "{call:?}");
        assert_eq!(verdict["members"]["TLS.identifier"], call.parameters.identifier[0]);
        assert_eq!(verdict["members"]["TLS.expire"], 7_777);
    }
    assert!(judgement.all_same);
    world.end().await;
}

fn vectors() -> Vec<Value> {
    let data: Value =
        serde_json::from_str(include_str!("../data/usersig-vectors.json")).expect("the vectors are JSON");
    data["vectors"].as_array().expect("there are vectors").clone()
}

fn question<'a>(vector: &'a Value, token: &str) -> Question<'a> {
    Question {
        sdkappid: vector["sdkappid"].as_u64().expect("a vector names its app"),
        key: vector["key"].as_str().expect("a vector holds its key"),
        usersig: vector[token].as_str().expect("a vector holds this library's token"),
    }
}
