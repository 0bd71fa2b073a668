//! The addresses at which this process listens itself. A call that is sent there comes back, and again, until its time is
//! over; so a connection is looked at once it stands: whatever name or reload led there, its address tells.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The process's own listeners over TCP. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OwnListeners(Arc<[SocketAddr]>);

impl OwnListeners {
    /// These.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// The one that a connection from `local` to `peer` has reached, if any.
    pub(super) fn reached(&self, local: SocketAddr, peer: SocketAddr) -> Option<SocketAddr> {
        let (local, to) = (local.ip().to_canonical(), peer.ip().to_canonical());
        // A connection to an address of this machine's own comes from that very address, or stays on loopback.
        let is_here = local == to || to.is_loopback();
        let hears = |ip: IpAddr| match ip.to_canonical() {
            ip if ip.is_unspecified() => is_here && (ip.is_ipv6() || to.is_ipv4()),
            ip => ip == to,
        };
        self.0.iter().find(|own| own.port() == peer.port() && hears(own.ip())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_listener_is_known_by_the_connections_addresses() {
        for (own, local, peer, reached) in [
            ("127.0.0.1:8080", "127.0.0.1:5", "127.0.0.1:8080", true),
            ("127.0.0.1:8080", "127.0.0.1:5", "[::ffff:127.0.0.1]:8080", true),
            ("127.0.0.1:8080", "127.0.0.1:5", "127.0.0.1:8081", false),
            ("127.0.0.1:8080", "127.0.0.1:5", "127.0.0.2:8080", false),
            ("0.0.0.0:8080", "127.0.0.1:5", "127.0.0.2:8080", true),
            ("0.0.0.0:8080", "10.0.0.1:5", "10.0.0.1:8080", true),
            ("0.0.0.0:8080", "10.0.0.1:5", "10.0.0.2:8080", false),
            ("0.0.0.0:8080", "[::1]:5", "[::1]:8080", false),
            ("[::]:8080", "[::1]:5", "[::1]:8080", true),
            ("[::]:8080", "10.0.0.1:5", "10.0.0.1:8080", true),
            ("[::]:8080", "10.0.0.1:5", "10.0.0.2:8080", false),
            ("10.0.0.1:8080", "10.0.0.1:5", "10.0.0.1:8080", true),
            // By another of its addresses, through a network that turns back: only the address tells.
            ("10.0.0.1:8080", "192.168.0.1:5", "10.0.0.1:8080", true),
        ] {
            let [own, local, peer] = [own, local, peer].map(|text| text.parse().unwrap());
            let found = OwnListeners::new([own]).reached(local, peer);
            assert_eq!(found, reached.then_some(own), "{own} {peer}");
        }
        let [local, peer] = ["127.0.0.1:5", "127.0.0.1:8080"].map(|text| text.parse().unwrap());
        assert_eq!(OwnListeners::default().reached(local, peer), None);
    }
}
