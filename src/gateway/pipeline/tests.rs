//! What happens to a call in which the gateway itself fails.

use http::StatusCode;
use http_body::Frame;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::clock::ManualClock;
use crate::gateway::credentials::{KeySigner, Parts};
use crate::gateway::target::{App, Apps, Endpoints};
use crate::model::endpoint::Endpoint;

/// Stands for a bug: nothing that a caller sends makes the gateway panic.
struct Bug;

impl Body for Bug {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        panic!("a bug");
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_call_a_500_and_is_recorded() {
    let gateway = gateway();
    let request = Request::post("/v4/live_config/get_callback")
        .header("host", "x")
        .header("x-request-id", "mine")
        .body(Bug)
        .unwrap();
    let answer = LocalSet::new().run_until(gateway.handle(request, Peer::Uid(None).into())).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers()["x-request-id"], "mine");
    let body = body::read_capped(answer.into_body(), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["ErrorCode"], 9_900_500);
    assert_eq!(gateway.shared.in_flight.now(), 0, "its place is free again");
    let metrics = gateway.shared.metrics.encode();
    let counted =
        r#"api="live_config/get_callback",app="live",caller="none",error_code="9900500",outcome="fault"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

fn gateway() -> Gateway {
    let app = App {
        name: "live".parse().unwrap(),
        sdkappid: "1400000001".parse().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: Vec::new(),
        region: None,
        endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
        extra_roots: Vec::new(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).unwrap();
    let live = Settings::of(apps);
    let clock = Arc::new(ManualClock::at_unix(1_700_000_000));
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::<ManualClock>::clone(&clock),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let metrics = Metrics::new("1");
    Gateway::new(Arc::new(Shared {
        trips: Trips::new(&live.apps, Arc::clone(&metrics)),
        health: Health::new(&live.apps, clock, Arc::clone(&metrics)),
        budgets: Budgets::default(),
        credentials: Arc::new(Credentials::new(live.usersig, &live.apps, parts)),
        admission: Admission::new(live.ceiling.clone(), tokio::runtime::Handle::current(), Instant::now()),
        live: ArcSwap::from_pointee(live),
        apis: Apis::new(),
        metrics,
        limits: Limits::default(),
        in_flight: Arc::new(InFlight::at_most(1)),
    }))
}
