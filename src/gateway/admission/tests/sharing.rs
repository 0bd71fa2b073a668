//! Tokens of a shared ceiling are where the demand is, and dealt fairly where there is more of it than tokens.

use super::fleet::{Fleet, Load, Setup, THREE};
use super::gate::OTHER_API;
use super::*;

#[tokio::test(start_paused = true)]
async fn tokens_move_to_another_replica_within_300_ms() {
    let mut fleet = Fleet::of(THREE).await;
    let first = fleet.offer(Load::of(0, 300.0));
    fleet.until(5.0).await;
    first.abort();
    fleet.offer(Load::of(1, 300.0));
    fleet.until(10.0).await;
    fleet.assert_exact();
    // What one has used comes home a second later, whoever wants it then.
    for from in [5.3, 6.3, 7.3, 8.3] {
        let used = fleet.arrived(Some(1), from, from + 1.0);
        assert!(used >= 0.9 * 200.0, "{used} from {from} on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_begins_to_call_has_its_share_within_300_ms() {
    let mut fleet = Fleet::of(THREE).await;
    fleet.offer(Load::of(0, 300.0));
    fleet.until(5.0).await;
    fleet.offer(Load::of(1, 300.0));
    fleet.until(10.0).await;
    fleet.assert_exact();
    for from in [5.3, 6.3, 7.3] {
        let shares = [0, 1].map(|replica| fleet.arrived(Some(replica), from, from + 1.0));
        assert!(shares.iter().all(|share| (90.0..=110.0).contains(share)), "{shares:?} from {from} on");
    }
}

#[tokio::test(start_paused = true)]
async fn demand_below_the_ceiling_moves_without_a_wait() {
    let mut fleet = Fleet::of(THREE).await;
    let first = fleet.offer(Load::of(0, 100.0));
    fleet.until(5.0).await;
    first.abort();
    fleet.offer(Load::of(1, 100.0));
    fleet.until(9.0).await;
    fleet.assert_exact();
    assert_eq!(fleet.refused(), 0);
    assert!(fleet.p99_wait(5.0, 5.3) <= ms(30), "{:?}", fleet.p99_wait(5.0, 5.3));
    assert!(fleet.p99_wait(5.3, 9.0) <= ms(5), "{:?}", fleet.p99_wait(5.3, 9.0));
}

#[tokio::test(start_paused = true)]
async fn what_was_borrowed_and_not_used_is_given_back() {
    let mut fleet = Fleet::of(THREE).await;
    let calls = fleet.offer(Load::of(0, 150.0));
    fleet.until(3.0).await;
    let at_hand = fleet.at_hand(0);
    assert!(at_hand > 0, "some are borrowed ahead of need");
    calls.abort();
    // The demand is soon forgotten.
    fleet.until(3.3).await;
    let few = fleet.at_hand(0);
    assert!(few <= at_hand / 4, "{few} of {at_hand}");
    fleet.until(3.9).await;
    assert_eq!(fleet.at_hand(0), 0);
    let used = fleet.arrived(None, 2.88, 3.9) * 1.02;
    assert!(fleet.network.away() as f64 <= used, "{} away, {used} used", fleet.network.away());
    // Nobody wants anything, so nothing is said but that the replicas are there.
    let before = fleet.network.commands();
    fleet.until(5.9).await;
    let said = fleet.network.commands() - before;
    assert!((27..=33).contains(&said), "{said} commands by three replicas in two seconds");
}

#[tokio::test(start_paused = true)]
async fn replicas_share_by_the_weight_of_those_who_wait() {
    for limit in [10, 60, 200] {
        let mut fleet = Fleet::of(Setup { limit, ..THREE }).await;
        let each = f64::from(limit) * 1.5;
        for (replica, weight) in [(0, 1), (1, 1), (2, 3)] {
            fleet.offer(Load { weight, ..Load::of(replica, each) });
        }
        fleet.until(13.0).await;
        fleet.assert_exact();
        for from in [3.0, 8.0] {
            let shares = [0, 1, 2].map(|replica| fleet.arrived(Some(replica), from, from + 5.0));
            let all: f64 = shares.iter().sum();
            assert!(all >= 0.9 * f64::from(limit), "{shares:?} of {limit}");
            for (share, due) in shares.into_iter().zip([0.2, 0.2, 0.6]) {
                assert!((share / (all * due) - 1.0).abs() <= 0.2, "{shares:?} of {limit}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_ceiling_over_all_apis_is_shared_beside_those_of_each() {
    let mut fleet = Fleet::of(Setup { limit: 60, app_limit: 80, ..THREE }).await;
    for replica in 0..3 {
        fleet.offer(Load::of(replica, 30.0));
        fleet.offer(Load { api: OTHER_API, ..Load::of(replica, 30.0) });
    }
    fleet.until(10.0).await;
    fleet.assert_exact();
    let delivered = fleet.arrived(None, 3.0, 10.0);
    assert!(delivered >= 0.9 * 80.0, "{delivered}");
}
