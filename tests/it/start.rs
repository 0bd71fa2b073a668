//! The real binary as it starts.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::Arc;

use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{self, Sandbox, SandboxApp};

use crate::binary::command;
use crate::world::{KEY, key, post, sdkappid};

/// A running binary. Dropping it ends it at once.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    /// The address of a listener, from the log line that names it.
    fn address_of(&mut self, listener: &str) -> SocketAddr {
        let mut line = String::new();
        while !line.contains(&format!("\"listener\":\"{listener}\"")) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
        }
        let (_, address) = line.split_once("\"address\":\"").unwrap();
        address.split_once('"').unwrap().0.parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_trust_roots_are_read_before_the_first_call() {
    let settings = sandbox::Settings {
        tls: true,
        apps: vec![SandboxApp::new(sdkappid(), vec![key()])],
        ..sandbox::Settings::default()
    };
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, sandbox.ca_pem().unwrap()).unwrap();
    let config = folder.path().join("gateway.toml");
    let words = format!(
        "[listen]\ngateway = \"{any}\"\nadmin = \"{any}\"\n\
         [[app]]\nname = \"live\"\nsdkappid = {app}\nidentifier = \"administrator\"\nsecret_key_env = \"KEY\"\n\
         endpoints = [\"{url}\"]\n",
        any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        app = sdkappid(),
        url = sandbox.url(),
    );
    std::fs::write(&config, words).unwrap();
    let mut child = command(&["serve", "--config", config.to_str().unwrap()])
        .env("SSL_CERT_FILE", &roots)
        .env("KEY", KEY)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut running = Running { child, log };
    let gateway = running.address_of("gateway");
    // The listener is bound after the roots were read.
    std::fs::remove_file(&roots).unwrap();
    let answer = crate::client::send(&gateway.to_string(), post("/v4/live_config/get_callback", "{}")).await;
    assert_eq!(answer.codes(), (200, 0), "{}", String::from_utf8_lossy(&answer.body));
    drop(running);
    sandbox.stop().await;
}
