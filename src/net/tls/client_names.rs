//! The names in a client's certificate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::ServerConnection;
use webpki::EndEntityCert;

/// One name for which a client certificate stands, out of its subject alternative names.
///
/// The two kinds never equal each other: a DNS name is given out by whoever owns the domain, a URI (such as a SPIFFE
/// id) by whoever runs the identities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TlsName {
    /// A DNS name, in lower case.
    Dns(Box<str>),
    /// A URI, compared byte for byte.
    Uri(Box<str>),
}

/// Why a text is no [`TlsName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client's name is a DNS name such as gifts.example, or a URI such as spiffe://example/gifts")]
pub struct BadTlsName;

/// The names that a connection's client proved to have. Cheap to clone; nearly always there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientNames(Option<Arc<[TlsName]>>);

impl ClientNames {
    /// No certificate was shown.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The names in the certificate that the client showed. rustls hands it out only after it was verified, down to
    /// the client's proof that it holds the key.
    pub(in crate::net) fn of(connection: &ServerConnection) -> Self {
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        // One that rustls verified is well-formed.
        let Some(Ok(certificate)) = certificate.map(EndEntityCert::try_from) else { return Self::none() };
        let dns = certificate.valid_dns_names().map(|name| TlsName::Dns(name.to_ascii_lowercase().into()));
        let uris = certificate.valid_uri_names().map(|name| TlsName::Uri(name.into()));
        dns.chain(uris).collect()
    }

    /// Each of the names.
    pub fn iter(&self) -> std::slice::Iter<'_, TlsName> {
        self.0.as_deref().unwrap_or_default().iter()
    }
}

impl FromIterator<TlsName> for ClientNames {
    fn from_iter<T: IntoIterator<Item = TlsName>>(names: T) -> Self {
        let names: Arc<[TlsName]> = names.into_iter().collect();
        Self((!names.is_empty()).then_some(names))
    }
}

/// Reads a whole name: a `*` in it is refused, since it would stand for nothing.
impl FromStr for TlsName {
    type Err = BadTlsName;

    fn from_str(text: &str) -> Result<Self, BadTlsName> {
        if let Some((scheme, rest)) = text.split_once(':') {
            let scheme_is_plain = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            let rest_is_plain = rest.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
            let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme_is_plain;
            return if good && rest_is_plain && !rest.is_empty() {
                Ok(Self::Uri(text.into()))
            } else {
                Err(BadTlsName)
            };
        }
        match rustls::pki_types::DnsName::try_from(text) {
            Ok(name) => Ok(Self::Dns(name.as_ref().to_ascii_lowercase().into())),
            Err(_) => Err(BadTlsName),
        }
    }
}

impl fmt::Display for TlsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Dns(name) | Self::Uri(name)) = self;
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whole() {
        let dns = |name: &str| Ok(TlsName::Dns(name.into()));
        let uri = |name: &str| Ok(TlsName::Uri(name.into()));
        assert_eq!("Gifts.Example".parse(), dns("gifts.example"));
        assert_eq!("gifts".parse(), dns("gifts"));
        assert_eq!("spiffe://example/ns/Live/sa/gifts".parse(), uri("spiffe://example/ns/Live/sa/gifts"));
        assert_eq!("urn:uuid:0af7".parse(), uri("urn:uuid:0af7"));
        for bad in
            ["", "*.example", "spiffe://example/*", "gifts example", "1x:y", "x:", ":x", "-a-", "spiffe://é"]
        {
            assert_eq!(bad.parse::<TlsName>(), Err(BadTlsName), "{bad}");
        }
    }

    #[test]
    fn no_names_are_no_names_however_they_come() {
        assert_eq!(ClientNames::from_iter([]), ClientNames::none());
        let names: ClientNames = ["gifts.example".parse().unwrap()].into_iter().collect();
        assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["gifts.example"]);
    }
}
