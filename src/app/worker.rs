//! One worker: a thread with an event loop of its own, which accepts, serves and sends.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::gateway::pipeline::{Gateway, Shared};
use crate::gateway::rejection::Rejection;
use crate::net::connection::{self, Unreadable};
use crate::net::listener::{self, Accepted, NoSeat, Stream};
use crate::net::remote::Remote;
use crate::net::stop::{Phase, Stop};
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
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker cannot start its event loop");
                return;
            }
        };
        LocalSet::new().block_on(&runtime, self.work(part));
        // An address look-up may still be under way on a thread of its own; nobody waits for it any more.
        runtime.shutdown_background();
    }

    async fn work(self, part: listener::Worker) {
        let stop = self.stop.clone();
        let gateway = Gateway::new(Arc::clone(&self.shared));
        let worker = std::rc::Rc::new(self);
        let accepting = part.accept(stop.wait_for(Phase::Closing), |accepted| {
            let (worker, gateway) = (std::rc::Rc::clone(&worker), gateway.clone());
            tokio::task::spawn_local(async move { worker.serve(accepted, gateway).await });
        });
        if let Err(error) = accepting.await {
            tracing::error!(%error, "a worker cannot accept connections");
        }
        // Connections go on as tasks of this thread until they are done, or time is up.
        stop.wait_for(Phase::Killed).await;
    }

    async fn serve(&self, accepted: Accepted, gateway: Gateway) {
        let Accepted { stream, peer, seat } = accepted;
        let _seat = match seat {
            Ok(seat) => seat,
            Err(no_seat) => return self.turn_away(stream, no_seat).await,
        };
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

    /// Tells a caller for whom there is no place, quickly and without reading what it sends.
    async fn turn_away(&self, mut stream: Stream, no_seat: NoSeat) {
        let gateway = Gateway::new(Arc::clone(&self.shared));
        let words = gateway.refuse(&Rejection::TooManyConnections(no_seat));
        let told = async {
            // TLS would have to be set up first, which is what there is no room for.
            if self.tls.load().is_none() {
                stream.write_all(&words).await?;
            }
            stream.shutdown().await
        };
        // Whether it was heard or not, the connection is done.
        let _: Result<std::io::Result<()>, _> = tokio::time::timeout(TURNED_AWAY_WITHIN, told).await;
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

const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(1);
