//! To which host a call goes, and how. `send` gives the response.

pub mod rewrite;

use std::time::Duration;

use crate::net::client::EgressProxy;

/// How calls reach Tencent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Until a connection must stand, TLS included.
    pub connect_timeout: Duration,
    /// Until one try must be answered in full.
    pub request_timeout: Duration,
    /// Until a whole call must be answered, waiting included.
    pub total_timeout: Duration,
    /// The CONNECT proxy to go through, if any.
    pub egress_proxy: Option<EgressProxy>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(20),
            egress_proxy: None,
        }
    }
}
