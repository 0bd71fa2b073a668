//! A turn that is there at once costs no allocation, whatever ceilings its call falls under. In a binary of its own,
//! whose allocator counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::time::Instant;
use usersig_gateway::gateway::admission::{Admission, ApiCeiling, Settings};
use usersig_gateway::gateway::caller::{self, Rule, Who, identify};
use usersig_gateway::gateway::policy::{self, Grant, Rights};
use usersig_gateway::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use usersig_gateway::model::ceiling::Ceiling;
use usersig_gateway::model::endpoint::Endpoint;
use usersig_gateway::net::client::Roots;
use usersig_gateway::net::listener::Peer;

const API: &str = "live_config/get_callback";

/// Every kind of ceiling: an API's with two periods, an app's and a source's own.
fn settings() -> Settings {
    let periods = [(200, 1), (10_000, 60)].map(|(limit, seconds)| Ceiling {
        limit: NonZeroU32::new(limit).unwrap(),
        period: Duration::from_secs(seconds),
    });
    Settings {
        app_per_second: NonZeroU32::new(300),
        api: [(API.parse().unwrap(), ApiCeiling::Periods(periods.to_vec()))].into(),
        ..Settings::default()
    }
}

fn grant() -> Grant {
    let app = App {
        name: "live".parse().unwrap(),
        sdkappid: "1400000001".parse().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: Vec::new(),
        region: None,
        endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).unwrap();
    let rule = Rule {
        name: "capped".parse().unwrap(),
        who: Who { networks: vec!["10.0.0.0/24".parse().unwrap()], ..Who::default() },
        weight: NonZeroU32::MIN,
        max_per_second: NonZeroU32::new(250),
    };
    let rights = policy::Settings { rights: [(rule.name.clone(), Rights::default())].into() };
    let callers = caller::Settings { rules: vec![Arc::new(rule)], ..caller::Settings::default() };
    let target = resolve(&format!("/v4/{API}"), None, &apps, &Apis::new()).unwrap();
    let caller = identify(&HeaderMap::new(), Peer::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))), &callers);
    policy::allow(caller, target, &rights).unwrap()
}

/// One call from its coming to its answer; says how much was allocated for its turn.
async fn call(admission: &Admission, grant: &Grant, answer: Duration) -> u64 {
    let mut allocated = 0;
    let mut permit = None;
    let admit = admission.admit(grant, admission.arrive(), Instant::now(), Duration::from_secs(3));
    let mut admit = std::pin::pin!(admit);
    let mut poll = || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let std::task::Poll::Ready(turn) = admit.as_mut().poll(&mut context) {
            permit = Some(turn.unwrap());
        }
    };
    allocated += allocation_counter::measure(&mut poll).count_total;
    let mut permit = permit.expect("a turn at once");
    let sending = || {
        assert!(permit.confirm());
        permit.writing();
        permit.sent();
    };
    allocated += allocation_counter::measure(sending).count_total;
    tokio::time::advance(answer).await;
    allocated + allocation_counter::measure(|| permit.answered(Instant::now())).count_total
}

#[tokio::test(start_paused = true)]
async fn an_uncontended_turn_allocates_nothing() {
    let started = Instant::now();
    tokio::time::advance(Duration::from_secs(10)).await;
    let admission = Admission::new(settings(), Handle::current(), started);
    let grant = grant();
    let step = Duration::from_millis(5);
    // Until the books hold as much as they ever will: a token for each call of the longest period.
    let first = call(&admission, &grant, step).await;
    assert!(first > 0, "the first call makes the books");
    for _ in 0..13_000 {
        call(&admission, &grant, step).await;
        tokio::time::advance(step).await;
    }
    let mut allocated = 0;
    for _ in 0..1_000 {
        allocated += call(&admission, &grant, step).await;
        tokio::time::advance(step).await;
    }
    assert_eq!(allocated, 0, "in 1,000 calls");
    // A call that comes to nothing costs nothing either.
    let unsent = || {
        let mut admit =
            std::pin::pin!(admission.admit(&grant, admission.arrive(), Instant::now(), Duration::ZERO));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(admit.as_mut().poll(&mut context).is_ready());
    };
    assert_eq!(allocation_counter::measure(unsent).count_total, 0);
}
