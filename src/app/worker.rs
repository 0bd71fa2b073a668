//! One worker: a thread with an event loop of its own, which accepts, serves and sends.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::runtime::LocalRuntime;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::gateway::pipeline::{Gateway, Shared};
use crate::gateway::rejection::Rejection;
use crate::net::connection::{self, Unreadable};
use crate::net::listener::{self, Accepted, NoSeat, Peer, Stream};
use crate::net::remote::Remote;
use crate::net::stop::{Phase, Stop, Stopper};
use crate::telemetry::metrics::Listener;

/// What a worker needs.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// With what new connections are met; a reload replaces it.
    pub(super) tls: Arc<ArcSwapOption<ServerConfig>>,
    pub(super) stop: Stop,
}

impl Worker {
    /// Works until the process ends.
    pub(super) fn run(self, part: listener::Worker) {
        let runtime = match LocalRuntime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker cannot start its event loop");
                return;
            }
        };
        runtime.block_on(self.work(part));
        // An address look-up may still be under way on a thread of its own; nobody waits for it any more.
        runtime.shutdown_background();
    }

    async fn work(self, part: listener::Worker) {
        let stop = self.stop.clone();
        let gateway = Gateway::new(Arc::clone(&self.shared));
        let door = std::rc::Rc::new(Door::new());
        let worker = std::rc::Rc::new(self);
        let accepting = part.accept(stop.wait_for(Phase::Closing), |accepted| {
            let (worker, door) = (std::rc::Rc::clone(&worker), std::rc::Rc::clone(&door));
            let gateway = gateway.clone();
            tokio::task::spawn_local(async move {
                let Accepted { stream, peer, seat } = accepted;
                match seat {
                    Ok(_seat) => worker.serve(stream, peer, gateway).await,
                    Err(no_seat) => worker.turn_away(stream, peer, no_seat, &door, gateway).await,
                }
            });
        });
        if let Err(error) = accepting.await {
            tracing::error!(%error, "a worker cannot accept connections");
        }
        // Connections go on as tasks of this thread until they are done, or time is up.
        stop.wait_for(Phase::Killed).await;
    }

    async fn serve(&self, stream: Stream, peer: Peer, gateway: Gateway) {
        let _open = self.shared.metrics.connection(Listener::Gateway);
        let limits = self.connection_limits();
        let service = |names| {
            let (gateway, remote) = (gateway.clone(), Remote { peer, names });
            move |request| gateway.handle(request, remote.clone())
        };
        let refuse = |unreadable| gateway.refuse(&self.rejection(unreadable));
        let tls = self.tls.load_full().map(TlsAcceptor::from);
        let served = connection::serve(stream, tls.as_ref(), &limits, &self.stop, service, refuse);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection failed");
        }
    }

    /// Tells a caller for whom there is no place so, once it asks, and then closes the connection: in whatever HTTP it
    /// speaks, and so that it hears it.
    async fn turn_away(&self, stream: Stream, peer: Peer, no_seat: NoSeat, door: &Door, gateway: Gateway) {
        let Ok(_place) = door.places.try_acquire() else { return };
        let limits = connection::Limits {
            header_timeout: AT_THE_DOOR.min(self.shared.limits.header_timeout),
            idle_timeout: AT_THE_DOOR.min(self.shared.limits.idle_timeout),
            ..self.connection_limits()
        };
        let full = Rejection::TooManyConnections(no_seat);
        let refusing = gateway.clone();
        let service = |names| {
            let (gateway, full) = (gateway, std::rc::Rc::new(full));
            let remote = Remote { peer, names };
            move |request| {
                let response = gateway.turn_away(&request, remote.clone(), &full);
                std::future::ready(response)
            }
        };
        let refuse = |unreadable| refusing.refuse(&self.rejection(unreadable));
        let (tls, stop) = (self.tls.load_full().map(TlsAcceptor::from), door.stop());
        let served = connection::serve(stream, tls.as_ref(), &limits, &stop, service, refuse);
        tokio::select! {
            // Whether it was heard or not, the connection is done.
            _ = tokio::time::timeout(2 * AT_THE_DOOR, served) => {}
            () = self.stop.wait_for(Phase::Closing) => {}
        }
    }

    fn connection_limits(&self) -> connection::Limits {
        let limits = &self.shared.limits;
        connection::Limits {
            header_bytes: limits.header_bytes,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    fn rejection(&self, unreadable: Unreadable) -> Rejection {
        match unreadable {
            Unreadable::SlowHead => Rejection::HeadTooSlow(self.shared.limits.header_timeout),
            Unreadable::LongHead => Rejection::HeadTooLong,
            Unreadable::BadHead => Rejection::BadHead,
        }
    }
}

/// Where callers stand for whom there is no place, until they have heard so.
struct Door {
    /// Answers there say that the connection ends.
    ends: Stopper,
    places: Semaphore,
}

impl Door {
    fn new() -> Self {
        let ends = Stopper::new();
        ends.advance(Phase::Draining);
        Self { ends, places: Semaphore::new(PLACES_AT_THE_DOOR) }
    }

    fn stop(&self) -> Stop {
        self.ends.signal()
    }
}

/// How long a caller may stand at the door before it asks.
const AT_THE_DOOR: Duration = Duration::from_secs(5);
/// For each worker. Beyond these, connections are closed at once and unheard.
const PLACES_AT_THE_DOOR: usize = 256;
