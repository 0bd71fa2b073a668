//! Gateways share a ceiling through every kind of Redis: old, new and Valkey, with users, over TLS and a Unix socket, in a
//! cluster, and behind Sentinels. Each test starts the real servers.

mod cluster;
mod login;
mod sentinel;
mod tls;
mod versions;

use std::time::Duration;

use serde_json::Value;

use crate::load::Caller;
use crate::process::Serving;
use crate::redis_server::RedisServer;
use crate::shared_ceiling::fleet::{API, is_shared, status_json};

/// Waits until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("not within a minute: {what}"));
}

/// Waits until a server answers this with that in it.
async fn tells(server: &RedisServer, question: &str, what: &str) {
    // It closes connections when it becomes a master.
    let answer = || async { server.tries::<String>(question).await.is_ok_and(|told| told.contains(what)) };
    until(&format!("{question} tells {what}"), answer).await;
}

/// Waits until a gateway tells this error for why it does not share.
async fn is_told(gateway: &Serving, what: &str) {
    let mut told = Value::Null;
    let looks = async {
        while told["mode"] == "shared" || !told["error"].as_str().is_some_and(|error| error.contains(what)) {
            tokio::time::sleep(LOOK_EVERY).await;
            told = status_json(gateway).await["store"].take();
        }
    };
    let looks = tokio::time::timeout(PATIENCE, looks).await;
    assert!(looks.is_ok(), "{what}: not told within a minute, but {told}");
}

/// Each of these has met its store, and sends a call.
async fn serve(gateways: &[Serving]) {
    for gateway in gateways {
        is_shared(gateway).await;
        let caller = Caller::new(&gateway.gateway, "127.0.0.1", "anyone").await;
        assert_eq!(caller.offer_at_once(API, 1).await.with_status(200), 1);
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
