//! Where a Redis is, and who we are there.

use std::fmt;
use std::path::PathBuf;

use crate::model::secret::Password;
use crate::net::tls::ClientTls;

/// A Redis, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// How to reach it.
    pub place: RedisPlace,
    /// The number of the database.
    pub database: i64,
    /// Who we are there.
    pub login: RedisLogin,
    /// With TLS, of the Sentinels too; `None`: in clear.
    pub tls: Option<ClientTls>,
}

/// How a Redis is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisPlace {
    /// One server, or some nodes of one cluster, which know the others.
    Servers(Vec<RedisHost>),
    /// Whatever server is the master by the word of its Sentinels.
    Sentinels {
        /// Some of them.
        sentinels: Vec<RedisHost>,
        /// What they call the master.
        master: String,
        /// Who we are to them.
        login: RedisLogin,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// One process that is reached over TCP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedisHost {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Who we are to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisLogin {
    /// The user; `None`: the default one.
    pub username: Option<String>,
    /// The user's password, if there is one.
    pub password: Option<Password>,
}

// === impl RedisHost ===

impl RedisHost {
    /// Where a node of a cluster says that a key is: `HOST:PORT`, and without a host its own (Redis, "Cluster
    /// specification", MOVED redirection).
    pub(super) fn told_by(&self, told: &str) -> Option<Self> {
        let (host, port) = told.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() { &self.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_tells_of_another_by_name_by_address_or_by_port_alone() {
        let here = RedisHost { host: "10.0.0.1".into(), port: 6379 };
        let told = |told| here.told_by(told).map(|host| host.to_string());
        assert_eq!(told("10.0.0.2:7000").as_deref(), Some("10.0.0.2:7000"));
        assert_eq!(told("node.test:7000").as_deref(), Some("node.test:7000"));
        assert_eq!(told(":7000").as_deref(), Some("10.0.0.1:7000"));
        // Redis writes it without brackets.
        assert_eq!(told("fd00::2:7000").as_deref(), Some("[fd00::2]:7000"));
        assert_eq!((told("node.test"), told("node.test:"), told("node.test:70000")), (None, None, None));
    }
}
