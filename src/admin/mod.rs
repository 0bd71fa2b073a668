//! The admin listener: health, metrics and status, and two commands.
//!
//! | route | answer |
//! | --- | --- |
//! | `GET /metrics` | everything for Prometheus, text format 0.0.4 |
//! | `GET /livez` | 200 as long as the process answers at all |
//! | `GET /readyz` | 200 when calls can be served, else 503 with a reason a line |
//! | `GET /startupz` | 200 once the process has started |
//! | `GET /status.json` | whether all is well; apps, APIs, callers and the last errors |
//! | `GET /` | the same as a page for people |
//! | `POST /-/reload` | reads the configuration anew: 200, or 422 with its problems |
//! | `POST /-/quit` | begins to end the process, as SIGTERM does: 202 |
//!
//! [`serve`] takes a listener that is bound already and answers on it until the process is killed, so that a drain can
//! be watched to its end. None of the answers to `GET` waits for anything: what they show is in memory, and neither
//! Tencent nor a shared store is asked. What can go wrong is a client that is slow or too many: their number, the size
//! and time of their headers, and the life of a connection have bounds, and request bodies are not read.

mod commands;
mod findings;
mod page;
mod readiness;
mod routes;
mod server;
mod status;

use std::fmt;
use std::sync::Arc;

use crate::telemetry::metrics::Metrics;

pub use self::commands::{Command, Orders, Reloaded};
pub use self::findings::{Finding, Level};
pub use self::readiness::{Readiness, ReadinessState};
pub use self::server::{Listener, serve};
pub use self::status::{
    ApiStatus, AppStatus, CallerStatus, CeilingStatus, CodeStatus, ConfigStatus, EndpointStatus, ErrorStatus,
    LoadStatus, Status, StoreMode, StoreStatus, TrippedApp,
};

/// What the answers are made of.
#[derive(Clone)]
pub struct State {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether calls can be served.
    pub readiness: Readiness,
    /// Tells the present status. It is called for each request and should not wait.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// Whom it may pass commands to.
    pub orders: Orders,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
