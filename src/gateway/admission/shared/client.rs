//! The store that is a Redis server: one connection, on which commands do not wait for one another.
//!
//! A command is sent once. Whatever goes wrong with it ends the connection, since what was sent on it may still be done
//! and nobody could tell: the next word to the store is a [`probe`](Store::probe) on a new one. In a Redis Cluster all
//! keys stand in one slot, so one connection is enough there, too: to the node that has the slot. [`connect`](super::connect)
//! finds the server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::address::{RedisAddress, RedisHost};
use super::connect::{Connection, Search, moved_to, told, within, within_of};
use super::encode::{self, Word};
use super::protocol::{Answer, Lend, Lent, Meet, Met, Probe, Store, StoreError};

/// A Redis server, or whichever of several has the keys.
#[derive(Debug)]
pub struct Redis {
    address: RedisAddress,
    timeout: Duration,
    now: Mutex<Connected>,
}

#[derive(Debug, Default)]
struct Connected {
    live: Option<Live>,
    /// Where the keys are, as far as is known.
    master: Option<RedisHost>,
}

#[derive(Clone)]
struct Live {
    connection: Connection,
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
        // Names are looked up and TLS is set up in it.
        let connect_within = self.timeout * 5;
        let last = self.lock().master.clone();
        let search =
            Search { address: &self.address, connect_within, timeout: self.timeout, key: REPLICAS, last };
        let master = search.master().await?;
        let mut commands = master.connection.commands.clone();

        let mut scripts = redis::pipe();
        scripts.cmd("SCRIPT").arg("LOAD").arg(MEET).cmd("SCRIPT").arg("LOAD").arg(LEND);
        let (meet, lend): (String, String) =
            within(connect_within, scripts.query_async(&mut commands)).await?;

        let sent = Instant::now();
        let (seconds, micros): (i64, i64) =
            within(self.timeout, redis::cmd("TIME").query_async(&mut commands)).await?;
        let received = Instant::now();
        let live = Live { connection: master.connection, meet: meet.into(), lend: lend.into() };
        *self.lock() = Connected { live: Some(live), master: master.host };
        Ok(Probe { run: master.run, now: seconds * 1_000_000 + micros, sent, received })
    }

    /// Has a script done.
    async fn run(
        &self,
        script: fn(&Live) -> &str,
        keys: &[String],
        words: &[String],
    ) -> Result<Vec<Word>, StoreError> {
        let live = self.lock().live.clone();
        let Some(live) = live else { return Err(StoreError::HungUp) };
        let mut command = Cmd::with_capacity(words.len() + 4, 1024);
        command.arg("EVALSHA").arg(script(&live)).arg(keys.len()).arg(keys).arg(words);
        let mut commands = live.connection.commands.clone();
        let reply = within_of(self.timeout, commands.send_packed_command(&command)).await?;
        match reply.and_then(Value::extract_error) {
            Ok(Value::Array(values)) => values.into_iter().map(word).collect(),
            Ok(_) => Err(StoreError::Refused("the script's answer is not what it should be".into())),
            Err(error) => {
                let mut now = self.lock();
                if let Some(host) = now.master.as_ref().and_then(|host| moved_to(&error, host)) {
                    now.master = Some(host);
                }
                Err(told(&error))
            }
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
                // The node may be gone: those that are configured know which took its place.
                self.lock().master = None;
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
