//! A Redis Cluster: the keys' slot moves from one master to another, which dies and is followed by its replica.

use std::time::Duration;

use super::{tells, until};
use crate::load::Stalls;
use crate::redis_server::{RedisServer, free_port};
use crate::shared_ceiling::fleet::{Arrivals, LIMIT, Offers, have_met};
use crate::shared_ceiling::judged;

/// Three masters with a third of the slots each, and a replica of the second. The first has the keys.
struct Cluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
    slot: u16,
}

impl Cluster {
    async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..4 {
            let bus = free_port().to_string();
            let mut arguments = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            arguments.extend(["--cluster-port", &bus]);
            // Whoever has nobody to copy from would wait for seconds before it lets itself be elected.
            arguments.extend(["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]);
            let node = RedisServer::start_with(&arguments).await;
            nodes.push((node, bus));
        }
        let slot: u16 = nodes[0].0.says("CLUSTER KEYSLOT {usersig-gateway}:replicas").await;
        // From that slot on, and round.
        for (n, (node, _)) in nodes.iter().take(3).enumerate() {
            let [from, end] = [n, n + 1].map(|n| u32::from(slot) + SLOTS * n as u32 / 3);
            let ranges = [(from, end.min(SLOTS)), (from.max(SLOTS) - SLOTS, end.max(SLOTS) - SLOTS)];
            for (from, end) in ranges.into_iter().filter(|(from, end)| from < end) {
                let _: () = node.says(&format!("CLUSTER ADDSLOTSRANGE {from} {}", end - 1)).await;
            }
        }
        let mut ids = Vec::new();
        for (node, bus) in &nodes {
            ids.push(node.says::<String>("CLUSTER MYID").await);
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port());
            let _: () = nodes[0].0.says(&meet).await;
        }
        let nodes = nodes.into_iter().map(|(node, _)| node).collect();
        let cluster = Self { nodes, ids, slot };
        cluster.agrees().await;
        until("it takes the replica", || async {
            let replicate = format!("CLUSTER REPLICATE {}", cluster.ids[1]);
            cluster.nodes[3].tries::<()>(&replicate).await.is_ok()
        })
        .await;
        tells(&cluster.nodes[3], "INFO replication", "master_link_status:up").await;
        cluster
    }

    /// Waits until every node knows all of them, and that every slot has one.
    async fn agrees(&self) {
        for node in &self.nodes {
            tells(node, "CLUSTER INFO", "cluster_known_nodes:4").await;
            tells(node, "CLUSTER INFO", "cluster_state:ok").await;
        }
    }

    /// Moves the slot with the keys from the first to the second, as redis-cli does it, and slowly.
    async fn move_slot(&self) {
        let (slot, [from, to]) = (self.slot, [&self.ids[0], &self.ids[1]]);
        let _: () = self.nodes[1].says(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}")).await;
        let _: () = self.nodes[0].says(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}")).await;
        loop {
            let keys: Vec<String> = self.nodes[0].says(&format!("CLUSTER GETKEYSINSLOT {slot} 1")).await;
            let Some(key) = keys.first() else { break };
            let port = self.nodes[1].port();
            let _: () = self.nodes[0].says(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000")).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        for node in [1, 0, 2] {
            let _: () = self.nodes[node].says(&format!("CLUSTER SETSLOT {slot} NODE {to}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_moves_and_its_master_dies() {
    let mut cluster = Cluster::start().await;
    let arrivals = Arrivals::under(LIMIT).await;
    let [moves_to, other] = [1, 2].map(|node: usize| cluster.nodes[node].address());
    // Neither is where the keys are.
    let url = format!("url = \"redis://{moves_to},{other}\"");
    let gateways = [arrivals.serving(&url, &[]), arrivals.serving(&url, &[])];
    have_met(&gateways).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&arrivals);
    for gateway in &gateways {
        offers.to(gateway, LIMIT, Duration::from_secs(60));
    }
    offers.until(2.0).await;
    cluster.move_slot().await;
    let moved = offers.now();
    offers.until(moved + 6.0).await;
    cluster.nodes[1].kill();
    tells(&cluster.nodes[3], "INFO replication", "role:master").await;
    let follows = offers.now();
    offers.until(follows + 7.0).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);

    arrivals.assert_exact();
    for (from, until) in [(moved + 4.0, moved + 6.0), (follows + 5.0, follows + 7.0)] {
        let delivered = arrivals.delivered(from, until);
        assert!(
            delivered >= 0.85 * running,
            "{delivered} from {from} to {until}, where there was time for {running}: {}",
            arrivals.timeline()
        );
    }
}

const SLOTS: u32 = 16384;
