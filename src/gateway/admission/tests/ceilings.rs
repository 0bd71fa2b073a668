//! Ceilings of a source's own, rests, and ceilings that come and go, on paused time.

use std::num::NonZeroU32;

use super::super::{ApiCeiling, Mode, Settings, Throttle};
use super::gate::{A, API, From, LONG, OTHER_API, gate};
use super::waiting::refused;
use super::*;
use crate::gateway::caller::{Rule, Who};

#[tokio::test(start_paused = true)]
async fn under_a_sources_own_ceiling_its_callers_take_turns_whatever_they_call() {
    for (loud_at, quiet_at) in [(API, OTHER_API), (OTHER_API, API)] {
        let mut gate = gate(200, |_| ()).await;
        gate.rules = vec![capped(5)];
        for _ in 0..5 {
            gate.send(A, loud_at).await;
        }
        let mut calls = vec![(A, loud_at, "loud"); 100];
        calls.extend([(From { caller: "quiet", ..A }, quiet_at, "quiet"); 10]);
        let counts = gate.queue(&calls).await.counts(5).await;
        assert!((9..=10).contains(&counts["quiet"]) && counts["loud"] >= 9, "{counts:?}");
        // Who comes now to an API at which nobody waits does not go before those.
        let third = "live_engine_http_srv/get_room_info";
        let _waits = gate.queue(&[(A, loud_at, "loud"); 100]).await;
        assert!(refused(gate.admit(A, third, Duration::ZERO).await).1 > Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sources_own_ceiling_can_be_changed_while_its_calls_wait() {
    let mut gate = gate(200, |_| ()).await;
    for (before, after, least, most) in [(2, 20, 80, 105), (2, 0, 90, 130), (0, 2, 6, 16)] {
        gate.rules = vec![capped(before)];
        // Where two a second may go, those that would wait for more than a minute are refused.
        let flood = gate.queue(&[(A, API, "flood"); 2000]).await;
        tokio::time::sleep(ms(1500)).await;
        gate.rules = vec![capped(after)];
        // The next call of the source brings the news.
        let went = flood.entries.lock().unwrap().len();
        let _news = gate.queue(&[(A, API, "news")]).await;
        tokio::time::sleep(ms(5000)).await;
        let went = flood.entries.lock().unwrap().len() - went;
        assert!((least..=most).contains(&went), "{went} in 5 s after {before} became {after}");
        drop((flood, _news));
        tokio::time::sleep(LONG * 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_every_ceiling_the_configured_part_is_used() {
    // Of an API's, of the app's, of a source's own: nine tenths of it for three gateways.
    for (api, app, source, part) in [(200, 0, 0, 60), (200, 100, 0, 30), (200, 100, 20, 6), (10, 100, 50, 3)]
    {
        let tune = |settings: &mut Settings| {
            settings.app_per_second = NonZeroU32::new(app);
            settings.headroom = 0.9;
            settings.share = NonZeroU32::new(3).unwrap();
        };
        let mut gate = gate(api, tune).await;
        gate.rules = vec![capped(source)];
        let mut at_once = 0;
        while let Ok(mut permit) = gate.admit(A, API, Duration::ZERO).await {
            permit.sent();
            at_once += 1;
        }
        assert_eq!(at_once, part, "of {api} for the API, {app} for the app, {source} for the source");
    }
    // Less than one call in a second is one call in several.
    let gate = gate(1, |settings| settings.share = NonZeroU32::new(4).unwrap()).await;
    gate.send(A, API).await;
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).1, Duration::from_secs(4));
}

/// The rule for the network of `A`, with a ceiling of its own; 0: none.
pub(super) fn capped(per_second: u32) -> Arc<Rule> {
    Arc::new(Rule {
        name: "capped".parse().unwrap(),
        who: Who { networks: vec!["10.0.0.0/24".parse().unwrap()], ..Who::default() },
        weight: NonZeroU32::MIN,
        max_per_second: NonZeroU32::new(per_second),
    })
}

#[tokio::test(start_paused = true)]
async fn now_or_never_does_not_go_before_the_past_is_past_nor_during_a_rest() {
    let gate = gate(10, |settings| {
        (settings.cold_start, settings.transit_max) = (ColdStart::Wait, Duration::from_secs(20));
    })
    .await;
    // Ten seconds have passed of twenty-one.
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).1.as_secs(), 11);
    tokio::time::sleep(Duration::from_secs(11)).await;
    gate.send(A, API).await;
    assert!(gate.admission.throttled(&gate.grant(A, API), Throttle::Pause));
    assert_eq!(refused(gate.admit(A, API, Duration::ZERO).await).1, ms(250));
    tokio::time::sleep(ms(250)).await;
    gate.send(A, API).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_out_when_a_ceiling_goes_and_comes_back_is_none_of_the_new_ones() {
    let gate = gate(1, |_| ()).await;
    let ceiling = |ceiling| {
        let mut settings = Settings { guarantee: Guarantee::Dispatch, max_wait: LONG, ..Settings::default() };
        settings.api.insert(API.parse().unwrap(), ceiling);
        gate.admission.apply(settings);
    };
    let connecting = gate.admit(A, API, LONG).await.unwrap();
    ceiling(ApiCeiling::Off);
    ceiling(ApiCeiling::Periods(vec![a_second(1)]));
    let _also_connecting = gate.admit(A, API, LONG).await.unwrap();
    drop(connecting);
    refused(gate.admit(A, API, ms(500)).await);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_withdrawn_while_more_are_away_than_there_are_by_now() {
    let gate = gate(3, |_| ()).await;
    let lower = |limit| {
        let mut settings = (**gate.admission.settings.load()).clone();
        settings.api.insert(API.parse().unwrap(), ApiCeiling::per_second(NonZeroU32::new(limit).unwrap()));
        gate.admission.apply(settings);
    };
    let (mut first, mut second) =
        (gate.admit(A, API, LONG).await.unwrap(), gate.admit(A, API, LONG).await.unwrap());
    let elsewhere = &mut gate.admit(A, OTHER_API, LONG).await.unwrap();
    assert!(first.confirm());
    lower(2);
    assert!(first.confirm() && elsewhere.confirm());
    lower(1);
    // One of the two has to stay behind, and its token is home at once.
    assert_eq!((first.confirm(), gate.reading(API).used), (false, 1));
    assert!(second.confirm() && elsewhere.confirm());
    second.sent();
    first.sent();
    assert_eq!(gate.reading(API).used, 1);
    tokio::time::advance(ms(1000)).await;
    assert_eq!(gate.reading(API).used, 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_withdrawn_where_a_ceiling_began_meanwhile_or_tencent_cut_it() {
    let gate = gate(10, |settings| {
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Off);
    })
    .await;
    let mut free = gate.admit(A, API, LONG).await.unwrap();
    let mut settings = (**gate.admission.settings.load()).clone();
    settings.api.insert(API.parse().unwrap(), ApiCeiling::Periods(vec![a_second(2)]));
    gate.admission.apply(settings);
    assert!(!free.confirm());
    let mut again = gate.admit(A, API, Duration::ZERO).await.unwrap();
    assert!(again.confirm());
    gate.send(A, API).await;
    assert!(gate.admission.throttled(&gate.grant(A, API), Throttle::Api));
    assert_eq!((again.confirm(), gate.reading(API).used), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_outlives_the_ceiling_it_was_counted_of() {
    let gate = gate(2, |settings| {
        settings.guarantee = Guarantee::Arrival;
        settings.mode = Mode::Shadow;
        settings.app_per_second = NonZeroU32::new(5);
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Off);
    })
    .await;
    let counts = |api| {
        let reading = gate.reading(api);
        (reading.unproven, reading.shadowed)
    };
    let with = |change: fn(&mut Settings)| {
        let mut settings = (**gate.admission.settings.load()).clone();
        change(&mut settings);
        gate.admission.apply(settings);
    };
    // No call is ever answered.
    for _ in 0..3 {
        gate.send(A, OTHER_API).await;
    }
    for _ in 0..5 {
        gate.send(A, API).await;
    }
    tokio::time::advance(ms(300)).await;
    assert_eq!((counts(OTHER_API), counts("*")), ((2, 1), (5, 2)));
    // Forgotten, and in use again.
    tokio::time::advance(LONG * 2).await;
    gate.admission.forget_idle();
    assert!(gate.admission.readings().is_empty());
    for _ in 0..3 {
        gate.send(A, OTHER_API).await;
    }
    tokio::time::advance(ms(300)).await;
    assert_eq!((counts(OTHER_API), counts("*")), ((4, 2), (7, 2)));
    // Switched off by a reload, and on again.
    with(|settings| {
        settings.app_per_second = None;
        settings.api.insert(OTHER_API.parse().unwrap(), ApiCeiling::Off);
    });
    with(|settings| {
        settings.app_per_second = NonZeroU32::new(5);
        settings.api.insert(OTHER_API.parse().unwrap(), ApiCeiling::Periods(vec![a_second(2)]));
    });
    assert_eq!((counts(OTHER_API), counts("*")), ((4, 2), (7, 2)));
}

#[tokio::test(start_paused = true)]
async fn too_many_for_the_app_is_a_share_of_what_it_sent_under_whatever_ceilings() {
    let gate = gate(100, |settings| {
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Off);
        settings.api.insert(OTHER_API.parse().unwrap(), ApiCeiling::Periods(vec![ceiling(100, 60)]));
    })
    .await;
    for _ in 0..10 {
        gate.send(A, API).await;
        gate.send(A, OTHER_API).await;
    }
    assert!(gate.admission.throttled(&gate.grant(A, API), Throttle::App), "the app's ceiling holds it back");
    let of_app = gate.admission.readings().into_iter().find(|reading| &*reading.api == "*").unwrap();
    assert!((of_app.per_second - 14.0).abs() < 0.01, "{of_app:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_tells_how_far_a_cut_ceiling_has_grown_back() {
    let gate = gate(100, |settings| settings.transit_max = Duration::from_secs(60)).await;
    for _ in 0..40 {
        gate.send(A, API).await;
    }
    assert!(gate.admission.throttled(&gate.grant(A, API), Throttle::Api));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut permit = gate.admit(A, API, Duration::ZERO).await.unwrap();
    permit.sent();
    let before = gate.reading(API).limit;
    tokio::time::sleep(Duration::from_secs(20)).await;
    permit.answered(Instant::now());
    let told = permit.take_remaining();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].ceiling.limit.get(), before + 20, "a hundredth of 100 in each second");
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_ceiling_count_when_tencent_asks_for_one_over_all_of_them() {
    let off = |settings: &mut Settings| _ = settings.api.insert(API.parse().unwrap(), ApiCeiling::Off);
    // Whether their connections stood at once, or only after a while.
    for wait in [0, 1_500] {
        let gate = gate(100, off).await;
        let mut permits = Vec::new();
        for _ in 0..50 {
            permits.push(gate.admit(A, API, Duration::ZERO).await.unwrap());
        }
        tokio::time::sleep(ms(wait)).await;
        for permit in &mut permits {
            permit.sent();
        }
        drop(permits);
        gate.admission.forget_idle();
        tokio::time::sleep(ms(300)).await;
        gate.send(A, API).await;
        assert!(gate.admission.throttled(&gate.grant(A, API), Throttle::App));
        assert_eq!(gate.reading("*").limit, 35, "seven tenths of 51");
    }
}
