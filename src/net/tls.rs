//! TLS on both sides, by rustls with ring: TLS 1.2 and later, certificates and names always checked.

mod client_names;

use std::sync::{Arc, LazyLock};

use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

pub use client_names::{BadTlsName, ClientNames, TlsName};

/// TLS on a listener: what it shows to clients, and from whom it wants a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: Arc<PrivateKeyDer<'static>>,
    /// With any: clients must show a certificate that one of these signed.
    pub client_roots: Option<Vec<CertificateDer<'static>>>,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// Key and certificate do not fit, or one of them is of no known kind.
    #[error("certificate and key do not make a TLS server: {0}")]
    Identity(#[source] rustls::Error),
    /// The client roots cannot be used.
    #[error("the client certificate authorities cannot be used: {0}")]
    ClientRoots(String),
}

impl ServerTls {
    /// What a listener needs. Offers HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When key and certificates do not make a server.
    pub fn config(&self) -> Result<Arc<ServerConfig>, ServerTlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(ServerTlsError::Identity)?;
        let builder = match &self.client_roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(roots.iter().cloned());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
                    .build()
                    .map_err(|error| ServerTlsError::ClientRoots(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(ServerTlsError::Identity)?;
        config.alpn_protocols = alpn();
        Ok(Arc::new(config))
    }
}

/// TLS of a client that does not speak HTTP: whom it trusts, and what it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Trusted beside the platform's roots.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// For a server that wants to know who we are: a certificate chain, leaf first, and the leaf's private key.
    pub identity: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
}

impl ClientTls {
    /// What a connection needs.
    ///
    /// # Errors
    /// When key and certificates do not fit.
    pub fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let builder = client(&self.extra_roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
        };
        Ok(Arc::new(config))
    }
}

/// What the upstream client needs.
pub(super) fn client_config(extra: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut config = client(extra).with_no_client_auth();
    config.alpn_protocols = alpn();
    Arc::new(config)
}

/// Trusts the platform's roots, else those built in, and `extra` beside them.
fn client(extra: &[CertificateDer<'static>]) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = platform_roots().clone();
    roots.add_parsable_certificates(extra.iter().cloned());
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
}

/// Reads the platform's roots, which the first connection would wait for otherwise. Blocks.
pub fn read_platform_roots() {
    platform_roots();
}

fn platform_roots() -> &'static RootCertStore {
    static ROOTS: LazyLock<RootCertStore> =
        LazyLock::new(|| roots(rustls_native_certs::load_native_certs().certs));
    &ROOTS
}

/// The roots that a platform has, else those built in: an image may have none of its own.
fn roots(of_platform: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(of_platform);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: LazyLock<Arc<rustls::crypto::CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_roots_has_those_built_in_and_another_only_its_own() {
        let built_in = roots(Vec::new());
        assert_eq!(built_in.roots, webpki_roots::TLS_SERVER_ROOTS);
        assert!(!built_in.is_empty());
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        assert_eq!(roots(vec![made.cert.der().clone()]).len(), 1);
        // What cannot be read is no root.
        assert_eq!(roots(vec![CertificateDer::from(vec![0; 8])]).roots, built_in.roots);
    }
}
