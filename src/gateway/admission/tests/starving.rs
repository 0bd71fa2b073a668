//! Nobody starves behind calls that cannot go, however many they are.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::super::ApiCeiling;
use super::ceilings::capped;
use super::gate::{A, API, B, From, Gate, OTHER_API, gate};
use super::*;

const USED_UP: &str = "live_engine_http_srv/get_room_info";
/// More callers than are looked at to find the next turn.
const MANY: u32 = 300;

/// A gate at which [`USED_UP`] is used up for most of a minute: no longer, or nobody would wait there.
async fn used_up() -> Gate {
    let gate = gate(200, |settings| {
        let ceilings = vec![ceiling(MANY, 50)];
        settings.api.insert(USED_UP.parse().unwrap(), ApiCeiling::Periods(ceilings));
    })
    .await;
    for _ in 0..MANY {
        gate.send(A, USED_UP).await;
    }
    tokio::time::sleep(ms(1000)).await;
    gate
}

/// How often each went in six seconds, behind many calls of A's network that could not go at all.
async fn counts(
    gate: &Gate,
    calls: &[(From<'static>, &'static str, &'static str)],
) -> BTreeMap<&'static str, usize> {
    let caller = |number| From { caller: format!("stuck{number}").leak(), ..A };
    let stuck: Vec<_> = (0..MANY).map(|number| (caller(number), USED_UP, "stuck")).collect();
    let _stuck = gate.queue(&stuck).await;
    assert_eq!(gate.reading(USED_UP).waiting, MANY as usize);
    let counts = gate.queue(calls).await.counts(6).await;
    assert_eq!(gate.reading(USED_UP).waiting, MANY as usize);
    counts
}

#[tokio::test(start_paused = true)]
async fn under_a_sources_own_ceiling_no_api_starves_behind_many_who_cannot_go() {
    for (loud_at, quiet_at) in [(API, OTHER_API), (OTHER_API, API)] {
        let mut gate = used_up().await;
        gate.rules = vec![capped(10)];
        let mut calls = vec![(A, loud_at, "loud"); 100];
        calls.extend([(From { caller: "quiet", ..A }, quiet_at, "quiet"); 10]);
        let counts = counts(&gate, &calls).await;
        assert!(counts["quiet"] == 10 && counts["loud"] >= 30, "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn under_the_apps_ceiling_no_api_starves_behind_many_who_cannot_go() {
    for (loud_at, quiet_at) in [(API, OTHER_API), (OTHER_API, API)] {
        let gate = used_up().await;
        let mut settings = (**gate.admission.settings.load()).clone();
        settings.app_per_second = NonZeroU32::new(10);
        gate.admission.apply(settings);
        let mut calls = vec![(A, loud_at, "loud"); 100];
        calls.extend([(B, quiet_at, "quiet"); 10]);
        let counts = counts(&gate, &calls).await;
        assert!(counts["quiet"] == 10 && counts["loud"] >= 30, "{counts:?}");
    }
}
