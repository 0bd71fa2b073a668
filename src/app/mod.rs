//! Running the gateway: settings in, a running process out.
//!
//! [`App::start`] binds every listener, starts a thread for each worker, and beside them one runtime for what is not on
//! a call's way: renewal of UserSigs, the admin listener, and the tasks that hand tokens to waiting calls. It returns
//! once calls are taken. [`App::drain`] ends it in the order in which nothing is lost: no longer ready, no longer
//! accepting, finished, gone.

mod credential_log;
mod status;
mod worker;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::admin::{self, Readiness};
use crate::clock::WallClock;
use crate::config::settings::{DrainSettings, Settings};
use crate::gateway::admission::{Admission, Reading};
use crate::gateway::credentials::{Credentials, KeySigner, Parts};
use crate::gateway::pipeline::{InFlight, Shared};
use crate::gateway::target::Apis;
use crate::net::listener::{Bound, BoundSocket, ListenAddress, Share};
use crate::net::stop::{Phase, Stopper};
use crate::net::tls::ServerTlsError;
use crate::telemetry::events::ListenerBound;
use crate::telemetry::metrics::{CeilingReading, Listener, Metrics};
use credential_log::CredentialLog;

/// A running gateway.
#[derive(Debug)]
pub struct App {
    gateway: ListenAddress,
    admin: ListenAddress,
    shared: Arc<Shared>,
    connections: Arc<Share>,
    readiness: Readiness,
    stopper: Stopper,
    workers: Vec<std::thread::JoinHandle<()>>,
    /// For everything that is not on a call's way. It outlives the workers.
    control: Option<Runtime>,
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
        let tls = boot.tls.as_ref().map(crate::net::tls::ServerTls::config).transpose()?;
        let gateway = listen(Listener::Gateway, &boot.gateway, workers)?;
        let admin = listen(Listener::Admin, &boot.admin, 1)?;
        let (gateway_address, admin_address) = (gateway.address().clone(), admin.address().clone());

        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let shared = share(live, boot.limits, boot.max_in_flight, &control, &metrics, Arc::clone(clock));
        let readiness = Readiness::new();
        let stopper = Stopper::new();

        let status = status::teller(&shared, &readiness, &**clock);
        let state = admin::State { metrics: Arc::clone(&metrics), readiness: readiness.clone(), status };
        let admin = admin_listener(admin, &control)?;
        control.spawn(admin::serve(admin, state, stopper.signal()));
        control.spawn(Arc::clone(&shared.credentials).renew());
        // Calls are taken from the first moment on, so readiness is known before the first probe asks.
        control.spawn(status::watch(Arc::clone(&shared), readiness.clone()));

        let (connections, parts) = Share::among(gateway.into_sockets(), workers, boot.max_connections);
        let threads = parts.into_iter().enumerate().map(|(index, part)| {
            let worker = worker::Worker {
                shared: Arc::clone(&shared),
                tls: tls.clone().map(Into::into),
                stop: stopper.signal(),
                max_connections: boot.max_connections,
            };
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || worker.run(part))
        });
        let workers = threads.collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            gateway: gateway_address,
            admin: admin_address,
            shared,
            connections,
            readiness,
            stopper,
            workers,
            control: Some(control),
        })
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

    /// Ends the gateway: no longer ready, after `accept_for` no longer accepting, and when everything is finished, or
    /// `grace` is over, gone. Says whether everything was finished.
    pub async fn drain(self, settings: DrainSettings) -> bool {
        self.readiness.draining();
        self.stopper.advance(Phase::Draining);
        tokio::time::sleep(settings.accept_for).await;
        self.stopper.advance(Phase::Closing);
        let finished = tokio::time::timeout(settings.grace, self.finished()).await.is_ok();
        self.stopper.advance(Phase::Killed);
        finished
    }

    async fn finished(&self) {
        while self.connections.connections() > 0 || self.shared.in_flight.now() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stopper.advance(Phase::Killed);
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so in the log already.
            _ = worker.join();
        }
        if let Some(control) = self.control.take() {
            control.shutdown_background();
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

fn admin_listener(bound: Bound, control: &Runtime) -> io::Result<admin::Listener> {
    let _on = control.enter();
    match bound.into_sockets().pop() {
        Some(BoundSocket::Tcp(socket)) => Ok(tokio::net::TcpListener::from_std(socket)?.into()),
        Some(BoundSocket::Unix(socket)) => Ok(tokio::net::UnixListener::from_std(socket)?.into()),
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn share(
    live: crate::gateway::Settings,
    limits: crate::gateway::Limits,
    max_in_flight: usize,
    control: &Runtime,
    metrics: &Arc<Metrics>,
    clock: Arc<dyn WallClock>,
) -> Arc<Shared> {
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock,
        events: Arc::new(CredentialLog(Arc::clone(metrics))),
        jitter: Arc::new(fastrand::f64),
    };
    let apis = Apis::new();
    apis.know(live.ceiling.api.keys());
    let shared = Arc::new(Shared {
        credentials: Arc::new(Credentials::new(live.usersig, &live.apps, parts)),
        admission: Admission::new(control.handle().clone(), Instant::now()),
        live: ArcSwap::from_pointee(live),
        apis,
        metrics: Arc::clone(metrics),
        limits,
        in_flight: InFlight::at_most(max_in_flight),
    });
    let weak = Arc::downgrade(&shared);
    metrics.register_ceilings(Box::new(move || {
        let readings = weak.upgrade().map(|shared| shared.admission.readings()).unwrap_or_default();
        readings.iter().map(ceiling_reading).collect()
    }));
    shared
}

fn ceiling_reading(reading: &Reading) -> CeilingReading {
    CeilingReading {
        app: reading.app.to_string(),
        api: reading.api.to_string(),
        limit: reading.per_second,
        used: reading.used.into(),
        waiting: reading.waiting as u64,
        unproven: reading.unproven,
    }
}

/// How often the end is looked for while draining.
const LOOK_EVERY: Duration = Duration::from_millis(10);
