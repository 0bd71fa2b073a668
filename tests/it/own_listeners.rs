//! Calls that would come back: none goes to the gateway's own listeners, however their address is written, and whatever
//! a reload says of them.

use std::sync::Arc;

use http::Request;
use http_body_util::Full;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::client::{Answer, post, send};
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{key, sdkappid};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_would_come_back_is_not_sent() {
    for (listens, host) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "localhost"),
        ("0.0.0.0:0", "127.0.0.5"),
        ("[::]:0", "[::1]"),
        ("[::]:0", "127.0.0.1"),
    ] {
        let gateway = Gateway::start(listens).await;
        let port = port(&gateway.serving.gateway);
        gateway.calls(&format!("http://{host}:{port}")).await;
        let answer = gateway.call(port).await;
        assert_eq!(answer.codes(), (502, 9_900_502), "{listens}, {host}: {answer:?}");
        for word in ["this gateway's own listener", "`endpoints`", "was not sent"] {
            assert!(answer.error_info().contains(word), "{word}: {}", answer.error_info());
        }
        let proxy_status = "usersig-gateway; error=proxy_loop_detected; details=\"unreachable\"";
        assert_eq!(answer.header("proxy-status"), proxy_status);
        assert_eq!(gateway.metrics().await.sum("calls_total", &[]), 1.0, "the caller's own is all there was");
        gateway.sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_over_tls_nor_to_the_admin_listener_is_one_sent() {
    let gateway = Gateway::start("127.0.0.1:0").await;
    let (own, admin) = (port(&gateway.serving.gateway), port(&gateway.serving.admin));
    for endpoint in [format!("https://localhost:{own}"), format!("http://localhost:{admin}")] {
        gateway.calls(&endpoint).await;
        let answer = gateway.call(own).await;
        assert!(answer.error_info().contains("own listener"), "{endpoint}: {}", answer.error_info());
    }
    // Another service of this machine is called as before.
    gateway.calls(&gateway.sandbox.url()).await;
    assert_eq!(gateway.call(own).await.codes(), (200, 0));
    gateway.sandbox.stop().await;
}

struct Gateway {
    serving: Serving,
    sandbox: Sandbox,
}

impl Gateway {
    /// On a free port, so that no configuration can tell which address it is.
    async fn start(listens: &str) -> Self {
        let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
        let sandbox =
            Sandbox::start(Settings { apps, ..Settings::default() }, Arc::new(SystemClock)).await.unwrap();
        let environment = [("USERSIG_GATEWAY__LISTEN__GATEWAY", listens)];
        let serving = Serving::start_with(&sandbox, "[retry]\nmax_attempts = 1\n", &environment);
        Self { serving, sandbox }
    }

    /// From now on its calls go there.
    async fn calls(&self, endpoint: &str) {
        let file = self.serving.folder().join("gateway.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| match line.starts_with("endpoints = ") {
            true => format!("endpoints = [\"{endpoint}\"]\n"),
            false => format!("{line}\n"),
        });
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        let reload = Request::post("/-/reload").body(Full::default()).unwrap();
        assert_eq!(send(&self.serving.admin, reload).await.status, 200);
    }

    async fn call(&self, port: u16) -> Answer {
        send(&format!("localhost:{port}"), post("/v4/live_config/get_callback", "{}")).await
    }

    async fn metrics(&self) -> Samples {
        let answer = send(&self.serving.admin, Request::get("/metrics").body(Full::default()).unwrap()).await;
        Samples::read(std::str::from_utf8(&answer.body).unwrap())
    }
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}
