//! A master and its replica behind Sentinels: the master dies, and the replica takes its place.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{is_told, serve, tells, until};
use crate::load::Stalls;
use crate::redis_server::{RedisServer, free_port};
use crate::shared_ceiling::fleet::{Arrivals, LIMIT, Offers, have_met, is_shared, status_json};
use crate::shared_ceiling::judged;

const PASSWORD: &str = "FAKE-sentinel-word";

struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
    _folder: TempDir,
}

impl Watched {
    async fn start() -> Self {
        let master = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]).await;
        let of = format!("127.0.0.1 {}", master.port());
        let replica = RedisServer::start_with(&["--replicaof", &of]).await;
        let (folder, mut sentinels) = (tempfile::tempdir().unwrap(), Vec::new());
        for n in 0..3 {
            let sentinel = sentinel_of(&master, &folder.path().join(format!("sentinel{n}.conf"))).await;
            let rights = "+@connection +sentinel|get-master-addr-by-name";
            let _: () = sentinel.says(&format!("ACL SETUSER gateway on >{PASSWORD} {rights}")).await;
            sentinels.push(sentinel);
        }
        for sentinel in &sentinels {
            tells(sentinel, "INFO sentinel", "slaves=1,sentinels=3").await;
        }
        Self { master, replica, sentinels, _folder: folder }
    }
}

/// One that watches this master, which it calls `shop`.
async fn sentinel_of(master: &RedisServer, file: &Path) -> RedisServer {
    let text = format!(
        "sentinel monitor shop 127.0.0.1 {} 2\nsentinel down-after-milliseconds shop 1000\n\
         sentinel failover-timeout shop 5000\n",
        master.port()
    );
    fs::write(file, text).unwrap();
    RedisServer::start_with(&[file.to_str().unwrap(), "--sentinel"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_dies_and_its_replica_takes_over() {
    let mut watched = Watched::start().await;
    let arrivals = Arrivals::under(LIMIT).await;
    // The first of them is gone for good.
    let mut sentinels = format!("127.0.0.1:{}", free_port());
    watched.sentinels.iter().for_each(|sentinel| sentinels += &format!(",{}", sentinel.address()));
    let login = "sentinel_username_env = \"NAME\"\nsentinel_password_env = \"WORD\"";
    let start = |master: &str, word: &str| {
        let table = format!("url = \"redis-sentinel://{sentinels}/{master}\"\n{login}");
        arrivals.serving(&table, &[("NAME", "gateway"), ("WORD", word)])
    };
    let gateways = [start("shop", PASSWORD), start("shop", PASSWORD)];
    have_met(&gateways).await;
    let [master, replica] = [&watched.master, &watched.replica].map(RedisServer::address);
    for (gateway, what) in [
        (start("other", PASSWORD), "it knows no master \"other\""),
        (start("shop", "FAKE-wrong"), "it refuses the user or the password"),
        (arrivals.serving(&format!("url = \"redis://{replica}\""), &[]), "it is no master but a replica"),
        (
            arrivals.serving(&format!("url = \"redis://{master},{replica}\""), &[]),
            "it is no node of a cluster",
        ),
    ] {
        is_told(&gateway, what).await;
    }

    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&arrivals);
    for gateway in &gateways {
        offers.to(gateway, LIMIT, Duration::from_secs(60));
    }
    offers.until(3.0).await;
    watched.master.kill();
    tells(&watched.replica, "INFO replication", "role:master").await;
    let follows = offers.now();
    // Who was the master comes back, and takes itself for it still.
    watched.master.restart_empty().await;
    offers.until(follows + 8.0).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);

    arrivals.assert_exact();
    let delivered = arrivals.delivered(follows + 5.0, follows + 8.0);
    assert!(
        delivered >= 0.85 * running,
        "{delivered} after {follows}, where there was time for {running}: {}",
        arrivals.timeline()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_sentinels_disagree_the_master_counts_that_most_of_them_name() {
    // Both take themselves for one.
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut sentinels = Vec::new();
    for (n, master) in [&old, &new, &new].into_iter().enumerate() {
        sentinels.push(sentinel_of(master, &folder.path().join(format!("sentinel{n}.conf"))).await);
    }
    let addresses: Vec<_> = sentinels.iter().map(RedisServer::address).collect();
    let arrivals = Arrivals::under(LIMIT).await;
    let url = format!("url = \"redis-sentinel://{}/shop\"", addresses.join(","));
    // Each connects anew, and hears the Sentinels in another order.
    serve(&[(); 3].map(|()| arrivals.serving(&url, &[]))).await;
    assert_ne!(new.says::<u64>("DBSIZE").await, 0);
    assert_eq!(old.says::<u64>("DBSIZE").await, 0, "the old master has never heard of anybody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_becomes_a_replica_is_lost_until_it_is_one_again() {
    let (redis, other) = (RedisServer::start().await, RedisServer::start().await);
    let arrivals = Arrivals::under(LIMIT).await;
    let gateway = arrivals.serving(&format!("url = \"redis://{}\"", redis.address()), &[]);
    is_shared(&gateway).await;
    // Connections stay, and take no writes any more.
    let _: () = redis.says(&format!("REPLICAOF 127.0.0.1 {}", other.port())).await;
    until("the gateway sees it", || async {
        let store = status_json(&gateway).await["store"].take();
        let error = store["error"].as_str().unwrap_or_default();
        store["mode"] != "shared" && error.contains("it is no master but a replica")
    })
    .await;
    let _: () = redis.says("REPLICAOF NO ONE").await;
    is_shared(&gateway).await;
}
