//! Listening sockets, and how new connections are shared out among the workers.
//!
//! Over TCP each worker has a socket of its own on the one address (`SO_REUSEPORT`), and the kernel deals new
//! connections out by a hash. With few connections that hash is uneven: several may fall to one worker while another
//! has none. So a worker that accepts one while another has clearly fewer hands it over. A Unix socket cannot be
//! opened twice: the first worker accepts, and hands over likewise.

mod address;
mod seats;
mod share;
mod stream;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

pub use address::{BadListenAddress, ListenAddress};
pub use seats::{MostConnections, NoSeat};
pub use share::{Accepted, Peer, Seat, Share, Worker};
pub use stream::Stream;

/// Sockets that listen on one address.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<BoundSocket>,
    address: ListenAddress,
}

/// One listening socket, not yet registered with a runtime.
#[derive(Debug)]
pub enum BoundSocket {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Bound {
    /// Listens on `address` with as many sockets as `workers` (a Unix socket: one).
    ///
    /// # Errors
    /// When the address is taken or not this machine's, or the socket file cannot be made.
    pub fn listen(address: &ListenAddress, workers: usize) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => Self::listen_tcp(*address, workers.max(1)),
            ListenAddress::Unix(path) => {
                remove_stale_socket(path)?;
                let socket = UnixListener::bind(path)?;
                socket.set_nonblocking(true)?;
                Ok(Self { sockets: vec![BoundSocket::Unix(socket)], address: address.clone() })
            }
        }
    }

    /// The address, with the port that was taken where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The sockets.
    #[must_use]
    pub fn into_sockets(self) -> Vec<BoundSocket> {
        self.sockets
    }

    fn listen_tcp(address: SocketAddr, workers: usize) -> io::Result<Self> {
        // Sockets with SO_REUSEPORT also share with another process of the same user, so a second gateway on the
        // same port would silently take half of the calls. A socket without it is refused then.
        let alone = tcp_socket(address, false)?;
        let address = alone.local_addr()?.as_socket().unwrap_or(address);
        drop(alone);
        let sockets = (0..workers).map(|_| {
            let socket = tcp_socket(address, workers > 1)?;
            socket.listen(BACKLOG)?;
            Ok(BoundSocket::Tcp(socket.into()))
        });
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        Ok(Self { sockets, address: ListenAddress::Tcp(address) })
    }
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for the old process's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Removes the file that a process left behind which ended without cleaning up.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
                // Somebody listens there: binding will say so.
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

const BACKLOG: i32 = 1024;
/// What of an answer the kernel holds for one caller. Left to itself that grows to megabytes, and the kernel tells that
/// some was taken only when a third of it was: a caller who reads slowly would look like one who does not read.
const SEND_BUFFER: usize = 128 * 1024;
