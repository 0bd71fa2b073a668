//! Grafana's dashboard: every query in it gives data, from a real Prometheus that scrapes a real gateway under load.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;
use tokio::task::JoinSet;
use usersig_gateway::config::settings::RedisSettings;
use usersig_gateway::gateway::admission::shared::{RedisAddress, RedisHost, RedisLogin, RedisPlace};
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::client::send;
use crate::prometheus::Prometheus;
use crate::redis_server::RedisServer;
use crate::world::{Builder, World, api, post};

const READ: &str = "live_config/get_callback";

/// Its ceiling is 10 a second.
const SLOW: &str = "live_engine_http_srv/get_room_list";

/// What Grafana puts in for a scrape every second: four times as much, and one more.
const RATE_INTERVAL: &str = "5s";

#[test]
fn it_is_whole() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(38), "that of Grafana 10");
    let variables: Vec<&str> = variables(&dashboard).collect();
    let panels = dashboard["panels"].as_array().unwrap();
    for (nth, panel) in panels.iter().enumerate() {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(panels.iter().filter(|other| other["id"] == panel["id"]).count(), 1, "{title}: its id");
        let overlaps = |other: &&Value| {
            let side = |panel: &Value, key: &str| panel["gridPos"][key].as_i64().unwrap();
            let apart = |at: &str, size: &str| {
                side(panel, at) >= side(other, at) + side(other, size)
                    || side(other, at) >= side(panel, at) + side(panel, size)
            };
            !apart("x", "w") && !apart("y", "h")
        };
        assert_eq!(panels[nth + 1..].iter().find(overlaps), None, "{title} lies over it");
    }
    for query in queries(&dashboard) {
        for word in query.split('$').skip(1) {
            let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let known = variables.contains(&&*name) || ["__rate_interval", "__range"].contains(&&*name);
            assert!(known, "${name} in {query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_gives_data_under_load() {
    let redis = RedisServer::start().await;
    let world = Arc::new(sharing_through(&redis).start().await);
    let ListenAddress::Tcp(admin) = *world.gateway().admin_address() else { panic!("a TCP address") };
    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(Arc::clone(&world), Arc::clone(&over)));
    let dashboard = dashboard();
    let asking = tokio::task::spawn_blocking(move || {
        let prometheus = Prometheus::scraping(admin);
        for query in queries(&dashboard) {
            prometheus.wait_for_data(&as_grafana_asks(&dashboard, query));
        }
        for query in variable_queries(&dashboard) {
            prometheus.wait_for_data(&as_grafana_asks(&dashboard, &query));
        }
    });
    asking.await.unwrap();
    over.store(true, Ordering::Relaxed);
    load.await.unwrap();
    Arc::into_inner(world).unwrap().end().await;
}

/// A gateway that shares its ceilings, with nobody so far.
fn sharing_through(redis: &RedisServer) -> Builder {
    let mut builder = Builder::new();
    let host = RedisHost { host: "127.0.0.1".into(), port: redis.port() };
    builder.boot.redis = Some(RedisSettings {
        address: RedisAddress {
            place: RedisPlace::Servers(vec![host]),
            database: 0,
            login: RedisLogin::default(),
            tls: None,
        },
        timeout: Duration::from_millis(100),
        max_replicas: NonZeroU32::MIN,
        absent_for: Duration::from_secs(60),
    });
    builder
}

/// Calls of every kind, until it is over: some wait, some get no turn, some are answered with an error, some are tried
/// again.
async fn load(world: Arc<World>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let fault = |code| Fault::new(Effect::Answer(ErrorCode(code))).on(api(READ));
        // Answers one call with an error that is repeated, and one with Tencent's word for too frequent.
        for code in [60008, 60018] {
            world.sandbox.control().inject(fault(code)).unwrap();
        }
        let mut calls = JoinSet::new();
        for nth in 0..40 {
            let (api, caller) = if nth % 4 == 0 { (READ, "billing") } else { (SLOW, "gifts") };
            let mut call = post(&format!("/v4/{api}"), "{}");
            call.headers_mut().insert("x-caller", HeaderValue::from_static(caller));
            let max_wait = HeaderValue::from_static(if nth % 3 == 0 { "0" } else { "2s" });
            call.headers_mut().insert("x-gateway-max-wait", max_wait);
            let host = world.host().to_owned();
            calls.spawn(async move { drop(send(&host, call).await) });
        }
        calls.join_all().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../../deploy/grafana/dashboard.json")).unwrap()
}

/// What the panels ask, panels inside of rows too.
fn queries(dashboard: &Value) -> Vec<&str> {
    let mut queries = Vec::new();
    let mut parts = vec![dashboard];
    while let Some(part) = parts.pop() {
        parts.extend(part["panels"].as_array().into_iter().flatten());
        let targets = part["targets"].as_array().into_iter().flatten();
        queries.extend(targets.map(|target| target["expr"].as_str().expect("a query")));
    }
    assert!(queries.len() > 30, "{}", queries.len());
    queries
}

/// What the variables' values come from: `label_values(METRIC, LABEL)`.
fn variable_queries(dashboard: &Value) -> Vec<String> {
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let queries = variables.filter_map(|variable| variable["query"]["query"].as_str());
    let queries = queries.map(|query| {
        let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (metric, label) = inside.rsplit_once(", ").unwrap();
        format!("count by ({label}) ({metric})")
    });
    queries.collect()
}

fn variables(dashboard: &Value) -> impl Iterator<Item = &str> {
    dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
}

/// With every variable at "All", as Grafana puts it in.
fn as_grafana_asks(dashboard: &Value, query: &str) -> String {
    let mut query = query.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1h");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(all) = variable["allValue"].as_str() {
            query = query.replace(&format!("${}", variable["name"].as_str().unwrap()), all);
        }
    }
    query
}
