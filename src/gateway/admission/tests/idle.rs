//! A ceiling costs nothing before its first call, and nothing once it was idle for long.

use std::num::NonZeroU32;

use super::super::ApiCeiling;
use super::gate::{A, API, LONG, OTHER_API, gate};
use super::*;
use crate::model::api::catalogue;

#[tokio::test(start_paused = true)]
async fn ceilings_of_ten_thousand_apps_are_made_when_they_are_used_and_gone_when_they_are_not() {
    let apis: Vec<_> = catalogue().entries().map(|(name, _)| name).take(20).collect();
    let mut gate = gate(200, |settings| {
        settings.app_per_second = NonZeroU32::new(1000);
        settings
            .api
            .extend(apis.iter().map(|&name| (name.clone(), ApiCeiling::Periods(vec![a_second(100)]))));
    })
    .await;
    gate.add_apps(10_000);
    let settings = (**gate.admission.settings.load()).clone();
    gate.admission.apply(settings);
    assert!(gate.admission.books().is_empty());
    for app in ["app0", "app4711", "app9999"] {
        for api in [API, OTHER_API] {
            let grant = gate.grant_at(A, &format!("/apps/{app}/v4/{api}"));
            gate.admission.admit(&grant, gate.admission.arrive(), Instant::now(), LONG).await.unwrap().sent();
        }
    }
    // Of each app, its own and those of two APIs.
    assert_eq!((gate.admission.books().len(), gate.admission.readings().len()), (3, 9));
    tokio::time::advance(LONG * 2).await;
    gate.admission.forget_idle();
    assert!(gate.admission.books().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_ceiling_is_forgotten_after_its_period_and_a_minute() {
    let gate = gate(1, |_| ()).await;
    gate.send(A, API).await;
    tokio::time::advance(ms(61_000)).await;
    gate.admission.forget_idle();
    assert_eq!(gate.admission.readings().len(), 1);
    tokio::time::advance(ms(300)).await;
    gate.admission.forget_idle();
    assert!(gate.admission.readings().is_empty() && gate.admission.books().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_ceiling_is_remembered_for_its_longest_period() {
    let gate = gate(100, |settings| {
        let periods = vec![a_second(10), ceiling(100, 10)];
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Periods(periods));
    })
    .await;
    let in_use = || {
        gate.admission.forget_idle();
        gate.admission.readings().into_iter().map(|reading| reading.api.to_string()).collect::<Vec<_>>()
    };
    gate.send(A, API).await;
    // The period, `transit_max` and a minute.
    tokio::time::advance(ms(70_249)).await;
    gate.send(A, OTHER_API).await;
    assert_eq!(in_use().len(), 2);
    tokio::time::advance(ms(1)).await;
    assert_eq!(in_use(), [OTHER_API]);
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_of_which_a_token_is_out_is_not_forgotten() {
    let gate = gate(1, |_| ()).await;
    let held = gate.admit(A, API, LONG).await.unwrap();
    tokio::time::advance(LONG * 10).await;
    gate.admission.forget_idle();
    assert_eq!(gate.reading(API).used, 1);
    drop(held);
    gate.admission.forget_idle();
    assert!(gate.admission.books().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_api_has_its_own_ceiling_whichever_were_forgotten_before_it() {
    let third = "live_engine_http_srv/get_room_info";
    let gate = gate(10, |_| ()).await;
    gate.send(A, API).await;
    tokio::time::advance(ms(60_000)).await;
    gate.send(A, OTHER_API).await;
    tokio::time::advance(ms(2_000)).await;
    gate.admission.forget_idle();
    for (nth, api) in (1..).zip([third, API, OTHER_API, third, API]) {
        gate.send(A, api).await;
        assert_eq!(gate.reading(api).used, if nth > 3 { 2 } else { 1 }, "{api}");
    }
    assert_eq!(gate.admission.readings().len(), 3);
}
