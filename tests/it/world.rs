//! A whole gateway before a sandbox, over real sockets, for the length of a test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use usersig_gateway::app::App;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::config::settings::{Boot, DrainSettings, Settings};
use usersig_gateway::gateway;
use usersig_gateway::gateway::target::{self, Apps, Endpoints};
use usersig_gateway::model::api::ApiName;
use usersig_gateway::model::app::SdkAppId;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::net::body::read_capped;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::sandbox::{self, Sandbox, SandboxApp};

/// The made-up key of the app in every world.
pub(crate) const KEY: &str = "FAKE0000000000000000000000000000000000000000000000000000000000ff";

/// A gateway and the sandbox that it calls.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    gateway: Option<App>,
    host: String,
}

/// What a caller got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How a world is made.
pub(crate) struct Builder {
    pub(crate) sandbox: sandbox::Settings,
    pub(crate) boot: Boot,
    pub(crate) tune: Box<dyn FnOnce(&mut gateway::Settings) + Send>,
}

pub(crate) fn sdkappid() -> SdkAppId {
    SdkAppId::try_from(1_400_000_001).unwrap()
}

pub(crate) fn key() -> SecretKey {
    SecretKey::new(KEY).unwrap()
}

pub(crate) fn api(name: &str) -> ApiName {
    name.parse().unwrap()
}

impl Builder {
    /// A TLS sandbox with one app, and a gateway with one worker on free ports.
    pub(crate) fn new() -> Self {
        let loopback = || ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        Self {
            sandbox: sandbox::Settings {
                tls: true,
                apps: vec![SandboxApp::new(sdkappid(), vec![key()])],
                ..sandbox::Settings::default()
            },
            boot: Boot {
                gateway: loopback(),
                admin: loopback(),
                workers: Some(const { std::num::NonZeroUsize::new(1).unwrap() }),
                ..Boot::default()
            },
            tune: Box::new(|_| ()),
        }
    }

    /// Changes settings before the gateway starts.
    pub(crate) fn tuned(mut self, tune: impl FnOnce(&mut gateway::Settings) + Send + 'static) -> Self {
        self.tune = Box::new(tune);
        self
    }

    pub(crate) async fn start(self) -> World {
        let sandbox = Sandbox::start(self.sandbox, Arc::new(SystemClock)).await.unwrap();
        let mut apps = Apps::default();
        apps.add(app_of(&sandbox), true).unwrap();
        let mut live = gateway::Settings::of(apps);
        (self.tune)(&mut live);
        let gateway = App::start(Settings { boot: self.boot, live }, Arc::new(SystemClock)).unwrap();
        let host = gateway.gateway_address().to_string();
        World { sandbox, gateway: Some(gateway), host }
    }
}

/// The app of every world, whose calls go to `sandbox`.
pub(crate) fn app_of(sandbox: &Sandbox) -> target::App {
    let roots = sandbox.ca_pem().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    target::App {
        name: "live".parse().unwrap(),
        sdkappid: sdkappid(),
        identifier: "administrator".parse().unwrap(),
        keys: vec![key()],
        region: None,
        endpoints: Endpoints::private(vec![sandbox.url().parse().unwrap()]),
        extra_roots: roots.into_iter().collect(),
    }
}

impl World {
    /// A world with the defaults.
    pub(crate) async fn start() -> Self {
        Builder::new().start().await
    }

    /// `host:port` of the gateway listener.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn gateway(&self) -> &App {
        self.gateway.as_ref().unwrap()
    }

    /// Calls an API with a body.
    pub(crate) async fn call(&self, api: &str, body: &str) -> Answer {
        self.send(post(&format!("/v4/{api}"), body)).await
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send(&self.host, request).await
    }

    /// The text of the admin listener's `path`.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let host = self.gateway().admin_address().to_string();
        let request = Request::get(path).header("host", &host).body(Full::default()).unwrap();
        send(&host, request).await
    }

    /// Ends the gateway at once, then the sandbox.
    pub(crate) async fn end(mut self) {
        let now = DrainSettings { accept_for: Duration::ZERO, grace: Duration::from_secs(5) };
        let finished = self.gateway.take().unwrap().drain(now).await;
        self.sandbox.stop().await;
        assert!(finished, "calls were still under way");
    }
}

/// A POST with a JSON body, as a backend would send it.
pub(crate) fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// Sends a request on a connection of its own.
pub(crate) async fn send(host: &str, mut request: Request<Full<Bytes>>) -> Answer {
    if !request.headers().contains_key("host") {
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    let stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = read_capped(body, 64 << 20).await.unwrap();
    driver.abort();
    Answer { status: head.status, headers: head.headers, body }
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub(crate) fn error_code(&self) -> i64 {
        self.json()["ErrorCode"].as_i64().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
