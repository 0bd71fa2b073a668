//! A command is said to a real Redis once, whatever becomes of it, and nothing is kept to be said later.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::super::address::{RedisAddress, RedisHost, RedisLogin, RedisPlace};
use super::super::client::Redis;
use super::super::protocol::{Lend, Meet, Met, Opening, Store, StoreError, Terms, Wish};
use super::server::Server;
use crate::model::ceiling::Ceiling;

/// Longer than is allowed, for machines that are slow.
const TIMEOUT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn what_is_not_answered_is_not_said_again_nor_kept_for_later() {
    let server = Server::start(Path::new("redis-server")).await;
    let place =
        RedisPlace::Servers(vec![RedisHost { host: Ipv4Addr::LOCALHOST.to_string(), port: server.port }]);
    let address = RedisAddress { place, database: 0, login: RedisLogin::default(), tls: None };
    let store = Redis::new(address, TIMEOUT);
    let probe = store.probe().await.unwrap();
    let terms = Terms {
        timeout: TIMEOUT,
        max_replicas: 3,
        absent_for: Duration::from_secs(30),
        transit_max: Duration::from_millis(250),
    };
    let opening = Opening { run: probe.run, expected: probe.now + 60_000_000, name: "host".into(), terms };
    let Met::Member(membership) = store.meet(&meet(opening.clone())).await.unwrap() else {
        panic!("it is a member");
    };
    let ask = lend(opening, &membership.epoch);
    assert_eq!(server.scripts_done().await, 1);

    server.signal("STOP");
    let began = Instant::now();
    assert_eq!(store.lend(&ask).await, Err(StoreError::Timeout(TIMEOUT)));
    store.hang_up();
    // There is no connection, and nobody waits for one.
    assert_eq!(store.lend(&ask).await, Err(StoreError::HungUp));
    assert!(began.elapsed() < TIMEOUT * 20, "{:?}", began.elapsed());
    server.signal("CONT");
    tokio::time::sleep(TIMEOUT).await;
    // What was said may be done when it is read, once.
    assert!(server.scripts_done().await <= 2);
}

fn meet(opening: Opening) -> Meet {
    Meet {
        opening,
        nonce: "epoch".into(),
        incarnation: "process".into(),
        epoch: "".into(),
        step: 0,
        shift: None,
        slot: -1,
        is_member: false,
        spent: false,
        leaves: false,
        version: -1,
        known: Vec::new(),
    }
}

fn lend(opening: Opening, epoch: &str) -> Lend {
    let wish = Wish {
        id: "api".into(),
        want: 1,
        weight: 1,
        periods: vec![Ceiling::per_second(10.try_into().unwrap())],
        registers: false,
        reports: Vec::new(),
    };
    let app = 1.try_into().unwrap();
    Lend { opening, epoch: epoch.into(), nonce: "time".into(), app, ceilings: vec![wish] }
}
