//! Making a connection: address look-up, TCP to one of the addresses, a CONNECT tunnel where configured, TLS.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tower::{Service, ServiceExt};

use super::socket::Socket;
use super::wire::{Stream, Wire};
use super::{EgressProxy, OwnListeners};
use crate::model::endpoint::Endpoint;
use crate::net::tls;

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither address look-up, TCP nor TLS failed, but together they took too long.
    #[error("no connection within {}", crate::model::duration::format(*.0))]
    Timeout(Duration),
    /// The address look-up or TCP failed.
    #[error("cannot connect: {0}")]
    Tcp(String),
    /// The egress proxy could not be reached or refused.
    #[error("the egress proxy does not connect: {0}")]
    Proxy(String),
    /// The connection came back to this process.
    #[error(
        "this is this gateway's own listener at {0}: correct the app's `endpoints`, or the name's address"
    )]
    OwnListener(SocketAddr),
    /// TLS could not be set up: a wrong certificate or name, or no common version.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] io::Error),
    /// HTTP could not be set up.
    #[error("HTTP cannot be set up: {0}")]
    Http(#[from] hyper::Error),
    /// The name is none that a certificate could hold.
    #[error("the host is no name or address that TLS could check")]
    BadName,
}

/// TLS configurations by the extra roots that they trust. Most apps have none and share one.
#[derive(Debug, Default)]
pub(super) struct TlsConfigs(Vec<(Vec<CertificateDer<'static>>, Arc<ClientConfig>)>);

impl TlsConfigs {
    pub(super) fn with_roots(&mut self, extra: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
        if let Some((_, config)) = self.0.iter().find(|(roots, _)| roots == extra) {
            return Arc::clone(config);
        }
        if self.0.len() >= MOST_TLS_CONFIGS {
            // Reloads may have left some behind.
            self.0.retain(|(_, config)| Arc::strong_count(config) > 1);
        }
        let config = tls::client_config(extra);
        self.0.push((extra.to_vec(), Arc::clone(&config)));
        config
    }
}

pub(super) async fn connect(
    endpoint: &Endpoint,
    tls: Option<Arc<ClientConfig>>,
    proxy: Option<&EgressProxy>,
    own: &OwnListeners,
) -> Result<Stream, ConnectError> {
    let wire = Rc::new(Wire::default());
    let tcp = match proxy {
        None => tcp(uri_of(endpoint)?).await?,
        Some(proxy) => tunnel(proxy, uri_of(endpoint)?).await?,
    };
    // Where they cannot be told, the connection is over already, which whoever uses it will notice.
    if let (Ok(local), Ok(peer)) = (tcp.local_addr(), tcp.peer_addr())
        && let Some(own) = own.reached(local, peer)
    {
        return Err(ConnectError::OwnListener(own));
    }
    let socket = Socket::new(tcp, Rc::clone(&wire));
    let kind = match tls {
        None => Either::Left(socket),
        Some(config) => {
            let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| ConnectError::BadName)?;
            let tls = TlsConnector::from(config).connect(name, socket).await.map_err(ConnectError::Tls)?;
            Either::Right(Box::new(tls))
        }
    };
    Ok(Stream::new(kind, wire))
}

async fn tcp(uri: Uri) -> Result<TcpStream, ConnectError> {
    let connected = connector().oneshot(uri).await.map_err(|error| ConnectError::Tcp(with_causes(&error)))?;
    Ok(connected.into_inner())
}

async fn tunnel(proxy: &EgressProxy, uri: Uri) -> Result<TcpStream, ConnectError> {
    let mut tunnel = Tunnel::new(proxy.uri().clone(), connector());
    let connected: Result<TokioIo<TcpStream>, _> = async { tunnel.ready().await?.call(uri).await }.await;
    Ok(connected.map_err(|error| ConnectError::Proxy(with_causes(&error)))?.into_inner())
}

/// Looks a name up anew each time, races both address families (RFC 8305), and turns off Nagle's delay.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    connector.set_keepalive_interval(Some(TCP_PROBE_EVERY));
    connector.set_keepalive_retries(Some(TCP_PROBES));
    connector
}

fn uri_of(endpoint: &Endpoint) -> Result<Uri, ConnectError> {
    let scheme = if endpoint.is_tls() { "https" } else { "http" };
    let host = endpoint.host();
    // The port always stands: a CONNECT request must name it.
    let authority = if host.contains(':') {
        format!("[{host}]:{}", endpoint.port())
    } else {
        format!("{host}:{}", endpoint.port())
    };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
    uri.map_err(|_| ConnectError::BadName)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Finds out about a dead host behind an idle connection.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
const TCP_PROBE_EVERY: Duration = Duration::from_secs(5);
const TCP_PROBES: u32 = 3;
/// From so many on, those that no connection uses are forgotten.
const MOST_TLS_CONFIGS: usize = 64;
