//! Certificates and private keys, out of PEM files.
//!
//! They are tried here with rustls, so that a key that does not belong to its certificate is told with the line that
//! names it and not at the first connection.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::disk;

/// Why a PEM file is of no use. It never quotes the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPem {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("no well-formed PEM")]
    Malformed,
    #[error("holds no {0}")]
    NothingFound(&'static str),
    #[error("holds a certificate that cannot be a trust root: {0}")]
    NoRoot(rustls::Error),
}

/// Every certificate of a file, in its order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let pem = disk::read(path, LONGEST_FILE)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(BadPem::NothingFound("certificate")),
        Ok(chain) => Ok(chain),
        Err(_) => Err(BadPem::Malformed),
    }
}

/// Every certificate of a file, each of which can be a trust root.
pub(super) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let roots = certificates(path)?;
    for root in &roots {
        RootCertStore::empty().add(root.clone()).map_err(BadPem::NoRoot)?;
    }
    Ok(roots)
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadPem> {
    let pem = disk::read(path, LONGEST_FILE)?;
    match PrivateKeyDer::pem_slice_iter(&pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) => Err(BadPem::Malformed),
        None => Err(BadPem::NothingFound("private key")),
    }
}

/// Whether the key can sign for the chain's first certificate.
pub(super) fn belong_together(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), rustls::Error> {
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider).map(drop)
}

/// In bytes; a bundle of every public root is a fifth of it.
const LONGEST_FILE: usize = 1024 * 1024;
