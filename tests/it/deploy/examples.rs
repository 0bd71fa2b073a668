//! The calls of the migration guide, each in its own language, against a gateway.

use std::process::Command;

use super::{deploy, sandbox, tool};
use crate::process::Serving;
use crate::python;

#[tokio::test(flavor = "multi_thread")]
async fn every_language_calls_with_its_own_client() {
    let sandbox = sandbox().await;
    let serving = Serving::start(&sandbox, "");
    let python = python::interpreter();
    let commands: [(&str, Vec<&str>); 5] = [
        ("call.sh", vec!["sh"]),
        ("call.py", vec![python.to_str().unwrap()]),
        ("call.mjs", vec!["node"]),
        ("Call.java", vec!["java"]),
        ("call.go", vec!["go", "run"]),
    ];
    for (file, words) in &commands {
        let run = || {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(deploy().join("examples").join(file));
            command.env("TENCENT_API", format!("http://{}", serving.gateway));
            command
        };
        let told = tool(&mut run());
        assert!(told.contains("ErrorCode"), "{file}: {told}");
        // A refusal ends it with another status.
        let mut refused = run();
        refused.env("TENCENT_API", format!("http://{}/apps/none", serving.gateway));
        assert_eq!(refused.output().unwrap().status.code(), Some(1), "{file}");
    }
    let callers: Vec<String> = {
        serving.process.signal("TERM");
        let ended = serving.process.end();
        ended.access_lines().iter().map(|line| line["caller"].as_str().unwrap().to_owned()).collect()
    };
    for caller in ["example-curl", "example-python", "example-node", "example-java", "example-go"] {
        assert_eq!(callers.iter().filter(|one| *one == caller).count(), 2, "{caller} in {callers:?}");
    }
    sandbox.stop().await;
}
