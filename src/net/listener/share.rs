//! Sharing connections out among workers, within one bound for all.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::BoundSocket;
use super::seats::{self, MostConnections, NoSeat, Seats};
use super::stream::Stream;

/// What the workers of one listener share: how many connections each has, and how to hand one over.
#[derive(Debug)]
pub struct Share {
    workers: Vec<Slot>,
    seats: Arc<Seats>,
}

#[derive(Debug)]
struct Slot {
    connections: AtomicUsize,
    /// Closed once the worker accepts no more.
    inbox: mpsc::UnboundedSender<HandedOver>,
}

/// One worker's part: its socket, if it has one, and what others hand it.
#[derive(Debug)]
pub struct Worker {
    share: Arc<Share>,
    index: usize,
    socket: Option<BoundSocket>,
    inbox: mpsc::UnboundedReceiver<HandedOver>,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An IP address.
    Ip(IpAddr),
    /// A process of this machine, by its user; `None` when the kernel does not tell.
    Uid(Option<u32>),
}

/// A connection that was accepted and belongs to this worker.
#[derive(Debug)]
pub struct Accepted {
    /// The stream.
    pub stream: Stream,
    /// Who is at the other end.
    pub peer: Peer,
    /// Its place among the connections, or why it has none.
    pub seat: Result<Seat, NoSeat>,
}

/// A connection's place, at one worker. Dropping it frees the place.
#[derive(Debug)]
pub struct Seat {
    share: Arc<Share>,
    index: usize,
    #[expect(dead_code, reason = "held while the connection is open: dropping it frees the place")]
    among_all: seats::Seat,
}

/// A connection on its way to another worker, with the place that it has there.
#[derive(Debug)]
struct HandedOver {
    raw: Raw,
    peer: Peer,
    seat: Seat,
}

/// A stream that is registered with no worker's runtime.
#[derive(Debug)]
enum Raw {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
    None,
}

impl Share {
    /// Shares `sockets` out among `workers`, one each as far as they go.
    #[must_use]
    pub fn among(
        sockets: Vec<BoundSocket>,
        workers: usize,
        most: MostConnections,
    ) -> (Arc<Self>, Vec<Worker>) {
        let (slots, inboxes): (Vec<_>, Vec<_>) = (0..workers.max(1))
            .map(|_| {
                // Unbounded in form; what goes in has a seat already.
                let (inbox, receiver) = mpsc::unbounded_channel();
                (Slot { connections: AtomicUsize::new(0), inbox }, receiver)
            })
            .unzip();
        let share = Arc::new(Self { workers: slots, seats: Seats::new(most) });
        let mut sockets = sockets.into_iter();
        let workers = inboxes.into_iter().enumerate().map(|(index, inbox)| Worker {
            share: Arc::clone(&share),
            index,
            socket: sockets.next(),
            inbox,
        });
        let workers = workers.collect();
        (share, workers)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seats.taken()
    }

    /// Takes a place for a connection that worker `at` accepted: at the worker with the fewest of those that accept,
    /// unless that is no clear gain.
    fn seat(self: &Arc<Self>, peer: Peer, at: usize) -> Result<Seat, NoSeat> {
        let among_all = self.seats.take(peer)?;
        let load = |slot: &Slot| slot.connections.load(Ordering::Relaxed);
        let accepting = self.workers.iter().enumerate().filter(|(_, slot)| !slot.inbox.is_closed());
        let fewest = accepting.min_by_key(|(_, slot)| load(slot)).map_or(at, |(i, _)| i);
        let own = load(&self.workers[at]);
        let index = if load(&self.workers[fewest]) < own { fewest } else { at };
        Ok(Seat::new(self, index, among_all))
    }
}

impl Worker {
    /// Accepts connections and gives each to `serve`: on this worker, or on the one it is handed over to.
    ///
    /// Goes on until `closing` is ready; those that were handed over to it by then are still served. Must run on the
    /// worker's own runtime. Dropped, it stops listening; connections already handed over to it are closed.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime. Nothing is handed over to this worker then.
    pub async fn accept(
        mut self,
        closing: impl Future<Output = ()>,
        mut serve: impl FnMut(Accepted),
    ) -> io::Result<()> {
        let socket = match self.socket.take() {
            None => Socket::None,
            Some(BoundSocket::Tcp(socket)) => Socket::Tcp(TcpListener::from_std(socket)?),
            Some(BoundSocket::Unix(socket)) => Socket::Unix(UnixListener::from_std(socket)?),
        };
        let mut closing = pin!(closing);
        loop {
            tokio::select! {
                () = &mut closing => break,
                (stream, peer) = without_errors(|| socket.accept()) => self.place(stream, peer, &mut serve),
                Some(handed_over) = self.inbox.recv() => handed_over.take(&mut serve),
            }
        }
        drop(socket);
        // From here on the others keep what they accept.
        self.inbox.close();
        while let Some(handed_over) = self.inbox.recv().await {
            handed_over.take(&mut serve);
        }
        Ok(())
    }

    fn place(&self, stream: Stream, peer: Peer, serve: &mut impl FnMut(Accepted)) {
        match self.share.seat(peer, self.index) {
            Ok(seat) if seat.index != self.index => self.hand_over(stream, peer, seat, serve),
            seat => serve(Accepted { stream, peer, seat }),
        }
    }

    fn hand_over(&self, stream: Stream, peer: Peer, seat: Seat, serve: &mut impl FnMut(Accepted)) {
        let to = &self.share.workers[seat.index].inbox;
        let handed_over = match stream.unregistered() {
            Ok(raw) => HandedOver { raw, peer, seat },
            Err(error) => return tracing::warn!(%error, "a connection could not be handed over"),
        };
        if let Err(mpsc::error::SendError(mut back)) = to.send(handed_over) {
            // That one has stopped accepting this very moment.
            back.seat = back.seat.moved_to(self.index);
            back.take(serve);
        }
    }
}

impl HandedOver {
    /// Takes the connection over on this worker.
    fn take(self, serve: &mut impl FnMut(Accepted)) {
        let Self { raw, peer, seat } = self;
        match raw.registered() {
            Ok(stream) => serve(Accepted { stream, peer, seat: Ok(seat) }),
            Err(error) => tracing::warn!(%error, "a connection could not be handed over"),
        }
    }
}

/// Accepts until that succeeds. Cancel-safe.
///
/// Some errors speak of the one connection, whose caller or network failed before it was accepted (accept(2)): the next
/// one may be fine. Others, as when descriptors run out, last for a while; a pause keeps them from burning a core.
async fn without_errors<T>(mut accept: impl AsyncFnMut() -> io::Result<T>) -> T {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, PermissionDenied, TimedOut,
    };
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => match error.kind() {
                ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted
                | NetworkDown | NetworkUnreachable | PermissionDenied | TimedOut => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                _ => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            },
        }
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Fails only where the connection is gone already, which whoever serves it will notice.
                _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Ip(address.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok((Stream::Unix(stream), Peer::Uid(uid)))
            }
            Self::None => std::future::pending().await,
        }
    }
}

impl Stream {
    fn unregistered(self) -> io::Result<Raw> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Raw::Tcp),
            Self::Unix(stream) => stream.into_std().map(Raw::Unix),
        }
    }
}

impl Raw {
    fn registered(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl Seat {
    /// A place at worker `index`.
    fn new(share: &Arc<Share>, index: usize, among_all: seats::Seat) -> Self {
        share.workers[index].connections.fetch_add(1, Ordering::Relaxed);
        Self { share: Arc::clone(share), index, among_all }
    }

    fn moved_to(mut self, index: usize) -> Self {
        self.share.workers[index].connections.fetch_add(1, Ordering::Relaxed);
        self.share.workers[self.index].connections.fetch_sub(1, Ordering::Relaxed);
        self.index = index;
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.share.workers[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// How long accepting takes when it fails so often in this way first.
    async fn delay(failure: impl Fn() -> io::Error, times: usize) -> Duration {
        let began = Instant::now();
        let mut failures = 0..times;
        without_errors(async || failures.next().map_or(Ok(()), |_| Err(failure()))).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_are_gone_do_not_hold_others_up() {
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset] {
            assert_eq!(delay(|| kind.into(), 1000).await, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_does_not_burn_a_core() {
        // EMFILE, ENFILE, ENOMEM and ENOBUFS, as Linux numbers them.
        for number in [24, 23, 12, 105] {
            let took = delay(|| io::Error::from_raw_os_error(number), 2).await;
            assert!(took >= 2 * PAUSE_AFTER_ERROR, "{number}: {took:?}");
        }
    }
}
