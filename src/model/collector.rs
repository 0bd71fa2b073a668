//! Where traces go: the OTLP endpoint of a collector.

use std::fmt;
use std::str::FromStr;

use super::endpoint::Endpoint;

/// A collector that takes OTLP over HTTP: `http://host:4318`, or with a path before `/v1/traces`.
///
/// Unlike an upstream endpoint it may be `http` anywhere, since no span holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    endpoint: Endpoint,
    path: Box<str>,
}

/// Why a text is no [`Collector`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a collector is a URL such as http://host:4318, without query or user")]
pub struct BadCollector;

impl Collector {
    /// The host.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The path to which traces are posted: what was given, and `/v1/traces` (OpenTelemetry's protocol exporter
    /// specification, "Endpoint URLs for OTLP/HTTP").
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Collector {
    type Err = BadCollector;

    fn from_str(text: &str) -> Result<Self, BadCollector> {
        let uri: http::Uri = text.parse().map_err(|_| BadCollector)?;
        if uri.query().is_some() || text.contains('#') {
            return Err(BadCollector);
        }
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or(BadCollector)?;
        let endpoint =
            Endpoint::without_secrets(&format!("{scheme}://{authority}")).map_err(|_| BadCollector)?;
        let path = format!("{}/v1/traces", uri.path().trim_end_matches('/')).into();
        Ok(Self { endpoint, path })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.endpoint, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_added() {
        for (text, whole) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://10.0.0.1:4318/", "http://10.0.0.1:4318/v1/traces"),
            ("https://otlp.example/base/", "https://otlp.example/base/v1/traces"),
            ("http://[::1]", "http://[::1]/v1/traces"),
        ] {
            assert_eq!(text.parse::<Collector>().unwrap().to_string(), whole);
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in
            ["", "collector:4318", "grpc://a:4317", "http://", "http://u:p@a", "http://a/?b", "http://a:0"]
        {
            assert_eq!(bad.parse::<Collector>(), Err(BadCollector), "{bad}");
        }
    }
}
