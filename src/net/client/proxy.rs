//! The egress proxy through which calls may have to leave.

use std::fmt;
use std::str::FromStr;

/// A CONNECT proxy: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressProxy(http::Uri);

/// Why a text is no [`EgressProxy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an egress proxy is written http://host:port, without path, query or user")]
pub struct BadEgressProxy;

impl EgressProxy {
    /// The proxy's address as a URI.
    #[must_use]
    pub fn uri(&self) -> &http::Uri {
        &self.0
    }
}

impl FromStr for EgressProxy {
    type Err = BadEgressProxy;

    fn from_str(text: &str) -> Result<Self, BadEgressProxy> {
        let uri: http::Uri = text.parse().map_err(|_| BadEgressProxy)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let origin = uri
            .authority()
            .is_some_and(|a| a.port_u16().is_some_and(|p| p != 0) && !a.as_str().contains('@'));
        if uri.scheme_str() == Some("http") && bare && origin { Ok(Self(uri)) } else { Err(BadEgressProxy) }
    }
}

impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
