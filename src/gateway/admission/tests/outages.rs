//! The store of shared ceilings is lost, forgets, is slow, or has its clock set: what callers notice of each.

use super::super::shared::StoreMode;
use super::fleet::{ABSENT_FOR, Fleet, Load, Setup, THREE};
use super::told::Log;
use super::*;
use tokio::time::sleep;

/// From the loss of the store until parts are spent, at most: twice the timeout, half a second, a lease, `transit_max` and a
/// period after the last word, which is no older than 200 ms.
const GAP: f64 = 0.1 + 0.5 + 0.2 + 0.25 + 1.0 + 0.05;
/// The longest time that a token of a quick call is away until its release.
const LONGEST_AWAY: f64 = 0.0055;
/// After an epoch began nothing is lent for so long.
const QUIET: f64 = 1.0 + 0.25 + 0.2 + 0.05;

/// A ceiling that costs less to simulate.
const SIXTY: Setup = Setup { limit: 60, ..THREE };

fn mode(fleet: &Fleet, replica: usize) -> StoreMode {
    fleet.replica(replica).reading().mode
}

/// For how many seconds after the end of a gap of `gap` seconds calls wait at `load` calls a second, with so many `tokens`, of
/// which `burst` may go at once. The others of the first second go evenly, and then each when it is home.
fn works_off(gap: f64, load: f64, tokens: f64, burst: f64) -> f64 {
    let waiting = gap * load;
    match (waiting + load <= tokens, waiting <= burst) {
        (true, true) => 0.0,
        (true, false) => (waiting - burst) / (tokens - burst - load),
        (false, _) => waiting / (tokens - load),
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_calls_in_its_gap_and_until_those_have_gone() {
    // Up to nine tenths of the part, which is 66 a second.
    for load in [10.0, 21.0, 33.0, 40.0, 50.0, 59.4] {
        let mut fleet = Fleet::of(THREE).await;
        fleet.network.be_reliable();
        for replica in 0..3 {
            fleet.offer(Load { is_even: true, ..Load::of(replica, load) });
        }
        fleet.until(5.0).await;
        fleet.network.lose(true);
        // A token comes round in a second and as long as it is away.
        let over = 5.0 + GAP + works_off(GAP, load, 66.0 / (1.0 + LONGEST_AWAY), 66.0);
        fleet.until(over + 5.0).await;
        fleet.network.restart(true);
        fleet.network.lose(false);
        fleet.until(over + 15.0).await;
        fleet.assert_exact();
        assert_eq!(fleet.refused(), 0, "of {load} a second");
        let before = fleet.p99_wait(1.0, 4.9);
        for (what, from, until) in [("gap", over, over + 5.0), ("return", over + 5.0, over + 15.0)] {
            let after = fleet.p99_wait(from, until);
            assert!(
                after < before + ms(100),
                "{after:?} after the {what} at {load} a second, {before:?} before"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_delays_calls_until_those_have_gone_that_waited() {
    for (lasts, forgets) in [(0.3, false), (0.3, true), (1.5, false)] {
        for load in [10.0, 18.0, 33.0, 40.0] {
            let mut fleet = Fleet::of(THREE).await;
            fleet.network.be_reliable();
            for replica in 0..3 {
                fleet.offer(Load { is_even: true, ..Load::of(replica, load) });
            }
            fleet.until(5.0).await;
            fleet.network.lose(true);
            fleet.until(5.0 + lasts).await;
            if forgets {
                fleet.network.restart(false);
            }
            fleet.network.lose(false);
            while (0..3).any(|replica| mode(&fleet, replica) != StoreMode::Shared) {
                sleep(ms(1)).await;
            }
            let gap = fleet.now() - 5.0;
            // All three together have nine tenths of the ceiling, and half of it at once. Nobody waits for less than 0.1 s.
            let over = 5.0 + gap + works_off(gap, 3.0 * load, 180.0, 100.0).max(0.1);
            fleet.until(over + 5.0).await;
            fleet.assert_exact();
            let (before, after) = (fleet.p99_wait(1.0, 4.9), fleet.p99_wait(over, over + 5.0));
            let what = format!("{lasts} s, forgets: {forgets}, {load} a second");
            assert!(after < before + ms(100), "{after:?} after, {before:?} before: {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parts_are_spent_without_a_pause_until_the_store_lends_again() {
    let fleet = Fleet::of(THREE).await;
    fleet.network.be_reliable();
    fleet.network.lose(true);
    fleet.until(5.0).await;
    fleet.network.restart(true);
    fleet.network.lose(false);
    for replica in 0..3 {
        while mode(&fleet, replica) == StoreMode::Degraded {
            sleep(Duration::from_micros(100)).await;
        }
        assert_eq!(mode(&fleet, replica), StoreMode::Shared, "{} s after the return", fleet.now() - 5.0);
    }
    assert!(fleet.now() >= 6.0, "the store lent at once");
}

#[tokio::test(start_paused = true)]
async fn after_the_gap_no_more_go_at_once_than_after_idle_time() {
    for (burst, at_once) in [(0, 66), (5, 5)] {
        let mut fleet = Fleet::of(Setup { burst, ..THREE }).await;
        fleet.offer(Load::of(0, 50.0));
        fleet.until(5.0).await;
        fleet.network.lose(true);
        fleet.until(12.0).await;
        let turns = fleet.most_turns(0, ms(10), 6.0, 12.0);
        assert!((at_once..=at_once + 2).contains(&turns), "{turns} at once with burst = {burst}");
        // They come home at once, and do not leave so again.
        let later = fleet.most_turns(0, ms(100), 8.0, 12.0);
        assert!(later <= 10, "{later} in a tenth of a second with burst = {burst}");
        fleet.assert_exact();
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_each_replica_its_part_and_ends_by_itself() {
    for seed in 0..2 {
        for limit in [10, 60] {
            let mut fleet = Fleet::of(Setup { seed, limit, ..THREE }).await;
            for replica in 0..3 {
                fleet.offer(Load::of(replica, f64::from(limit)));
            }
            fleet.until(5.0).await;
            fleet.network.lose(true);
            fleet.until(15.0).await;
            if seed % 2 == 0 {
                fleet.network.restart(true);
            }
            fleet.network.lose(false);
            fleet.until(25.0).await;
            fleet.assert_exact();
            let limit = f64::from(limit);
            let without = fleet.arrived(None, 8.0, 15.0);
            assert!(without >= 0.8 * limit, "{without} of {limit} without the store");
            let back = fleet.arrived(None, 15.0, 20.0);
            assert!(back >= 0.5 * limit, "{back} of {limit} while it comes back");
            let with = fleet.arrived(None, 20.0, 25.0);
            assert!(with >= 0.9 * limit, "{with} of {limit} with the store again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn small_ceilings_go_on_without_the_store_a_call_in_several_seconds_each() {
    let mut fleet = Fleet::of(Setup { limit: 1, ..THREE }).await;
    for replica in 0..3 {
        fleet.offer(Load::of(replica, 3.0));
    }
    fleet.until(5.0).await;
    fleet.network.lose(true);
    fleet.until(29.0).await;
    fleet.assert_exact();
    // A slot is a second, transit_max and 0.6 s; there is one for each of three.
    for replica in 0..3 {
        let calls = fleet.arrived(Some(replica), 8.0, 29.0) * 21.0;
        assert!((3.0..=4.0).contains(&calls), "{calls} of {replica} in four rounds of slots");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mode_is_logged_once_however_many_calls_there_are() {
    let (log, _guard) = Log::begin(tracing::Level::INFO);
    let mut fleet = Fleet::of(Setup { replicas: 1, ..SIXTY }).await;
    fleet.offer(Load::of(0, 100.0));
    fleet.until(5.0).await;
    fleet.network.lose(true);
    fleet.until(15.0).await;
    fleet.network.restart(true);
    fleet.network.lose(false);
    fleet.until(20.0).await;
    fleet.network.lose(true);
    fleet.until(20.0 + ABSENT_FOR.as_secs_f64() + 5.0).await;
    assert_eq!(mode(&fleet, 0), StoreMode::Stopped);
    fleet.network.lose(false);
    fleet.until(60.0).await;
    let told: Vec<_> = log.told(&["mode"]).into_iter().map(|event| event[0].clone()).collect();
    let told: Vec<_> = told.iter().filter_map(|mode| mode.as_str()).collect();
    let outage = ["lost", "degraded", "shared"];
    let long_outage = ["lost", "degraded", "stopped", "joining", "shared"];
    assert_eq!(told, [&["shared"][..], &outage, &long_outage].concat());
    assert!(fleet.served() + fleet.refused() > 5_000);
}

#[tokio::test(start_paused = true)]
async fn who_starts_without_the_store_has_a_part_after_the_gap() {
    let mut fleet = Fleet::without_replicas(SIXTY);
    fleet.network.lose(true);
    for replica in 0..3 {
        fleet.start_one();
        fleet.offer(Load::of(replica, 40.0));
    }
    let began = fleet.now();
    fleet.until(began + GAP - 0.2).await;
    assert_eq!(mode(&fleet, 2), StoreMode::Joining);
    assert_eq!(fleet.arrived(Some(2), 0.0, fleet.now()), 0.0);
    fleet.until(began + 8.0).await;
    assert_eq!(mode(&fleet, 2), StoreMode::Degraded);
    let without = fleet.arrived(None, began + 3.0, began + 8.0);
    assert!(without >= 0.8 * 60.0, "{without}");
    fleet.network.lose(false);
    fleet.until(began + 18.0).await;
    assert_eq!(mode(&fleet, 2), StoreMode::Shared);
    let with = fleet.arrived(None, began + 12.0, began + 18.0);
    assert!(with >= 0.95 * 60.0, "{with}");
    fleet.assert_exact();
}

#[tokio::test(start_paused = true)]
async fn an_outage_outlasts_a_rollout() {
    let mut fleet = Fleet::of(Setup { max_replicas: 4, ..SIXTY }).await;
    let mut loads: Vec<_> = (0..3).map(|replica| fleet.offer(Load::of(replica, 60.0))).collect();
    fleet.until(5.0).await;
    fleet.network.lose(true);
    for n in 0..3_u32 {
        // One more starts, and when it has its part one ends.
        fleet.until(8.0 + 3.0 * f64::from(n)).await;
        fleet.start_one();
        let new = fleet.offer(Load::of(3 + n as usize, 60.0));
        fleet.until(10.5 + 3.0 * f64::from(n)).await;
        loads.remove(0).abort();
        loads.push(new);
        fleet.end(n as usize);
    }
    fleet.until(22.0).await;
    let without = fleet.arrived(None, 8.0, 22.0);
    assert!(without >= 0.6 * 60.0, "{without}");
    // It was there all the time, and remembers those who have ended since.
    fleet.network.lose(false);
    fleet.until(32.0).await;
    fleet.assert_exact();
}

#[tokio::test(start_paused = true)]
async fn whom_the_store_does_not_let_in_has_no_part_of_what_others_share() {
    let mut fleet = Fleet::of(Setup { max_replicas: 4, ..SIXTY }).await;
    for replica in 0..3 {
        fleet.offer(Load::of(replica, 40.0));
    }
    fleet.network.deny(3);
    fleet.start_one();
    fleet.offer(Load::of(3, 40.0));
    fleet.until(10.0).await;
    assert_eq!(mode(&fleet, 3), StoreMode::Stopped);
    assert_eq!(fleet.arrived(Some(3), 0.0, 10.0), 0.0);
    assert!(fleet.arrived(None, 3.0, 10.0) >= 0.95 * 60.0);
    fleet.assert_exact();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_starves_nobody_for_longer_than_a_quiet_time() {
    for seconds in [-3_600, -10, -1, 1, 10, 3_600] {
        let mut fleet = Fleet::of(SIXTY).await;
        for replica in 0..3 {
            fleet.offer(Load::of(replica, 60.0));
        }
        fleet.until(5.0).await;
        fleet.network.set_clock(seconds * 1_000_000);
        fleet.until(12.0).await;
        fleet.assert_exact();
        let pause = fleet.longest_pause(5.0, 12.0).as_secs_f64();
        // It is noticed within 200 ms.
        assert!(pause <= QUIET + 0.3, "{pause} s after a step of {seconds} s");
        let with = fleet.arrived(None, 8.0, 12.0);
        assert!(with >= 0.9 * 60.0, "{with} after a step of {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_clock_takes_over() {
    for seconds in [-1, 1] {
        let mut fleet = Fleet::of(SIXTY).await;
        for replica in 0..3 {
            fleet.offer(Load::of(replica, 60.0));
        }
        fleet.until(5.0).await;
        fleet.network.restart(false);
        fleet.network.set_clock(seconds * 1_000_000);
        fleet.until(12.0).await;
        fleet.assert_exact();
        assert!(fleet.longest_pause(5.0, 12.0).as_secs_f64() <= QUIET + 0.3);
        let with = fleet.arrived(None, 8.0, 12.0);
        assert!(with >= 0.9 * 60.0, "{with} with a clock {seconds} s off");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_takes_the_place_of_the_store() {
    let mut fleet = Fleet::of(SIXTY).await;
    let never_used = fleet.network.backup();
    for replica in 0..3 {
        fleet.offer(Load::of(replica, 60.0));
    }
    fleet.until(3.0).await;
    let in_use = fleet.network.backup();
    for (at, backup) in [(5.0, never_used), (11.0, in_use)] {
        fleet.until(at).await;
        fleet.network.restore(backup);
    }
    fleet.until(17.0).await;
    fleet.assert_exact();
    for from in [8.0, 14.0] {
        let with = fleet.arrived(None, from, from + 3.0);
        assert!(with >= 0.9 * 60.0, "{with} from {from} on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_slowly_is_used_until_it_is_too_slow() {
    let mut fleet = Fleet::of(SIXTY).await;
    for replica in 0..3 {
        fleet.offer(Load::of(replica, 60.0));
    }
    fleet.until(5.0).await;
    // There and back in 40 ms, of 50.
    fleet.network.slow_by(ms(20));
    fleet.until(12.0).await;
    let slow = fleet.arrived(None, 6.0, 12.0);
    assert!(slow >= 0.85 * 60.0, "{slow}");
    fleet.network.slow_by(ms(40));
    fleet.until(20.0).await;
    assert_eq!(mode(&fleet, 0), StoreMode::Degraded);
    let too_slow = fleet.arrived(None, 15.0, 20.0);
    assert!(too_slow >= 0.8 * 60.0, "{too_slow}");
    fleet.assert_exact();
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_for_long_stops_and_others_have_its_part() {
    let mut fleet = Fleet::of(SIXTY).await;
    for replica in 0..3 {
        fleet.offer(Load::of(replica, 60.0));
    }
    fleet.until(3.0).await;
    fleet.network.cut_off(0, true);
    let absent = 3.0 + ABSENT_FOR.as_secs_f64();
    fleet.until(absent + 8.0).await;
    let [alone, together] = [0, 1].map(|replica| fleet.arrived(Some(replica), 8.0, absent - 1.0));
    assert!((15.0..=20.0).contains(&alone) && (15.0..=20.5).contains(&together), "{alone}, {together}");
    assert_eq!(mode(&fleet, 0), StoreMode::Stopped);
    assert_eq!(fleet.arrived(Some(0), absent + 0.5, absent + 8.0), 0.0);
    let others = fleet.arrived(None, absent + 3.0, absent + 8.0);
    assert!(others >= 0.95 * 60.0, "{others}");
    fleet.network.cut_off(0, false);
    fleet.until(absent + 14.0).await;
    let back = fleet.arrived(Some(0), absent + 10.0, absent + 14.0);
    assert!((18.0..=22.0).contains(&back), "{back}");
    fleet.assert_exact();
}
