//! An endpoint: a host and port to which calls are sent, and whether TLS is spoken there.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// One upstream host. `http` is taken only to loopback, since a UserSig in clear must not cross a network.
///
/// Each call names its endpoint several times, so copies share their texts.
#[derive(Debug, Clone)]
pub struct Endpoint {
    host: Arc<str>,
    port: u16,
    tls: bool,
    authority: Arc<str>,
}

/// Why a text is no [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not of the form `https://host[:port]`.
    #[error("an endpoint is a URL such as https://host or https://host:port, without path, query or user")]
    NotAnOrigin,
    /// `http` to a host that is not loopback.
    #[error(
        "http is only allowed to loopback (127.0.0.0/8, [::1], localhost): a UserSig must not cross a network in clear"
    )]
    PlainBeyondLoopback,
}

impl Endpoint {
    /// The `https` endpoint on port 443 of a host that is known to be well-formed.
    #[must_use]
    pub fn https(host: &str) -> Self {
        Self::new(host, 443, true)
    }

    fn new(host: &str, port: u16, tls: bool) -> Self {
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority = if port == default_port(tls) { bracketed } else { format!("{bracketed}:{port}") };
        Self { host: host.into(), port, tls, authority: authority.into() }
    }

    /// The host: a name, an IPv4 address, or an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// `host`, or `host:port` where the port is not the scheme's own: for the `host` header and for labels.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The same, to be kept without a copy.
    #[must_use]
    pub fn shared_authority(&self) -> &Arc<str> {
        &self.authority
    }
}

/// The authority tells host and port, and each call compares endpoints a dozen times.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        let same_text = Arc::ptr_eq(&self.authority, &other.authority) || self.authority == other.authority;
        self.tls == other.tls && same_text
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.authority.hash(state);
        self.tls.hash(state);
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let endpoint = Self::without_secrets(text)?;
        if !endpoint.tls && !is_loopback(&endpoint.host) {
            return Err(BadEndpoint::PlainBeyondLoopback);
        }
        Ok(endpoint)
    }
}

impl Endpoint {
    /// An origin to which nothing secret is sent, so that it may be `http` anywhere.
    ///
    /// # Errors
    /// When it is no origin.
    pub fn without_secrets(text: &str) -> Result<Self, BadEndpoint> {
        let uri: http::Uri = text.parse().map_err(|_| BadEndpoint::NotAnOrigin)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadEndpoint::NotAnOrigin),
        };
        let authority = uri.authority().ok_or(BadEndpoint::NotAnOrigin)?;
        let bare =
            matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.as_str().contains('@');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if !bare || host.is_empty() || text.contains('#') {
            return Err(BadEndpoint::NotAnOrigin);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // A colon without a port that fits 16 bits.
            None if authority.as_str() != authority.host() => return Err(BadEndpoint::NotAnOrigin),
            None => default_port(tls),
        };
        if port == 0 {
            return Err(BadEndpoint::NotAnOrigin);
        }
        Ok(Self::new(&host.to_ascii_lowercase(), port, tls))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Whether `host` (a name, or an address without brackets) can only mean this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_origins() {
        let endpoint: Endpoint = "https://AdminAPISGP.im.qcloud.com".parse().unwrap();
        assert_eq!(
            (endpoint.host(), endpoint.port(), endpoint.is_tls()),
            ("adminapisgp.im.qcloud.com", 443, true)
        );
        assert_eq!(endpoint.to_string(), "https://adminapisgp.im.qcloud.com");
        let endpoint: Endpoint = "http://[::1]:8081/".parse().unwrap();
        assert_eq!((endpoint.host(), endpoint.port(), endpoint.authority()), ("::1", 8081, "[::1]:8081"));
    }

    #[test]
    fn refuses_what_is_no_origin() {
        for bad in [
            "",
            "example.com",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a:0",
            "https://a:99999",
            "https://a#b",
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(BadEndpoint::NotAnOrigin), "{bad}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["http://127.0.0.1:1", "http://127.9.9.9", "http://localhost:80", "http://[::1]"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in [
            "http://example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1.nip.io",
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(BadEndpoint::PlainBeyondLoopback), "{bad}");
        }
    }
}
