//! Settings that are ready to use: what needs a restart to change ([`Boot`]) and what a reload changes (`live`).

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::gateway;
use crate::gateway::admission::shared::RedisAddress;
use crate::model::secret::AdminToken;
use crate::net::listener::ListenAddress;
use crate::net::tls::ServerTls;
use crate::telemetry::{logs, traces};

/// A whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What needs a restart to change.
    pub boot: Boot,
    /// What a reload changes.
    pub live: gateway::Settings,
}

/// What needs a restart to change.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The gateway listener's address.
    pub gateway: ListenAddress,
    /// The admin listener's address.
    pub admin: ListenAddress,
    /// What gives the right to command the process from anywhere, if anything does.
    pub admin_token: Option<AdminToken>,
    /// TLS on the gateway listener, if any.
    pub tls: Option<ServerTls>,
    /// Worker threads; `None`: as many as cores.
    pub workers: Option<NonZeroUsize>,
    /// The most connections at once on the gateway listener.
    pub max_connections: usize,
    /// The most of them from one source; `None`: no bound of its own.
    pub max_connections_per_source: Option<NonZeroUsize>,
    /// The most calls under way at once.
    pub max_in_flight: usize,
    /// Bounds on what one caller can send.
    pub limits: gateway::Limits,
    /// Logs.
    pub log: logs::Settings,
    /// Traces.
    pub tracing: traces::Settings,
    /// How the process ends.
    pub drain: DrainSettings,
    /// The store of ceilings that several gateways share; `None`: each has its own.
    pub redis: Option<RedisSettings>,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            gateway: ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080))),
            admin: ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9901))),
            admin_token: None,
            tls: None,
            workers: None,
            max_connections: 10_000,
            max_connections_per_source: None,
            max_in_flight: 10_000,
            limits: gateway::Limits::default(),
            log: logs::Settings::default(),
            tracing: traces::Settings::default(),
            drain: DrainSettings::default(),
            redis: None,
        }
    }
}

/// The store of ceilings that several gateways share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is, and who we are there.
    pub address: RedisAddress,
    /// Until when a command must be answered.
    pub timeout: Duration,
    /// The most gateways that share the ceilings.
    pub max_replicas: NonZeroU32,
    /// For how long the part of a gateway is kept that went missing.
    pub absent_for: Duration,
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSettings {
    /// For how long connections are still accepted after SIGTERM.
    pub accept_for: Duration,
    /// For how long what is under way may go on after that.
    pub grace: Duration,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { accept_for: Duration::from_secs(5), grace: Duration::from_secs(25) }
    }
}
