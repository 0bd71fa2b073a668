//! TLS on both sides, by rustls with ring.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// TLS on a listener: what it shows to clients, and from whom it wants a certificate.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: Arc<PrivateKeyDer<'static>>,
    /// With any: clients must show a certificate that one of these signed.
    pub client_roots: Option<Vec<CertificateDer<'static>>>,
}
