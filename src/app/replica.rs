//! This process as one of several that share ceilings.

use std::sync::Arc;

use crate::admin::{StoreMode, StoreStatus};
use crate::config::settings::RedisSettings;
use crate::gateway::admission;
use crate::gateway::admission::shared::{self, Redis, Replica, Terms};
use crate::net::listener::ListenAddress;
use crate::telemetry::metrics::Metrics;

/// A replica that has not met the others yet. It is known by its host and the address where it takes calls, so that
/// whoever starts there next is known to be in its place.
pub(super) fn new(
    redis: &RedisSettings,
    ceiling: &admission::Settings,
    gateway: &ListenAddress,
    metrics: &Arc<Metrics>,
) -> Arc<Replica> {
    let terms = Terms {
        timeout: redis.timeout,
        max_replicas: redis.max_replicas.get(),
        absent_for: redis.absent_for,
        transit_max: ceiling.transit_max,
    };
    let store = Arc::new(Redis::new(redis.address.clone(), redis.timeout));
    let host = rustix::system::uname();
    let name = format!("{}/{gateway}", host.nodename().to_string_lossy());
    let incarnation = format!("{:016x}", fastrand::u64(..));
    Replica::new(terms, store, (&name, &incarnation), Arc::clone(metrics))
}

pub(super) fn status(replica: &Replica) -> StoreStatus {
    let reading = replica.reading();
    StoreStatus {
        mode: match reading.mode {
            shared::StoreMode::Shared => StoreMode::Shared,
            shared::StoreMode::Joining => StoreMode::Joining,
            shared::StoreMode::Lost => StoreMode::Lost,
            shared::StoreMode::Degraded => StoreMode::Degraded,
            shared::StoreMode::Stopped => StoreMode::Stopped,
        },
        for_seconds: Some(reading.for_so_long.as_secs()),
        replicas: Some(reading.replicas),
        error: reading.error.map(|error| error.to_string()),
    }
}
