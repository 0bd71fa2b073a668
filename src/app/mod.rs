//! Running the gateway: settings in, a running process out.
//!
//! [`App::start`] binds every listener, starts a thread for each worker, and beside them one runtime for what is not on
//! a call's way: renewal of UserSigs, the admin listener, and the tasks that hand tokens to waiting calls. It returns
//! once calls are taken. [`App::drain`] ends it in the order in which nothing is lost: no longer ready, no longer
//! accepting, finished, gone.

mod control;
mod credential_log;
mod reload;
mod replica;
mod status;
mod trace_export;
mod worker;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admin::{self, Command, Readiness};
use crate::clock::WallClock;
use crate::config::settings::{Boot, DrainSettings, Settings};
use crate::gateway::RecordSettings;
use crate::gateway::admission::shared::Replica;
use crate::gateway::admission::{Admission, Reading, Waiting};
use crate::gateway::attempt::Budgets;
use crate::gateway::credentials::{Credentials, KeySigner, LookoutKeeper, Parts};
use crate::gateway::forward::Health;
use crate::gateway::pipeline::{Gateway, InFlight, Shared};
use crate::gateway::target::Apis;
use crate::gateway::trip::Trips;
use crate::model::secret::AdminToken;
use crate::net::body::Room;
use crate::net::client::OwnListeners;
use crate::net::listener::{Bound, BoundSocket, ListenAddress, MostConnections, Share};
use crate::net::stop::{Phase, Stopper};
use crate::net::tls::{ServerTls, ServerTlsError};
use crate::telemetry::events::ListenerBound;
use crate::telemetry::metrics::{CeilingReading, Listener, Metrics, READ_EVERY, WaitingReading};
use crate::telemetry::traces::Traces;
use control::Control;
use credential_log::CredentialLog;
use reload::ConfigLog;
use trace_export::Exporter;

/// A running gateway.
#[derive(Debug)]
pub struct App {
    gateway: ListenAddress,
    admin: ListenAddress,
    shared: Arc<Shared>,
    connections: Arc<Share>,
    readiness: Readiness,
    /// What it was started with; of some of it a reload can only tell that it changed.
    boot: Boot,
    /// What new connections to the gateway listener are met with.
    tls: Arc<ArcSwapOption<ServerConfig>>,
    clock: Arc<dyn WallClock>,
    admin_token: Arc<ArcSwapOption<AdminToken>>,
    commands: mpsc::Receiver<Command>,
    config: Arc<ConfigLog>,
    stopper: Stopper,
    workers: Vec<std::thread::JoinHandle<()>>,
    /// Outlives the workers, whose last spans it sends.
    #[expect(dead_code, reason = "held until the gateway ends: dropping it ends what runs there")]
    exporter: Option<Exporter>,
    /// Outlives the workers.
    #[expect(dead_code, reason = "held until the gateway ends: dropping it ends what runs there")]
    control: Control,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error("cannot listen on {address} for the {listener}: {error}")]
    Listen {
        /// Which one.
        listener: &'static str,
        /// Where.
        address: ListenAddress,
        /// Why not.
        error: io::Error,
    },
    /// TLS cannot be offered.
    #[error("cannot offer TLS: {0}")]
    Tls(#[from] ServerTlsError),
    /// The operating system gives no thread or no event queue.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl App {
    /// Starts a gateway. When it returns, calls are taken.
    ///
    /// # Errors
    /// When an address is taken, TLS cannot be offered, or the system gives no threads. Nothing is left running then.
    pub fn start(settings: Settings, clock: &Arc<dyn WallClock>) -> Result<Self, StartError> {
        let Settings { boot, live } = settings;
        let workers =
            boot.workers.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        // Reading files would block a worker, and may no longer be possible then.
        crate::net::tls::read_platform_roots();
        let tls = boot.tls.as_ref().map(ServerTls::config).transpose()?;
        let gateway = listen(Listener::Gateway, &boot.gateway, workers)?;
        let admin = listen(Listener::Admin, &boot.admin, 1)?;
        let (gateway_address, admin_address) = (gateway.address().clone(), admin.address().clone());
        let own_listeners =
            OwnListeners::new([&gateway_address, &admin_address].into_iter().filter_map(ListenAddress::tcp));

        let control = Control::start()?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let (traces, exporter) = traces(&boot, clock, &metrics)?;
        let replica =
            boot.redis.as_ref().map(|redis| replica::new(redis, &live.ceiling, &gateway_address, &metrics));
        let around = Around { control: control.handle(), metrics: &metrics, clock, replica, traces };
        let shared = share(live, &boot, own_listeners, around);
        let readiness = Readiness::new();
        let stopper = Stopper::new();

        let config = Arc::new(ConfigLog::new(clock.unix_seconds()));
        let status = status::teller(&shared, &readiness, &config, clock);
        let admin_token = Arc::new(ArcSwapOption::from_pointee(boot.admin_token.clone()));
        let (orders, commands) = mpsc::channel(1);
        let state = admin::State {
            metrics: Arc::clone(&metrics),
            readiness: readiness.clone(),
            status,
            orders: admin::Orders { token: Arc::clone(&admin_token), to: orders },
        };
        let admin = admin_listener(admin, control.handle())?;
        control.handle().spawn(admin::serve(admin, state, stopper.signal()));
        control.handle().spawn(Arc::clone(&shared.credentials).renew());
        let house = Arc::clone(&shared);
        control.handle().spawn(async move { house.admission.keep_house().await });
        let counters = Arc::clone(&metrics);
        control.handle().spawn(async move {
            loop {
                counters.keep_reading(Instant::now());
                tokio::time::sleep(READ_EVERY).await;
            }
        });
        if let Some(replica) = shared.admission.replica() {
            control.handle().spawn(Arc::clone(replica).keep_in_touch());
        }
        // Calls are taken from the first moment on, so readiness is known before the first probe asks.
        control.handle().spawn(status::watch(Arc::clone(&shared), readiness.clone()));

        let most =
            MostConnections { in_all: boot.max_connections, per_source: boot.max_connections_per_source };
        let (connections, parts) = Share::among(gateway.into_sockets(), workers, most);
        // Whole from here on, so that dropping it ends what was started when not everything can be.
        let mut app = Self {
            gateway: gateway_address,
            admin: admin_address,
            shared,
            connections,
            readiness,
            boot,
            tls: Arc::new(ArcSwapOption::new(tls)),
            clock: Arc::clone(clock),
            admin_token,
            commands,
            config,
            stopper,
            workers: Vec::new(),
            exporter,
            control,
        };
        for (index, part) in parts.into_iter().enumerate() {
            let worker = worker::Worker {
                shared: Arc::clone(&app.shared),
                tls: Arc::clone(&app.tls),
                stop: app.stopper.signal(),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            app.workers.push(thread.spawn(move || worker.run(part))?);
        }
        Ok(app)
    }

    /// Where calls are taken, with the port that was taken where 0 was asked for.
    #[must_use]
    pub fn gateway_address(&self) -> &ListenAddress {
        &self.gateway
    }

    /// Where the admin routes are.
    #[must_use]
    pub fn admin_address(&self) -> &ListenAddress {
        &self.admin
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Waits for something to do that was asked for at the admin listener.
    ///
    /// Cancel-safe: nothing is lost.
    pub async fn command(&mut self) -> Command {
        match self.commands.recv().await {
            Some(command) => command,
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }

    /// Whoever reads the keys holds this, and looks for newer ones when calls ask for them.
    #[must_use]
    pub fn keep_lookout(&self) -> LookoutKeeper {
        self.shared.credentials.keep_lookout()
    }

    /// Ends the gateway: no longer ready, after `accept_for` no longer accepting, and when everything is finished, or
    /// `grace` is over, gone. Says whether everything was finished.
    pub async fn drain(self, settings: DrainSettings) -> bool {
        self.readiness.draining();
        self.stopper.advance(Phase::Draining);
        tokio::time::sleep(settings.accept_for).await;
        self.stopper.advance(Phase::Closing);
        let finished = tokio::time::timeout(settings.grace, self.finished()).await.is_ok();
        if let (true, Some(replica)) = (finished, self.shared.admission.replica()) {
            // Nothing is sent any more, so the others may have this one's part.
            replica.leave().await;
        }
        self.stopper.advance(Phase::Killed);
        finished
    }

    async fn finished(&self) {
        while self.connections.connections() > 0 || self.shared.in_flight.now() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A gateway without listeners, for calls from within the process: they go the way of all calls, and nothing of them
/// is logged. Its calls must be made on the runtime on which this is called, a [`LocalRuntime`](tokio::runtime::LocalRuntime).
#[must_use]
pub fn without_listeners(settings: Settings, clock: &Arc<dyn WallClock>) -> Gateway {
    let Settings { boot, mut live } = settings;
    live.record = RecordSettings { access_share: 0.0, audit: false };
    // They are for callers from outside.
    live.callers.rules.clear();
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let around =
        Around { control: &Handle::current(), metrics: &metrics, clock, replica: None, traces: None };
    Gateway::new(share(live, &boot, OwnListeners::default(), around))
}

impl Drop for App {
    fn drop(&mut self) {
        self.stopper.advance(Phase::Killed);
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so in the log already.
            _ = worker.join();
        }
    }
}

fn listen(listener: Listener, address: &ListenAddress, workers: usize) -> Result<Bound, StartError> {
    let bound = Bound::listen(address, workers);
    let failed = |error| StartError::Listen { listener: listener.as_str(), address: address.clone(), error };
    let bound = bound.map_err(failed)?;
    ListenerBound { listener, address: bound.address() }.emit();
    Ok(bound)
}

fn admin_listener(bound: Bound, control: &Handle) -> io::Result<admin::Listener> {
    let _on = control.enter();
    match bound.into_sockets().pop() {
        Some(BoundSocket::Tcp(socket)) => Ok(tokio::net::TcpListener::from_std(socket)?.into()),
        Some(BoundSocket::Unix(socket)) => Ok(tokio::net::UnixListener::from_std(socket)?.into()),
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Traces and whoever sends them, if they are switched on.
fn traces(
    boot: &Boot,
    clock: &Arc<dyn WallClock>,
    metrics: &Arc<Metrics>,
) -> io::Result<(Option<Arc<Traces>>, Option<Exporter>)> {
    let Some(collector) = boot.tracing.collector.clone() else { return Ok((None, None)) };
    let (traces, queue) =
        Traces::new(&boot.tracing, boot.tls.is_some(), Arc::clone(clock), Arc::clone(metrics));
    let exporter = Exporter::start(collector, queue, Arc::clone(metrics))?;
    Ok((Some(Arc::new(traces)), Some(exporter)))
}

/// What surrounds that which is shared by all calls.
struct Around<'a> {
    control: &'a Handle,
    metrics: &'a Arc<Metrics>,
    clock: &'a Arc<dyn WallClock>,
    replica: Option<Arc<Replica>>,
    traces: Option<Arc<Traces>>,
}

fn share(
    live: crate::gateway::Settings,
    boot: &Boot,
    own_listeners: OwnListeners,
    around: Around<'_>,
) -> Arc<Shared> {
    let Around { control, metrics, clock, replica, traces } = around;
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::clone(clock),
        events: Arc::new(CredentialLog(Arc::clone(metrics))),
        jitter: Arc::new(fastrand::f64),
    };
    let apis = Apis::new();
    know(&apis, metrics, &live);
    let shared = Arc::new(Shared {
        credentials: Arc::new(Credentials::new(live.usersig, &live.apps, parts)),
        trips: Trips::new(&live.apps, Arc::clone(metrics)),
        health: Health::new(&live.apps, Arc::clone(clock), Arc::clone(metrics)),
        budgets: Budgets::new(&live.apps),
        admission: Admission::new(live.ceiling.clone(), control.clone(), Instant::now()).sharing(replica),
        live: ArcSwap::from_pointee(live),
        apis,
        metrics: Arc::clone(metrics),
        room: Room::of(boot.limits.buffered),
        limits: boot.limits,
        in_flight: Arc::new(InFlight::at_most(boot.max_in_flight)),
        own_listeners,
        traces,
    });
    let weak = Arc::downgrade(&shared);
    metrics.register_ceilings(Box::new(move || {
        let readings = weak.upgrade().map(|shared| shared.admission.readings()).unwrap_or_default();
        readings.iter().map(ceiling_reading).collect()
    }));
    let weak = Arc::downgrade(&shared);
    metrics.register_waiting(Box::new(move || {
        let waiting = weak.upgrade().map(|shared| shared.admission.waiting()).unwrap_or_default();
        let reading = |waiting: Waiting| WaitingReading {
            app: waiting.app.to_string(),
            caller: waiting.caller,
            calls: waiting.calls as u64,
        };
        waiting.into_iter().map(reading).collect()
    }));
    shared
}

/// The APIs and callers that settings name are told apart always, however many others there are.
fn know(apis: &Apis, metrics: &Metrics, live: &crate::gateway::Settings) {
    let named = live.ceiling.api.keys().chain(live.retry.api.keys());
    apis.know(named.chain(live.rules.named_apis()));
    metrics.know_callers(live.callers.rules.iter().map(|rule| rule.name.as_str()));
}

fn ceiling_reading(reading: &Reading) -> CeilingReading {
    CeilingReading {
        app: reading.app.to_string(),
        api: reading.api.to_string(),
        limit: reading.per_second,
        used: reading.used.into(),
        waiting: reading.waiting as u64,
        leased: reading.leased.into(),
        unproven: reading.unproven,
        shadowed: reading.shadowed,
    }
}

/// How often the end is looked for while draining.
const LOOK_EVERY: Duration = Duration::from_millis(10);
