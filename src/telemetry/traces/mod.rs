//! Traces: what one call spent its time with, for a collector that takes OpenTelemetry's protocol.
//!
//! [`Traces::begin`] looks at a call's `traceparent` and decides whether it is sampled: as its caller decided, else by
//! chance. A call that is has a [`Trace`], which collects its spans: the call itself, each wait for a turn, each signing,
//! and each try at a host. It belongs to the call's task, so no lock is taken. When the call ends, its spans go into a
//! queue that is bounded in calls; if that is full, because the collector is slow or gone, they are dropped and counted.
//! Nothing waits for a collector, ever. Whoever empties the queue and sends is no part of this.
//!
//! Spans are made of names that were checked, never of a URL, a header or a body.

mod context;
pub mod otlp;
mod trace;

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use crate::clock::WallClock;
use crate::model::collector::Collector;
use crate::telemetry::metrics::Metrics;

pub use context::{SpanId, TraceId, TraceParent};
pub use trace::{Ended, Kind, Span, Trace, Try, Value};

/// Traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where they go; `None`: there are none.
    pub collector: Option<Collector>,
    /// The share of calls that are sampled where the caller has not decided: 0.0 none, 1.0 all.
    pub sample: f64,
    /// Whether `traceparent` is sent on to Tencent.
    pub propagate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { collector: None, sample: 1.0, propagate: false }
    }
}

/// Begins traces. Shared by all workers.
#[derive(Debug)]
pub struct Traces {
    sample: f64,
    propagate: bool,
    /// The scheme in which callers call.
    scheme: &'static str,
    clock: Arc<dyn WallClock>,
    metrics: Arc<Metrics>,
    queue: Sender<Vec<Span>>,
}

/// The spans of calls that have ended, for whoever sends them.
pub type Queue = Receiver<Vec<Span>>;

impl Traces {
    /// With the other end of the queue. `tls`: whether callers speak TLS.
    #[must_use]
    pub fn new(
        settings: &Settings,
        tls: bool,
        clock: Arc<dyn WallClock>,
        metrics: Arc<Metrics>,
    ) -> (Self, Queue) {
        let (queue, spans) = channel(MOST_QUEUED);
        let scheme = if tls { "https" } else { "http" };
        (
            Self { sample: settings.sample, propagate: settings.propagate, scheme, clock, metrics, queue },
            spans,
        )
    }

    /// A call comes in with these headers.
    #[must_use]
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap, began: Instant) -> Box<Trace> {
        let parent = TraceParent::of(headers);
        let sampled = parent.map_or_else(|| self.by_chance(), |parent| parent.sampled);
        Box::new(Trace::begin(Arc::clone(self), parent, sampled, began))
    }

    fn by_chance(&self) -> bool {
        match self.sample {
            share if share >= 1.0 => true,
            share if share <= 0.0 => false,
            share => fastrand::f64() < share,
        }
    }

    fn end(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.queue.try_send(spans).is_err() {
            self.metrics.spans("dropped", count);
        }
    }
}

/// The most calls whose spans wait to be sent: some megabytes of memory.
const MOST_QUEUED: usize = 2_048;

#[cfg(test)]
mod tests;
