//! Certificates that are trusted beside the platform's.

use std::ops::Deref;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// Certificates that are trusted beside the platform's. Copies share their bytes, so that each call finds them equal without
/// reading them.
#[derive(Debug, Clone, Default)]
pub struct Roots(Arc<Vec<CertificateDer<'static>>>);

impl Roots {
    /// One more of them.
    pub fn push(&mut self, root: CertificateDer<'static>) {
        Arc::make_mut(&mut self.0).push(root);
    }
}

impl From<Vec<CertificateDer<'static>>> for Roots {
    fn from(roots: Vec<CertificateDer<'static>>) -> Self {
        Self(Arc::new(roots))
    }
}

impl Deref for Roots {
    type Target = [CertificateDer<'static>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Roots {}
