//! What the log says of ceilings.

use std::io;
use std::num::NonZeroU32;
use std::sync::Mutex;

use serde_json::{Value, json};
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

use super::super::{ApiCeiling, Throttle};
use super::gate::{A, API, Gate, LONG, gate};
use super::*;

/// What this thread logs.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn begin(level: tracing::Level) -> (Self, (DefaultGuard, Dispatch)) {
        let log = Self::default();
        let writer = log.clone();
        let builder = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
        let subscriber = builder.with_writer(move || writer.clone()).finish();
        // While there is one subscriber only, what tests log on threads without it is taken for what nobody wants to see.
        let another = Dispatch::new(tracing::subscriber::NoSubscriber::new());
        (log, (tracing::subscriber::set_default(subscriber), another))
    }

    /// What was told since it was last asked: these fields of each event.
    pub(super) fn told(&self, fields: &[&str]) -> Vec<Value> {
        let written = std::mem::take(&mut *self.0.lock().unwrap());
        let events = String::from_utf8(written).unwrap();
        let events = events.lines().map(|event| serde_json::from_str::<Value>(event).unwrap());
        events.map(|event| fields.iter().map(|&field| event[field].clone()).collect()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The gateway keeps house for so long.
async fn keep_house(gate: &Gate, span: Duration) {
    tokio::time::timeout(span, gate.admission.keep_house()).await.expect_err("it does so for ever");
}

const NEARLY_USED: [&str; 8] = ["level", "message", "app", "api", "period", "limit", "used", "waiting"];

fn nearly_used(api: &str, period: &str, limit: u32, used: u32, waiting: usize) -> Value {
    json!(["WARN", "a ceiling is nearly used up", "live", api, period, limit, used, waiting])
}

#[tokio::test(start_paused = true)]
async fn a_days_calls_are_warned_of_once_a_day() {
    let (log, _log) = Log::begin(tracing::Level::WARN);
    let gate = gate(1, |settings| {
        let periods = vec![a_second(1000), ceiling(100, 24 * 3600)];
        settings.api.insert(API.parse().unwrap(), ApiCeiling::Periods(periods));
    })
    .await;
    for _ in 0..79 {
        gate.send(A, API).await;
    }
    keep_house(&gate, LONG).await;
    assert_eq!(log.told(&NEARLY_USED), Vec::<Value>::new());
    gate.send(A, API).await;
    keep_house(&gate, LONG * 60).await;
    assert_eq!(log.told(&NEARLY_USED), [nearly_used(API, "1d", 100, 80, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_seconds_calls_are_warned_of_once_a_minute() {
    let (log, _log) = Log::begin(tracing::Level::WARN);
    let gate = gate(10, |settings| settings.app_per_second = NonZeroU32::new(100)).await;
    // For nearly a minute all tokens are away, and calls wait.
    let _flood = gate.queue(&[(A, API, "flood"); 590]).await;
    keep_house(&gate, ms(50_000)).await;
    let told = log.told(&["api", "period", "limit"]);
    assert_eq!(told, [json!([API, "1s", 10])], "of the API alone, and once");
}

#[tokio::test(start_paused = true)]
async fn of_few_tokens_it_is_only_told_where_calls_wait() {
    let (log, _log) = Log::begin(tracing::Level::WARN);
    let gate = gate(3, |_| ()).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(gate.admit(A, API, LONG).await.unwrap());
    }
    keep_house(&gate, ms(1500)).await;
    assert_eq!(log.told(&NEARLY_USED), Vec::<Value>::new());
    let _waits = gate.queue(&[(A, API, "waits")]).await;
    keep_house(&gate, ms(1500)).await;
    assert_eq!(log.told(&NEARLY_USED), [nearly_used(API, "1s", 3, 3, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_told_with_before_and_after() {
    let (log, _log) = Log::begin(tracing::Level::WARN);
    let gate = gate(200, |_| ()).await;
    for _ in 0..100 {
        gate.send(A, API).await;
    }
    let cut = |throttle| assert!(gate.admission.throttled(&gate.grant(A, API), throttle));
    let fields = ["level", "message", "app", "api", "before", "after"];
    let told = "Tencent said too frequent: the ceiling is lowered";
    for _ in 0..3 {
        cut(Throttle::Api);
    }
    assert_eq!(log.told(&fields), [json!(["WARN", told, "live", API, 200.0, 85.0])], "one a second");
    cut(Throttle::App);
    assert_eq!(log.told(&fields), [json!(["WARN", told, "live", "*", 100.0, 70.0])]);
    cut(Throttle::Pause);
    assert_eq!(log.told(&fields), Vec::<Value>::new(), "a rest is no cut");
}
