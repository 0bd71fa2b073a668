//! The oldest Redis that is supported, and Valkey.

use std::path::PathBuf;
use std::time::Duration;

use crate::load::Stalls;
use crate::process::Serving;
use crate::python;
use crate::redis_server::RedisServer;
use crate::shared_ceiling::fleet::{Arrivals, LIMIT, Offers, have_met};
use crate::shared_ceiling::judged;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_6_2_and_valkey_do_as_well() {
    let output = python::script("redis_servers.py").output().unwrap();
    let programs = String::from_utf8(output.stdout).unwrap();
    let programs: Vec<PathBuf> = programs.lines().map(PathBuf::from).collect();
    let checked = |program: PathBuf, version: &'static str| async move {
        let server = RedisServer::of(program, &[]).await;
        let about: String = server.says("INFO server").await;
        assert!(about.lines().any(|line| line.starts_with(version)), "{about}");
        let arrivals = Arrivals::under(LIMIT).await;
        let url = format!("url = \"redis://{}\"", server.address());
        let gateways = [arrivals.serving(&url, &[]), arrivals.serving(&url, &[])];
        share_one_ceiling(&arrivals, &gateways).await;
    };
    let [old, valkey] = <[PathBuf; 2]>::try_from(programs).unwrap();
    tokio::join!(checked(old, "redis_version:6.2."), checked(valkey, "valkey_version:"));
}

/// These gateways share one ceiling: each is offered all of it.
async fn share_one_ceiling(arrivals: &Arrivals, gateways: &[Serving]) {
    have_met(gateways).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(arrivals);
    for gateway in gateways {
        offers.to(gateway, LIMIT, SPAN);
    }
    offers.end().await;
    let running = judged(&stalls.end().await);
    arrivals.assert_exact();
    let delivered = arrivals.delivered(1.5, SPAN.as_secs_f64());
    assert!(
        delivered >= 0.85 * running,
        "{delivered}, where there was time for {running}: {}",
        arrivals.timeline()
    );
}

const SPAN: Duration = Duration::from_secs(4);
