//! The store that is a Redis server: one connection, on which commands do not wait for one another.
//!
//! A command is sent once. Whatever goes wrong with it ends the connection, since what was sent on it may still be done
//! and nobody could tell: the next word to the store is a [`probe`](Store::probe) on a new one. In a Redis Cluster all
//! keys stand in one slot, so one connection is enough there, too: to the node that has the slot.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind,
    Value,
};
use tokio::time::Instant;

use super::encode::{self, Word};
use super::protocol::{Answer, Lend, Lent, Meet, Met, Probe, Store, StoreError};
use crate::model::secret::Password;

/// Where a Redis server is, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// How to reach it.
    pub place: RedisPlace,
    /// The number of the database.
    pub database: i64,
    /// The user; `None`: the default one.
    pub username: Option<String>,
    /// The user's password, if there is one.
    pub password: Option<Password>,
}

/// How a Redis server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisPlace {
    /// Over TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Over TLS; the certificate is checked against the platform's roots.
        tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    address: RedisAddress,
    timeout: Duration,
    now: Mutex<Connected>,
}

#[derive(Debug, Default)]
struct Connected {
    live: Option<Live>,
    /// Which node of a cluster has the keys, by its own word.
    node: Option<(String, u16)>,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// What the server calls the scripts.
    meet: Arc<str>,
    lend: Arc<str>,
}

// === impl Redis ===

impl Redis {
    /// Nothing is connected yet. Every command must be answered within `timeout`.
    #[must_use]
    pub fn new(address: RedisAddress, timeout: Duration) -> Self {
        Self { address, timeout, now: Mutex::default() }
    }

    async fn connect(&self) -> Result<Probe, StoreError> {
        let mut info = self.place().into_connection_info().map_err(|error| told(&error))?;
        let mut settings =
            info.redis_settings().clone().set_db(self.address.database).set_skip_set_lib_name();
        if let Some(username) = &self.address.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.address.password {
            settings = settings.set_password(password.expose());
        }
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let client = redis::Client::open(info).map_err(|error| told(&error))?;
        let (connecting, timeout) = (self.connect_within(), self.timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connecting))
            .set_response_timeout(Some(timeout * 2));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = within(connecting, connection).await?;

        let mut set_up = redis::pipe();
        set_up.cmd("SCRIPT").arg("LOAD").arg(MEET).cmd("SCRIPT").arg("LOAD").arg(LEND);
        set_up.cmd("INFO").arg("server");
        let set_up = set_up.query_async(&mut connection);
        let (meet, lend, server): (String, String, String) = within(connecting, set_up).await?;
        let run = server.lines().find_map(|line| line.strip_prefix("run_id:"));
        let Some(run) = run.map(str::trim).filter(|run| !run.is_empty()) else {
            return Err(StoreError::Refused("it does not tell its run_id".into()));
        };
        let run = Arc::from(run);

        let sent = Instant::now();
        let (seconds, micros): (i64, i64) =
            within(timeout, redis::cmd("TIME").query_async(&mut connection)).await?;
        let received = Instant::now();
        self.lock().live = Some(Live { connection, meet: meet.into(), lend: lend.into() });
        Ok(Probe { run, now: seconds * 1_000_000 + micros, sent, received })
    }

    fn place(&self) -> ConnectionAddr {
        let node = self.lock().node.clone();
        match (&self.address.place, node) {
            (RedisPlace::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
            (RedisPlace::Tcp { host, port, tls }, node) => {
                let (host, port) = node.unwrap_or_else(|| (host.clone(), *port));
                match tls {
                    true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
                    false => ConnectionAddr::Tcp(host, port),
                }
            }
        }
    }

    /// Names are looked up and TLS is set up in it.
    fn connect_within(&self) -> Duration {
        self.timeout * 5
    }

    /// Has a script done.
    async fn run(
        &self,
        script: fn(&Live) -> &str,
        keys: &[String],
        words: &[String],
    ) -> Result<Vec<Word>, StoreError> {
        let live = self.lock().live.clone();
        let Some(mut live) = live else { return Err(StoreError::HungUp) };
        let mut command = Cmd::with_capacity(words.len() + 4, 1024);
        command.arg("EVALSHA").arg(script(&live)).arg(keys.len()).arg(keys).arg(words);
        let reply = within_of(self.timeout, live.connection.send_packed_command(&command)).await;
        match reply {
            Ok(Ok(Value::Array(values))) => values.into_iter().map(word).collect(),
            Ok(Ok(_)) => Err(StoreError::Refused("the script's answer is not what it should be".into())),
            Ok(Err(error)) => {
                if let Some((host, port)) = error.redirect_node() {
                    self.lock().node = Some((host.to_owned(), port));
                }
                Err(told(&error))
            }
            Err(timeout) => Err(timeout),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connected> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Redis {
    fn probe(&self) -> Answer<'_, Probe> {
        Box::pin(async {
            self.lock().live = None;
            let probed = self.connect().await;
            if probed.is_err() {
                // The node may be gone: the configured one knows which took its place.
                self.lock().node = None;
            }
            probed
        })
    }

    fn meet<'a>(&'a self, ask: &'a Meet) -> Answer<'a, Met> {
        Box::pin(async move {
            encode::met(self.run(|live| &live.meet, &[REPLICAS.into()], &encode::meet(ask)).await?)
        })
    }

    fn lend<'a>(&'a self, ask: &'a Lend) -> Answer<'a, Lent> {
        Box::pin(async move {
            let keys = [REPLICAS.into(), format!("{APP}{}", ask.app)];
            encode::lent(self.run(|live| &live.lend, &keys, &encode::lend(ask)).await?)
        })
    }

    fn hang_up(&self) {
        self.lock().live = None;
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

async fn within<T>(
    limit: Duration,
    doing: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    within_of(limit, doing).await?.map_err(|error| told(&error))
}

async fn within_of<T>(limit: Duration, doing: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(limit, doing).await.map_err(|_| StoreError::Timeout(limit))
}

fn told(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => StoreError::Unreachable("it did not answer in time".into()),
        ErrorKind::Io => StoreError::Unreachable(error.to_string().into()),
        // Whatever the server quotes of a password stays there.
        ErrorKind::AuthenticationFailed => StoreError::Refused("it refuses the user or the password".into()),
        ErrorKind::Server(ServerErrorKind::NoPerm) => StoreError::Refused(
            "its user may not do what is needed: +@connection +info +time +script|load +evalsha +hget +hmget +hset \
             +hdel +hgetall on the keys {usersig-gateway}:*"
                .into(),
        ),
        _ => StoreError::Refused(error.to_string().into()),
    }
}

pub(super) fn word(value: Value) -> Result<Word, StoreError> {
    match value {
        Value::Int(number) => Ok(Word::Number(number)),
        Value::BulkString(bytes) => {
            let text = String::from_utf8(bytes);
            Ok(Word::Text(text.map_err(|_| StoreError::Refused("a text that is none".into()))?.into()))
        }
        Value::SimpleString(text) => Ok(Word::Text(text.into())),
        _ => Err(StoreError::Refused("the script's answer is not what it should be".into())),
    }
}

pub(super) const MEET: &str = include_str!("meet.lua");
pub(super) const LEND: &str = include_str!("lend.lua");
/// All keys stand in one slot of a Redis Cluster, by the part in braces: a script reads the replicas beside an app's
/// tokens.
const REPLICAS: &str = "{usersig-gateway}:replicas";
const APP: &str = "{usersig-gateway}:app:";
