//! A whole gateway before a sandbox, over real sockets, for the length of a test.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpSocket;
use usersig_gateway::app::App;
use usersig_gateway::clock::{SystemClock, WallClock};
use usersig_gateway::config::settings::{Boot, DrainSettings, Settings};
use usersig_gateway::gateway;
use usersig_gateway::gateway::target::{self, Apps, Endpoints};
use usersig_gateway::model::api::ApiName;
use usersig_gateway::model::app::SdkAppId;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::sandbox::{self, Report, Sandbox, SandboxApp};

pub(crate) use crate::client::{Answer, post};
use crate::client::{Client, send};
use crate::samples::Samples;

/// The made-up key of the app in every world.
pub(crate) const KEY: &str = "FAKE0000000000000000000000000000000000000000000000000000000000ff";

/// A gateway and the sandbox that it calls.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    gateway: Option<App>,
    host: String,
}

/// How a world is made.
pub(crate) struct Builder {
    pub(crate) sandbox: sandbox::Settings,
    pub(crate) boot: Boot,
    clock: Arc<dyn WallClock>,
    app: Box<dyn FnOnce(&mut target::App)>,
    tune: Box<dyn FnOnce(&mut gateway::Settings)>,
}

pub(crate) fn sdkappid() -> SdkAppId {
    SdkAppId::try_from(1_400_000_001).unwrap()
}

pub(crate) fn key() -> SecretKey {
    SecretKey::new(KEY).unwrap()
}

/// Where nobody listens, and nobody else can while the tests run: the port is taken.
pub(crate) fn nowhere() -> SocketAddr {
    static TAKEN: OnceLock<TcpSocket> = OnceLock::new();
    let socket = TAKEN.get_or_init(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    });
    socket.local_addr().unwrap()
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
                workers: NonZeroUsize::new(1),
                ..Boot::default()
            },
            clock: Arc::new(SystemClock),
            app: Box::new(|_| ()),
            tune: Box::new(|_| ()),
        }
    }

    /// Changes settings before the gateway starts.
    pub(crate) fn tuned(mut self, tune: impl FnOnce(&mut gateway::Settings) + 'static) -> Self {
        self.tune = Box::new(tune);
        self
    }

    /// A gateway that leaves it at one try where that fails. It takes the place of other tuning.
    pub(crate) fn trying_once(self) -> Self {
        self.tuned(|live| live.retry.max_attempts = std::num::NonZeroU32::MIN)
    }

    /// Gateway and sandbox go by this clock.
    pub(crate) fn with_clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        self.clock = clock;
        self
    }

    /// Changes the app before the gateway starts.
    pub(crate) fn with_app(mut self, change: impl FnOnce(&mut target::App) + 'static) -> Self {
        self.app = Box::new(change);
        self
    }

    /// Sends the app's calls here and not to the sandbox.
    pub(crate) fn calling(self, urls: &[&str]) -> Self {
        let endpoints = urls.iter().map(|url| url.parse().unwrap()).collect();
        self.with_app(|app| app.endpoints = Endpoints::private(endpoints))
    }

    /// The sandbox without TLS, so that calls reach it over HTTP/1.1.
    pub(crate) fn plain(mut self) -> Self {
        self.sandbox.tls = false;
        self
    }

    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.boot.workers = NonZeroUsize::new(workers);
        self
    }

    pub(crate) async fn start(self) -> World {
        let sandbox = Sandbox::start(self.sandbox, Arc::clone(&self.clock)).await.unwrap();
        let mut app = app_of(&sandbox);
        (self.app)(&mut app);
        let mut apps = Apps::default();
        apps.add(app, true).unwrap();
        let mut live = gateway::Settings::of(apps);
        (self.tune)(&mut live);
        let gateway = App::start(Settings { boot: self.boot, live }, &self.clock).unwrap();
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
        extra_roots: roots.into_iter().collect::<Vec<_>>().into(),
        index: Default::default(),
        counted: Default::default(),
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

    /// A caller with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        Client::to(&self.host).await
    }

    /// Calls an API with a body.
    pub(crate) async fn call(&self, api: &str, body: &str) -> Answer {
        self.send(post(&format!("/v4/{api}"), body)).await
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send(&self.host, request).await
    }

    /// What the sandbox saw.
    pub(crate) fn report(&self) -> Report {
        self.sandbox.control().report()
    }

    /// What the admin listener answers.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let host = self.gateway().admin_address().to_string();
        send(&host, Request::get(path).body(Full::default()).unwrap()).await
    }

    /// What is counted.
    pub(crate) async fn metrics(&self) -> Samples {
        Samples::read(std::str::from_utf8(&self.admin("/metrics").await.body).unwrap())
    }

    /// Looks at what is counted until `is_so`. Panics when that takes too long.
    pub(crate) async fn until(&self, is_so: impl Fn(&Samples) -> bool) {
        let mut samples = self.metrics().await;
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            if is_so(&samples) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            samples = self.metrics().await;
        }
        panic!("it did not come to that: {samples:?}");
    }

    /// Ends the gateway at once, then the sandbox.
    pub(crate) async fn end(mut self) {
        let finished = drain(self.gateway.take().unwrap()).await;
        self.sandbox.stop().await;
        assert!(finished, "calls were still under way");
    }

    /// Ends the sandbox, and with it what it had not answered, then the gateway.
    pub(crate) async fn end_sandbox_first(mut self) {
        self.sandbox.stop().await;
        let finished = drain(self.gateway.take().unwrap()).await;
        assert!(finished, "calls were still under way");
    }
}

async fn drain(gateway: App) -> bool {
    gateway.drain(DrainSettings { accept_for: Duration::ZERO, grace: Duration::from_secs(5) }).await
}

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
