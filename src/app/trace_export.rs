//! Sends the spans of calls that have ended to a collector, over OTLP/HTTP with JSON.
//!
//! It has a thread and an event loop of its own: writing JSON for hundreds of calls must not hold up whoever hands out
//! turns. Spans are gathered for a second and sent together, on a connection that stays open. What a collector does not
//! take within some seconds, or refuses, is counted and forgotten; meanwhile the bounded queue takes what comes.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::runtime::LocalRuntime;
use tokio::sync::watch;

use tokio::time::{Instant, sleep, timeout};

use crate::model::collector::Collector;
use crate::net::body::read_capped;
use crate::net::client::{Client, Departure, FixedHeaders, Post, Roots, Settings};
use crate::telemetry::events::TracesNotTaken;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Queue, Span, otlp};

/// A running exporter. Dropped, it sends what is left, but for a second at most, and ends.
#[derive(Debug)]
pub(super) struct Exporter {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Exporter {
    pub(super) fn start(collector: Collector, queue: Queue, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            let runtime = match LocalRuntime::new() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "the exporter of traces cannot start its event loop");
                    return;
                }
            };
            let exporting = Exporting { collector, metrics, client: Client::new(), warned: None };
            runtime.block_on(exporting.run(queue, stopped));
            // An address look-up may still be under way on a thread of its own; nobody waits for it any more.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so in the log already.
            _ = thread.join();
        }
    }
}

struct Exporting {
    collector: Collector,
    metrics: Arc<Metrics>,
    client: Client,
    /// When it was last told that the collector does not take them.
    warned: Option<Instant>,
}

impl Exporting {
    async fn run(mut self, mut queue: Queue, mut stopped: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        let mut goes_on = true;
        while goes_on {
            tokio::select! {
                () = gather(&mut queue, &mut batch) => goes_on = !(queue.is_closed() && queue.is_empty()),
                () = told(&mut stopped) => {
                    goes_on = false;
                    queue.close();
                    while let Ok(spans) = queue.try_recv() {
                        batch.extend(spans);
                    }
                }
            }
            if !batch.is_empty() {
                tokio::select! {
                    biased;
                    result = self.send(&batch) => self.tell(batch.len() as u64, result),
                    () = async { told(&mut stopped).await; sleep(LAST).await } => {
                        self.tell(batch.len() as u64, Err("the gateway has ended".to_owned()));
                        return;
                    }
                }
                batch.clear();
            }
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), String> {
        let body = otlp::request(batch.iter(), env!("CARGO_PKG_VERSION")).into();
        match timeout(PATIENCE, self.post(body)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it answers {status}")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }

    async fn post(&self, body: Bytes) -> Result<StatusCode, String> {
        let settings = Settings { connect_timeout: PATIENCE, egress_proxy: None };
        let endpoint = self.collector.endpoint();
        let connecting = self.client.connection(endpoint, &Roots::default(), &settings, Instant::now()).await;
        let connection = connecting.map_err(|error| error.to_string())?;
        let post = Post {
            target: self.collector.path(),
            host: endpoint.authority(),
            fixed: &FixedHeaders::default(),
            headers: &[("content-type", Some(otlp::CONTENT_TYPE.as_bytes()))],
            body: &body,
            answered_by: Instant::now() + PATIENCE,
        };
        let response = connection.send(post, Rc::new(Leaving)).await.map_err(|error| error.to_string())?;
        // Read to its end, so that the connection serves the next batch too.
        read_capped(response.answer, LONGEST_ANSWER).await.map_err(|_| "its answer breaks off".to_owned())?;
        Ok(response.status)
    }

    fn tell(&mut self, spans: u64, result: Result<(), String>) {
        match result {
            Ok(()) => self.metrics.spans("exported", spans),
            Err(error) => {
                self.metrics.spans("failed", spans);
                if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                    self.warned = Some(Instant::now());
                    TracesNotTaken { collector: &self.collector, error: &error }.emit();
                }
            }
        }
    }
}

/// Waits for spans, then a moment for more.
///
/// Cancel-safe: what was taken out of the queue is in the batch.
async fn gather(queue: &mut Queue, batch: &mut Vec<Span>) {
    let Some(spans) = queue.recv().await else { return };
    batch.extend(spans);
    let more = async {
        while batch.len() < MOST_SPANS
            && let Some(spans) = queue.recv().await
        {
            batch.extend(spans);
        }
    };
    // Whether the time is up or the batch is full.
    _ = timeout(LINGER, more).await;
}

/// Waits until it is to end.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone.
    _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Nobody asks how far a batch came.
struct Leaving;

impl Departure for Leaving {
    fn writing(&self) {}

    fn sent(&self) {}

    fn answered(&self, _now: Instant) {}
}

/// From so many spans on, a batch waits for no more.
const MOST_SPANS: usize = 2_048;
/// How long a batch waits for more.
const LINGER: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end waits for the last batch.
const LAST: Duration = Duration::from_secs(1);
const WARN_EVERY: Duration = Duration::from_secs(60);
const LONGEST_ANSWER: usize = 64 * 1024;
