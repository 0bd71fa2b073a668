//! Waiting for turns, on paused time: in order, fair, bounded, cancel-safe.

use std::num::NonZeroU32;

use super::super::{ApiCeiling, Mode, NotAdmitted, Permit, Reason, Throttle};
use super::gate::{A, API, B, From, Gate, LONG, OTHER_API, gate};
use super::*;
use crate::gateway::caller::{Rule, Who};

pub(super) fn refused(result: Result<Permit, NotAdmitted>) -> (Reason, Duration) {
    let NotAdmitted { reason, turn_in } = result.expect_err("should be refused");
    (reason, turn_in)
}

// === Order ===

#[tokio::test(start_paused = true)]
async fn one_callers_calls_go_by_urgency_then_by_arrival() {
    let gate = gate(1, |_| ()).await;
    gate.send(A, API).await;
    let urgent = From { priority: "u=0", ..A };
    let calls = [(A, API, "first"), (A, API, "second"), (urgent, API, "urgent"), (A, API, "third")];
    let entries = gate.queue(&calls).await.entries().await;
    assert_eq!(
        entries.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["urgent", "first", "second", "third"]
    );
    for (n, (_, at)) in entries.iter().enumerate() {
        assert!((n as u128 * 1000 + 1000..n as u128 * 1000 + 1010).contains(at), "{entries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_refused_for_rate_returns_to_its_place() {
    let gate = gate(1, |_| ()).await;
    let grant = gate.grant(A, API);
    let arrival = gate.admission.arrive();
    gate.admission.admit(&grant, arrival, Instant::now(), LONG).await.unwrap().sent();
    let diary = gate.queue(&[(A, API, "later"), (A, API, "last")]).await;
    let start = Instant::now();
    gate.admission.admit(&grant, arrival.again(), Instant::now(), LONG).await.unwrap().sent();
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!(diary.names().await, ["later", "last"]);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_returns_is_not_refused_because_of_those_that_came_later() {
    let gate = gate(1, |settings| {
        (settings.max_wait, settings.max_waiting, settings.max_waiting_per_caller) = (ms(3500), 3, 3);
    })
    .await;
    let grant = gate.grant(A, API);
    let arrival = gate.admission.arrive();
    gate.admission.admit(&grant, arrival, Instant::now(), LONG).await.unwrap().sent();
    let later = gate.queue(&[(A, API, "1"), (A, API, "2"), (A, API, "3")]).await;
    assert_eq!(refused(gate.admit(A, API, LONG).await).0, Reason::TooLate);
    let start = Instant::now();
    gate.admission.admit(&grant, arrival.again(), Instant::now(), LONG).await.unwrap().sent();
    assert_eq!(start.elapsed().as_secs(), 1);
    // The last one's turn came too late through it.
    assert_eq!(later.names().await, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn networks_share_turns_equally_however_many_calls_and_names_they_bring() {
    let gate = gate(100, |_| ()).await;
    for _ in 0..100 {
        gate.send(A, API).await;
    }
    // One network with a name of its own for every call, one with a single caller.
    let names: Vec<&'static str> = (0..900).map(|n| &*Box::leak(format!("n{n}").into_boxed_str())).collect();
    let mut calls: Vec<_> =
        names.iter().map(|&caller| (From { caller, ..A }, API, "made-up names")).collect();
    calls.extend([(B, API, "one name"); 900]);
    let counts = gate.queue(&calls).await.counts(8).await;
    let (made_up, one) = (counts["made-up names"], counts["one name"]);
    // The first turn comes after a second, when the tokens come home.
    assert!(made_up.abs_diff(one) <= 1 && made_up + one >= 665, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_network_share_its_turns_equally() {
    let gate = gate(10, |_| ()).await;
    for _ in 0..10 {
        gate.send(A, API).await;
    }
    let mut calls = vec![(A, API, "a"); 200];
    calls.extend([(From { caller: "b", ..A }, API, "b"); 50]);
    let counts = gate.queue(&calls).await.counts(8).await;
    assert!(counts["a"].abs_diff(counts["b"]) <= 1, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn rules_share_turns_by_weight_and_their_own_ceiling_is_hard() {
    let mut gate = gate(100, |_| ()).await;
    let rule = |name: &str, network: &str, weight: u32, max: u32| {
        Arc::new(Rule {
            name: name.parse().unwrap(),
            who: Who { networks: vec![network.parse().unwrap()], ..Who::default() },
            weight: weight.try_into().unwrap(),
            max_per_second: NonZeroU32::new(max),
        })
    };
    let light = From { address: "10.0.0.1", ..A };
    let heavy = From { address: "10.0.1.1", ..A };
    gate.rules = vec![rule("light", "10.0.0.0/24", 1, 0), rule("heavy", "10.0.1.0/24", 3, 0)];
    for _ in 0..100 {
        gate.send(light, API).await;
    }
    let mut calls = vec![(light, API, "light"); 1000];
    calls.extend([(heavy, API, "heavy"); 1000]);
    let counts = gate.queue(&calls).await.counts(9).await;
    let share = counts["heavy"] as f64 / (counts["heavy"] + counts["light"]) as f64;
    assert!((0.72..=0.78).contains(&share), "{counts:?}");

    // The same again, where the heavy one may make ten a second at most: the other takes what is left.
    tokio::time::sleep(LONG).await;
    gate.rules = vec![rule("light", "10.0.0.0/24", 1, 0), rule("capped", "10.0.1.0/24", 3, 10)];
    let counts = gate.queue(&calls).await.counts(9).await;
    // For a second all of the tokens are away, most of them with the other.
    assert!((78..=90).contains(&counts["heavy"]), "{counts:?}");
    assert!(counts["light"] >= 760, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn under_the_apps_ceiling_callers_come_before_their_apis() {
    let gate = gate(1000, |settings| settings.app_per_second = NonZeroU32::new(10)).await;
    for _ in 0..10 {
        gate.send(A, API).await;
    }
    // One caller waits at two APIs, the other at one: each gets half.
    let mut calls = vec![(A, API, "a"); 100];
    calls.extend([(A, OTHER_API, "a, other"); 100]);
    calls.extend([(B, API, "b"); 100]);
    let counts = gate.queue(&calls).await.counts(9).await;
    assert!(counts["b"].abs_diff(counts["a"] + counts["a, other"]) <= 1, "{counts:?}");
    assert!(counts["a"].abs_diff(counts["a, other"]) <= 1, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_at_one_api_never_holds_up_another() {
    let gate = gate(1, |settings| {
        settings.app_per_second = NonZeroU32::new(100);
        settings.api.insert(OTHER_API.parse().unwrap(), ApiCeiling::Periods(vec![a_second(50)]));
    })
    .await;
    gate.send(A, API).await;
    let diary = gate.queue(&[(A, API, "slow"); 3]).await;
    let start = Instant::now();
    for _ in 0..10 {
        gate.admit(A, OTHER_API, LONG).await.unwrap().sent();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    diary.names().await;
}

#[tokio::test(start_paused = true)]
async fn both_levels_are_taken_together_or_not_at_all() {
    let gate = gate(1, |settings| settings.app_per_second = NonZeroU32::new(2)).await;
    gate.send(A, API).await;
    // The API has no token: the app's second one stays at home, for the other API.
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).0, Reason::TooLate);
    assert_eq!(gate.reading("*").used, 1);
    gate.send(A, OTHER_API).await;
    assert_eq!(gate.reading("*").used, 2);
    let start = Instant::now();
    gate.admit(B, API, LONG).await.unwrap().sent();
    assert_eq!(start.elapsed().as_secs(), 1);
}

// === Bounds ===

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_too_late_is_refused_at_once() {
    let gate = gate(2, |_| ()).await;
    gate.send(A, API).await;
    gate.send(A, API).await;
    let start = Instant::now();
    assert_eq!(refused(gate.admit(A, API, ms(999)).await), (Reason::TooLate, ms(1000)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    gate.admit(A, API, ms(1001)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_may_wait_no_longer_than_the_setting_says() {
    let gate = gate(1, |settings| settings.max_wait = ms(500)).await;
    gate.send(A, API).await;
    assert_eq!(refused(gate.admit(A, API, LONG).await), (Reason::TooLate, ms(1000)));
}

#[tokio::test(start_paused = true)]
async fn now_or_never_ignores_the_pace_but_passes_nobody() {
    let gate = gate(10, |settings| settings.burst = NonZeroU32::new(1)).await;
    for _ in 0..5 {
        gate.send(A, API).await;
    }
    let diary = gate.queue(&[(A, API, "waits")]).await;
    assert_eq!(gate.reading(API).waiting, 1);
    assert_eq!(refused(gate.admit(B, API, Duration::ZERO).await).0, Reason::TooLate);
    assert_eq!(diary.names().await, ["waits"]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_and_each_callers_part_of_it_are_bounded() {
    let gate = gate(1, |settings| (settings.max_waiting, settings.max_waiting_per_caller) = (5, 3)).await;
    gate.send(A, API).await;
    let _waiting = gate.queue(&[(A, API, "a"); 3]).await;
    assert_eq!(refused(gate.admit(A, API, LONG).await).0, Reason::CallerQueueFull);
    let _more = gate.queue(&[(From { caller: "a2", ..A }, API, "a2"); 2]).await;
    let (reason, turn_in) = refused(gate.admit(From { caller: "a2", ..A }, API, LONG).await);
    assert_eq!((reason, gate.reading(API).waiting), (Reason::QueueFull, 5));
    assert!(turn_in >= ms(1000));
}

#[tokio::test(start_paused = true)]
async fn who_fills_the_queue_gives_way_to_who_does_not() {
    let gate = gate(1, |settings| settings.max_waiting = 4).await;
    gate.send(A, API).await;
    let greedy = gate.queue(&[(A, API, "1"), (A, API, "2"), (A, API, "3"), (A, API, "4")]).await;
    let modest = gate.queue(&[(B, API, "b")]).await;
    assert_eq!(gate.reading(API).waiting, 4);
    assert_eq!(greedy.names().await, ["1", "2", "3"]);
    assert_eq!(modest.entries().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn in_one_network_too_who_fills_the_queue_gives_way() {
    let gate = gate(1, |settings| settings.max_waiting = 4).await;
    gate.send(A, API).await;
    let greedy = gate.queue(&[(A, API, "1"), (A, API, "2"), (A, API, "3"), (A, API, "4")]).await;
    let modest = gate.queue(&[(From { caller: "modest", ..A }, API, "m")]).await;
    assert_eq!(gate.reading(API).waiting, 4);
    assert_eq!(greedy.names().await, ["1", "2", "3"]);
    assert_eq!(modest.entries().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_returns_to_a_full_queue_finds_a_place() {
    let gate = gate(1, |settings| settings.max_waiting = 2).await;
    let grant = gate.grant(A, API);
    let arrival = gate.admission.arrive();
    gate.admission.admit(&grant, arrival, Instant::now(), LONG).await.unwrap().sent();
    let _others = gate.queue(&[(B, API, "1"), (From { caller: "c", ..A }, API, "2")]).await;
    gate.admission.admit(&grant, arrival.again(), Instant::now(), LONG).await.unwrap().sent();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_waiting() {
    let gate = gate(1, |_| ()).await;
    let held = gate.admit(A, API, LONG).await.unwrap(); // never sent, never given back in time
    let start = Instant::now();
    assert_eq!(refused(gate.admit(A, API, ms(1500)).await).0, Reason::Overtaken);
    assert_eq!((start.elapsed(), gate.reading(API).waiting), (ms(1500), 0));
    drop(held);
}

// === Hanging up ===

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_gives_its_place_back() {
    let gate = gate(1, |_| ()).await;
    gate.send(A, API).await;
    let leaves = gate.queue(&[(A, API, "leaves")]).await;
    let stays = gate.queue(&[(A, API, "stays")]).await;
    leaves.tasks.lock().unwrap().abort_all();
    let entries = stays.entries().await;
    assert!(matches!(entries[..], [("stays", 1000..1010)]), "{entries:?}");
    assert!(leaves.entries.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unsent_permit_goes_to_the_next_in_line_at_once() {
    let gate = gate(1, |_| ()).await;
    let held = gate.admit(A, API, LONG).await.unwrap();
    let next = gate.queue(&[(A, API, "next")]).await;
    drop(held);
    assert_eq!(next.entries().await, [("next", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_nobody_came_for_goes_home() {
    let gate = gate(1, |_| ()).await;
    gate.send(A, API).await;
    let grant = gate.grant(A, API);
    let mut waiting = Box::pin(gate.admission.admit(&grant, gate.admission.arrive(), Instant::now(), LONG));
    assert!(futures_poll(&mut waiting).await.is_none());
    tokio::time::sleep(ms(1500)).await; // granted meanwhile, and not picked up
    assert_eq!((gate.reading(API).used, gate.reading(API).waiting), (1, 0));
    drop(waiting);
    assert_eq!(gate.reading(API).used, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_while_it_was_written_counts_as_sent() {
    let gate = gate(1, |_| ()).await;
    let mut permit = gate.admit(A, API, LONG).await.unwrap();
    permit.writing();
    drop(permit);
    assert_eq!(gate.reading(API).used, 1);
    tokio::time::advance(ms(1000)).await;
    assert_eq!(gate.reading(API).used, 0);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

// === Settings ===

#[tokio::test(start_paused = true)]
async fn shadow_holds_nothing_back_and_counts_what_would_have_waited() {
    let gate = gate(2, |settings| settings.mode = Mode::Shadow).await;
    for _ in 0..5 {
        gate.admit(A, API, LONG).await.unwrap().sent();
    }
    let reading = gate.reading(API);
    assert_eq!((reading.shadowed, reading.used), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn shadow_counts_no_now_or_never_call_that_only_the_pace_would_hold_back() {
    for (max_wait, shadowed) in [(Duration::ZERO, 0), (LONG, 3)] {
        let gate =
            gate(4, |settings| (settings.mode, settings.burst) = (Mode::Shadow, NonZeroU32::new(1))).await;
        for _ in 0..4 {
            gate.admit(A, API, max_wait).await.unwrap().sent();
        }
        assert_eq!(gate.reading(API).shadowed, shadowed);
    }
}

#[tokio::test(start_paused = true)]
async fn off_keeps_nothing() {
    let gate = gate(1, |settings| settings.mode = Mode::Off).await;
    for _ in 0..5 {
        gate.send(A, API).await;
    }
    assert!(gate.admission.readings().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_without_a_ceiling_still_counts_towards_the_apps() {
    let gate = gate(1, |settings| {
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Off);
        settings.app_per_second = NonZeroU32::new(3);
    })
    .await;
    for _ in 0..3 {
        gate.send(A, API).await;
    }
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).0, Reason::TooLate);
    assert!(gate.admission.readings().iter().all(|reading| &*reading.api == "*"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_makes_no_token_and_wakes_those_who_may_go_now() {
    let gate = gate(1, |_| ()).await;
    gate.send(A, API).await;
    let diary = gate.queue(&[(A, API, "first"), (A, API, "second")]).await;
    let mut settings = (**gate.admission.settings.load()).clone();
    settings.api.insert(API.parse().unwrap(), ApiCeiling::Periods(vec![a_second(2)]));
    gate.admission.apply(settings);
    let entries = diary.entries().await;
    // Half a second for two turns in a second; the second one waits for the only token that is away.
    assert!(matches!(entries[..], [("first", 0..=500), ("second", 1000..1010)]), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renamed_apps_ceilings_have_its_new_name_from_its_next_call_on() {
    let mut gate = gate(2, |_| ()).await;
    gate.send(A, API).await;
    gate.rename("renamed");
    gate.send(A, OTHER_API).await;
    let readings = gate.admission.readings();
    assert!(readings.len() == 2 && readings.iter().all(|reading| reading.app.as_str() == "renamed"));
    // Its tokens are the same as before.
    assert_eq!(gate.reading(API).used, 1);
}

// === Too frequent ===

#[tokio::test(start_paused = true)]
async fn too_frequent_lowers_the_apis_budget_once_a_second() {
    let gate = gate(100, |_| ()).await;
    for _ in 0..50 {
        gate.send(A, API).await;
    }
    let grant = gate.grant(A, API);
    for _ in 0..5 {
        assert!(gate.admission.throttled(&grant, Throttle::Api));
    }
    assert_eq!(gate.reading(API).limit, 42); // 0.85 × 50
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).0, Reason::TooLate);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(gate.reading(API).limit, 52);
}

#[tokio::test(start_paused = true)]
async fn too_frequent_for_the_whole_app_makes_a_ceiling_for_it_that_passes() {
    let gate = gate(100, |_| ()).await;
    for api in [API, OTHER_API] {
        for _ in 0..50 {
            gate.send(A, api).await;
        }
    }
    gate.admission.throttled(&gate.grant(A, API), Throttle::App);
    assert_eq!((gate.reading("*").limit, gate.reading("*").used), (70, 100));
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).0, Reason::TooLate);
    tokio::time::advance(Duration::from_secs(31)).await;
    gate.admission.forget_idle();
    assert!(gate.admission.readings().iter().all(|reading| &*reading.api != "*"));
}

#[tokio::test(start_paused = true)]
async fn too_frequent_without_saying_which_gives_the_api_a_rest() {
    let gate = gate(100, |_| ()).await;
    gate.send(A, API).await;
    assert!(gate.admission.throttled(&gate.grant(A, API), Throttle::Pause));
    let start = Instant::now();
    gate.send(A, OTHER_API).await;
    gate.admit(A, API, LONG).await.unwrap();
    assert!((ms(250)..ms(255)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn where_no_ceiling_is_kept_a_refused_call_does_not_wait_again() {
    let gate = gate(1, |settings| {
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Off);
    })
    .await;
    assert!(!gate.admission.throttled(&gate.grant(A, API), Throttle::Api));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_by_caller_over_all_apis_and_sources() {
    let gate = gate(1, |_| ()).await;
    assert!(gate.admission.waiting().is_empty());
    gate.send(A, API).await;
    let elsewhere = From { address: "10.9.9.9", ..A };
    let diary = gate.queue(&[(A, API, "1"), (A, API, "2"), (elsewhere, API, "3"), (B, API, "4")]).await;
    let waiting = |gate: &Gate| {
        let mut waiting = gate.admission.waiting();
        waiting.sort_by(|a, b| a.caller.cmp(&b.caller));
        waiting.into_iter().map(|waiting| (waiting.caller.to_string(), waiting.calls)).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&gate), [(A.caller.to_owned(), 3), (B.caller.to_owned(), 1)]);
    assert_eq!(diary.names().await.len(), 4);
    assert!(waiting(&gate).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_looked_at_the_clock_before_others_that_came_first_brings_nobody_a_turn() {
    let gate = gate(10, |settings| settings.burst = NonZeroU32::new(1)).await;
    let before = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    let first = gate.admit(A, API, ms(1)).await.unwrap();
    let late = gate.admission.admit(&gate.grant(A, API), gate.admission.arrive(), before, ms(1)).await;
    assert_eq!(refused(late).0, Reason::TooLate);
    // Had time run backwards, this one would have the second's turns once more.
    assert_eq!(refused(gate.admit(A, API, ms(1)).await).0, Reason::TooLate);
    assert_eq!(first.at(), before + Duration::from_secs(1));
}
