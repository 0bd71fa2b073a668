//! The way to the server that has the keys: a master, wherever it is by now.
//!
//! A cluster's node sends us on to the one that has the slot; Sentinels tell which server is the master. Whoever answers
//! must be a master himself: what a replica holds is a copy, which may be behind and takes no writes.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsConnector;

use super::address::{RedisAddress, RedisHost, RedisLogin, RedisPlace};
use super::protocol::StoreError;
use crate::net::tls::ClientTls;

/// A connection, whose commands do not wait for one another. Dropped, it is closed, whatever is still under way.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    _driver: Arc<Driver>,
}

/// The task that reads and writes.
struct Driver(AbortHandle);

/// A connection to the master that has the keys.
pub(super) struct Master {
    pub(super) connection: Connection,
    /// Which run of the server it is.
    pub(super) run: Arc<str>,
    /// Where it is; `None`: behind a Unix socket.
    pub(super) host: Option<RedisHost>,
}

/// How masters are looked for.
pub(super) struct Search<'a> {
    pub(super) address: &'a RedisAddress,
    /// In which time a connection must stand; names are looked up and TLS is set up in it. Each question takes at most as
    /// long.
    pub(super) connect_within: Duration,
    /// Until when a command must be answered.
    pub(super) timeout: Duration,
    /// A key that the master must have.
    pub(super) key: &'a str,
    /// Where it was last, in a cluster.
    pub(super) last: Option<RedisHost>,
}

/// What a server says of itself.
struct About {
    run: Arc<str>,
    is_cluster: bool,
    is_master: bool,
}

// === impl Search ===

impl Search<'_> {
    /// Finds it.
    pub(super) async fn master(&self) -> Result<Master, StoreError> {
        match &self.address.place {
            RedisPlace::Unix(path) => {
                let connection = self.unix(path).await?;
                let about = self.about(&connection).await?;
                about.check()?;
                Ok(Master { connection, run: about.run, host: None })
            }
            RedisPlace::Servers(hosts) => {
                let mut nodes: Vec<_> = self.last.iter().cloned().collect();
                nodes.extend(hosts.iter().filter(|host| Some(*host) != self.last.as_ref()).cloned());
                self.first_of(&nodes, hosts.len() > 1).await
            }
            RedisPlace::Sentinels { sentinels, master, login } => {
                let named = self.named_by(sentinels, master, login).await?;
                self.first_of(&named, false).await
            }
        }
    }

    /// The first of these that has the keys, or sends us to who has. Several that were configured are a cluster's: of
    /// servers that know nothing of each other, each would lend the whole ceiling.
    async fn first_of(&self, hosts: &[RedisHost], must_be_cluster: bool) -> Result<Master, StoreError> {
        let mut failed = None;
        for host in hosts {
            match self.follow(host.clone(), must_be_cluster).await {
                Ok(master) => return Ok(master),
                Err(error) => failed = Some(graver(failed, error)),
            }
        }
        Err(failed.unwrap_or_else(|| StoreError::Refused("there is no address".into())))
    }

    async fn follow(&self, mut host: RedisHost, must_be_cluster: bool) -> Result<Master, StoreError> {
        for _ in 0..MOST_HOPS {
            let connection = self.tcp(&host, &self.address.login).await?;
            let about = self.about(&connection).await.map_err(|error| at(&host, error))?;
            if about.is_cluster
                && let Some(other) = self.sent_on(&connection, &host).await?
            {
                host = other;
                continue;
            }
            about.check().map_err(|error| at(&host, error))?;
            if must_be_cluster && !about.is_cluster {
                let what = "it is no node of a cluster, and only a cluster's nodes may be several";
                return Err(at(&host, StoreError::Refused(what.into())));
            }
            return Ok(Master { connection, run: about.run, host: Some(host) });
        }
        Err(at(&host, StoreError::Refused("the cluster's nodes do not agree on who has the keys".into())))
    }

    /// To which node the keys have gone, if this one does not have them.
    async fn sent_on(
        &self,
        connection: &Connection,
        host: &RedisHost,
    ) -> Result<Option<RedisHost>, StoreError> {
        let mut commands = connection.commands.clone();
        let look = redis::cmd("HGET").arg(self.key).arg("-").to_owned();
        let look = look.query_async::<Option<String>>(&mut commands);
        match within_of(self.connect_within, look).await? {
            Ok(_) => Ok(None),
            Err(error) => match moved_to(&error, host) {
                Some(other) => Ok(Some(other)),
                None => Err(at(host, told(&error))),
            },
        }
    }

    async fn about(&self, connection: &Connection) -> Result<About, StoreError> {
        let mut commands = connection.commands.clone();
        let mut questions = redis::pipe();
        // One section each: several at once need Redis 7.
        questions.cmd("INFO").arg("server").cmd("INFO").arg("replication");
        let (server, replication): (String, String) =
            within(self.connect_within, questions.query_async(&mut commands)).await?;
        About::read(&server, &replication)
    }

    /// The masters that Sentinels name, the one that most of them name first. As soon as more than half of them agree,
    /// the others are not waited for.
    async fn named_by(
        &self,
        sentinels: &[RedisHost],
        master: &str,
        login: &RedisLogin,
    ) -> Result<Vec<RedisHost>, StoreError> {
        let mut asked = JoinSet::new();
        for sentinel in sentinels {
            let question = Question {
                sentinel: sentinel.clone(),
                master: master.to_owned(),
                login: login.clone(),
                tls: self.address.tls.clone(),
                within: self.connect_within,
            };
            asked.spawn(question.ask());
        }
        let (mut votes, mut failed) = (BTreeMap::<RedisHost, usize>::new(), None);
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(named)) => {
                    let count = votes.entry(named).or_default();
                    *count += 1;
                    if *count > sentinels.len() / 2 {
                        break;
                    }
                }
                Ok(Err(error)) => failed = Some(graver(failed, error)),
                // Cancelled or panicked: as if it had not answered.
                Err(_) => {}
            }
        }
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        match (votes.is_empty(), failed) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(StoreError::Refused("no Sentinel answers".into())),
            (false, _) => Ok(votes.into_iter().map(|(host, _)| host).collect()),
        }
    }

    async fn tcp(&self, host: &RedisHost, login: &RedisLogin) -> Result<Connection, StoreError> {
        let (tls, database) = (self.address.tls.as_ref(), self.address.database);
        tcp(host, login, database, tls, self.connect_within, self.timeout).await
    }

    async fn unix(&self, path: &Path) -> Result<Connection, StoreError> {
        let connecting = async {
            let stream = UnixStream::connect(path).await.map_err(|error| unreachable(&error))?;
            open(stream, &self.address.login, self.address.database, self.timeout).await
        };
        within_of(self.connect_within, connecting).await?
    }
}

/// What a Sentinel is asked.
struct Question {
    sentinel: RedisHost,
    master: String,
    login: RedisLogin,
    tls: Option<ClientTls>,
    within: Duration,
}

// === impl Question ===

impl Question {
    async fn ask(self) -> Result<RedisHost, StoreError> {
        let Self { sentinel, master, login, tls, within: limit } = self;
        let named = async {
            let connection = tcp(&sentinel, &login, 0, tls.as_ref(), limit, limit).await?;
            let mut commands = connection.commands.clone();
            let question = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&master).to_owned();
            let named: Option<(String, u16)> = within(limit, question.query_async(&mut commands)).await?;
            named.ok_or_else(|| StoreError::Refused(format!("it knows no master \"{master}\"").into()))
        };
        let (host, port) = named.await.map_err(|error| at(&sentinel, error))?;
        Ok(RedisHost { host, port })
    }
}

// === impl About ===

impl About {
    fn read(server: &str, replication: &str) -> Result<Self, StoreError> {
        let value = |text: &str, key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            found.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let Some(run) = value(server, "run_id") else {
            return Err(StoreError::Refused("it does not tell its run_id".into()));
        };
        // Valkey calls it the server's.
        let mode = value(server, "redis_mode").or_else(|| value(server, "server_mode"));
        Ok(Self {
            run: run.into(),
            is_cluster: mode.as_deref() == Some("cluster"),
            is_master: value(replication, "role").as_deref() == Some("master"),
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_master { Ok(()) } else { Err(StoreError::Refused("it is no master but a replica".into())) }
    }
}

// === impl Driver ===

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tcp(
    host: &RedisHost,
    login: &RedisLogin,
    database: i64,
    tls: Option<&ClientTls>,
    limit: Duration,
    timeout: Duration,
) -> Result<Connection, StoreError> {
    let connecting = async {
        let stream = stream_to(host).await?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let Some(tls) = tls else { return open(stream, login, database, timeout).await };
        let no_tls = |error: &dyn std::fmt::Display| {
            StoreError::Unreachable(format!("TLS cannot be set up: {error}").into())
        };
        let name = ServerName::try_from(host.host.clone()).map_err(|error| no_tls(&error))?;
        let connector = TlsConnector::from(tls.config().map_err(|error| no_tls(&error))?);
        let stream = connector.connect(name, stream).await.map_err(|error| no_tls(&error))?;
        greeted(open(stream, login, database, timeout), limit).await
    };
    within_of(limit, connecting).await.and_then(|connected| connected).map_err(|error| at(host, error))
}

/// To whichever of the host's addresses answers first.
async fn stream_to(host: &RedisHost) -> Result<TcpStream, StoreError> {
    let addresses = tokio::net::lookup_host((host.host.as_str(), host.port)).await;
    let mut connecting: JoinSet<_> =
        addresses.map_err(|error| unreachable(&error))?.map(TcpStream::connect).collect();
    let mut failed = StoreError::Unreachable("the name has no address".into());
    while let Some(connected) = connecting.join_next().await {
        match connected {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = unreachable(&error),
            Err(error) => failed = StoreError::Unreachable(error.to_string().into()),
        }
    }
    Err(failed)
}

/// Logs in.
async fn open<S>(
    stream: S,
    login: &RedisLogin,
    database: i64,
    timeout: Duration,
) -> Result<Connection, StoreError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut settings = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
    if let Some(username) = &login.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password.expose());
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(timeout * 2));
    let opening = MultiplexedConnection::new_with_config(&settings, stream, config);
    let (commands, driving) = opening.await.map_err(|error| told(&error))?;
    let driver = Arc::new(Driver(tokio::spawn(driving).abort_handle()));
    Ok(Connection { commands, _driver: driver })
}

/// A first word over TLS: a server that wants a certificate of ours hangs up only after the handshake (RFC 8446, section
/// 4.4.2.4).
async fn greeted(
    opening: impl Future<Output = Result<Connection, StoreError>>,
    limit: Duration,
) -> Result<Connection, StoreError> {
    let greeting = async {
        let connection = opening.await?;
        let mut commands = connection.commands.clone();
        within(limit, redis::cmd("PING").query_async::<String>(&mut commands)).await?;
        Ok(connection)
    };
    greeting.await.map_err(|error| match error {
        StoreError::Unreachable(why) => StoreError::Unreachable(
            format!("{why}, after TLS was set up: it may want another client certificate (cert_file)").into(),
        ),
        error => error,
    })
}

/// Where the keys have gone, if that is what the node says. Where they only *may* be (ASK, while a slot is on its way),
/// there is nothing to do but wait until they are there: a script needs all of its keys at one node.
pub(super) fn moved_to(error: &RedisError, host: &RedisHost) -> Option<RedisHost> {
    let has_moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
    error.redirect_node().filter(|_| has_moved).and_then(|(node, _slot)| host.told_by(node))
}

pub(super) async fn within<T>(
    limit: Duration,
    doing: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    within_of(limit, doing).await?.map_err(|error| told(&error))
}

pub(super) async fn within_of<T>(limit: Duration, doing: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(limit, doing).await.map_err(|_| StoreError::Timeout(limit))
}

/// Why the store did not do it, in words that hold no secret.
pub(super) fn told(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => StoreError::Unreachable("it did not answer in time".into()),
        ErrorKind::Io => StoreError::Unreachable(error.to_string().into()),
        // Whatever the server quotes of a password stays there.
        ErrorKind::AuthenticationFailed => StoreError::Denied("it refuses the user or the password".into()),
        ErrorKind::Server(ServerErrorKind::NoPerm) => StoreError::Denied(
            "its user may not do what is needed: +@connection +info +time +script|load +evalsha +hget +hmget +hset \
             +hdel +hgetall on the keys {usersig-gateway}:*"
                .into(),
        ),
        _ => StoreError::Refused(error.to_string().into()),
    }
}

/// Of what several servers say, the first refusal tells more than who is away.
fn graver(before: Option<StoreError>, now: StoreError) -> StoreError {
    match before {
        Some(before @ (StoreError::Refused(_) | StoreError::Denied(_))) => before,
        Some(before) if !matches!(now, StoreError::Refused(_) | StoreError::Denied(_)) => before,
        _ => now,
    }
}

/// Says of which server that is told.
fn at(host: &RedisHost, error: StoreError) -> StoreError {
    match error {
        StoreError::Unreachable(why) => StoreError::Unreachable(format!("{host}: {why}").into()),
        StoreError::Refused(why) => StoreError::Refused(format!("{host}: {why}").into()),
        StoreError::Denied(why) => StoreError::Denied(format!("{host}: {why}").into()),
        error => error,
    }
}

fn unreachable(error: &std::io::Error) -> StoreError {
    StoreError::Unreachable(error.to_string().into())
}

/// A cluster's node sends us to the one that has the keys; when that has just changed, perhaps once more.
const MOST_HOPS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_tells_what_it_is_in_redis_words_and_in_valkeys() {
        let about = |mode: &str, role: &str| {
            let server = format!("# Server\r\nredis_version:7.2.4\r\n{mode}\r\nrun_id:abc\r\n");
            About::read(&server, &format!("# Replication\r\nrole:{role}\r\nmaster_replid:def\r\n")).unwrap()
        };
        let plain = about("redis_mode:standalone", "master");
        assert_eq!((&*plain.run, plain.is_cluster, plain.is_master), ("abc", false, true));
        assert!(about("redis_mode:cluster", "master").is_cluster);
        assert!(about("server_mode:cluster", "master").is_cluster);
        let replica = about("server_mode:standalone", "slave");
        assert!(!replica.is_cluster && replica.check().is_err());
        assert!(About::read("run_id:\r\n", "role:master\r\n").is_err());
    }
}
