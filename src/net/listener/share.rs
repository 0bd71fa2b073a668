//! Sharing connections out among workers, within one bound for all.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::BoundSocket;
use super::stream::Stream;

/// What the workers of one listener share: how many connections each has, and how to hand one over.
#[derive(Debug)]
pub struct Share {
    workers: Vec<Slot>,
    total: AtomicUsize,
    max_connections: usize,
}

#[derive(Debug)]
struct Slot {
    connections: AtomicUsize,
    inbox: mpsc::UnboundedSender<(Raw, Peer)>,
}

/// One worker's part: its socket, if it has one, and what others hand it.
#[derive(Debug)]
pub struct Worker {
    share: Arc<Share>,
    index: usize,
    socket: Option<BoundSocket>,
    inbox: mpsc::UnboundedReceiver<(Raw, Peer)>,
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
    /// Its place among the connections; `None`: there are `max_connections` already.
    pub seat: Option<Seat>,
}

/// A connection's place. Dropping it frees the place.
#[derive(Debug)]
pub struct Seat {
    share: Arc<Share>,
    index: usize,
}

/// A stream on its way between two workers, registered with neither's runtime.
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
        max_connections: usize,
    ) -> (Arc<Self>, Vec<Worker>) {
        let (slots, inboxes): (Vec<_>, Vec<_>) = (0..workers.max(1))
            .map(|_| {
                // Unbounded in form; what goes in was counted against `max_connections` first.
                let (inbox, receiver) = mpsc::unbounded_channel();
                (Slot { connections: AtomicUsize::new(0), inbox }, receiver)
            })
            .unzip();
        let share = Arc::new(Self { workers: slots, total: AtomicUsize::new(0), max_connections });
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
        self.total.load(Ordering::Relaxed)
    }

    /// Takes a place for a connection that worker `at` accepted: at the worker with the fewest, unless that is no
    /// clear gain.
    fn seat(self: &Arc<Self>, at: usize) -> Option<Seat> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.max_connections {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let load = |slot: &Slot| slot.connections.load(Ordering::Relaxed);
        let fewest =
            self.workers.iter().enumerate().min_by_key(|(_, slot)| load(slot)).map_or(at, |(i, _)| i);
        let own = load(&self.workers[at]);
        let index = if load(&self.workers[fewest]) < own { fewest } else { at };
        self.workers[index].connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat { share: Arc::clone(self), index })
    }
}

impl Worker {
    /// Accepts connections for ever and gives each to `serve`: on this worker, or on the one it is handed over to.
    ///
    /// Must run on the worker's own runtime. Dropped, it stops listening; connections already handed over to it are
    /// closed.
    pub async fn accept(mut self, mut serve: impl FnMut(Accepted)) -> io::Result<()> {
        let socket = match self.socket.take() {
            None => Socket::None,
            Some(BoundSocket::Tcp(socket)) => Socket::Tcp(TcpListener::from_std(socket)?),
            Some(BoundSocket::Unix(socket)) => Socket::Unix(UnixListener::from_std(socket)?),
        };
        loop {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => self.place(stream, peer, &mut serve),
                    Err(error) => {
                        // Out of descriptors, or the caller was gone already. Either passes; a pause keeps the
                        // first from burning a core.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                    }
                },
                Some((raw, peer)) = self.inbox.recv() => {
                    let seat = Some(Seat { share: Arc::clone(&self.share), index: self.index });
                    match raw.registered() {
                        Ok(stream) => serve(Accepted { stream, peer, seat }),
                        Err(error) => tracing::warn!(%error, "a connection could not be handed over"),
                    }
                }
            }
        }
    }

    fn place(&self, stream: Stream, peer: Peer, serve: &mut impl FnMut(Accepted)) {
        match self.share.seat(self.index) {
            Some(seat) if seat.index != self.index => {
                let to = seat.index;
                // The one that takes it over makes a seat of its own for the place taken here.
                seat.hand_over();
                let sent = stream.unregistered().map(|raw| self.share.workers[to].inbox.send((raw, peer)));
                if !matches!(sent, Ok(Ok(()))) {
                    drop(Seat { share: Arc::clone(&self.share), index: to });
                }
            }
            seat => serve(Accepted { stream, peer, seat }),
        }
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
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
    /// Leaves the place taken, for whoever makes a seat for it again.
    fn hand_over(self) {
        // What dropping `self` is about to free is taken once more.
        self.share.total.fetch_add(1, Ordering::Relaxed);
        self.share.workers[self.index].connections.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.share.workers[self.index].connections.fetch_sub(1, Ordering::Relaxed);
        self.share.total.fetch_sub(1, Ordering::Relaxed);
    }
}

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
