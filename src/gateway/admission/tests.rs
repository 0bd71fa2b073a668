//! The ceilings are exact and used, whatever the network does; turns come evenly and fairly; waiting is bounded and
//! cancel-safe.

mod ceilings;
mod even;
mod exact;
mod fleet;
mod gate;
mod idle;
mod levels;
mod outages;
mod replicas;
mod shared;
mod sharing;
mod starving;
mod told;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config as ProptestConfig, RngAlgorithm};
use tokio::time::Instant;

use super::bucket::{Bucket, Rules};
use super::{ColdStart, Guarantee};
use crate::model::ceiling::Ceiling;

const TRANSIT_MAX: Duration = Duration::from_millis(250);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn a_second(limit: u32) -> Ceiling {
    Ceiling::per_second(limit.try_into().unwrap())
}

/// So many in so many seconds.
fn ceiling(limit: u32, seconds: u64) -> Ceiling {
    Ceiling { limit: limit.try_into().unwrap(), period: Duration::from_secs(seconds) }
}

fn rules(ceilings: &[Ceiling], guarantee: Guarantee) -> Rules {
    Rules {
        ceilings: ceilings.to_vec(),
        burst: u32::MAX,
        guarantee,
        transit_max: TRANSIT_MAX,
        cold_start: ColdStart::Paced,
    }
}

/// How a property is tried: with this share of 2,000 schedules, or of as many as `benches/exactness.sh` asks for.
pub(super) fn schedules(share: f64) -> ProptestConfig {
    let asked = std::env::var("USERSIG_GATEWAY_SCHEDULES").ok();
    let all = asked.map_or(2_000, |asked| asked.parse().expect("USERSIG_GATEWAY_SCHEDULES is a number"));
    ProptestConfig {
        cases: (f64::from(all) * share) as u32,
        // The default's cryptographic numbers would be a third of what a schedule costs.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    }
}
