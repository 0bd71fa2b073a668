//! The other end of a caller's connection: what is proved about it, as against what it says of itself.

use super::listener::Peer;
use super::tls::ClientNames;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Who it is by the kernel's word.
    pub peer: Peer,
    /// Who it is by the word of a certificate authority that the listener trusts.
    pub names: ClientNames,
}

/// Without TLS, or without a client certificate, only the kernel knows who it is.
impl From<Peer> for Remote {
    fn from(peer: Peer) -> Self {
        Self { peer, names: ClientNames::none() }
    }
}
