//! `healthcheck` and `wait`: ask a running gateway's admin listener whether it is ready.
//!
//! Both read `/readyz`: 200 means ready, anything else not, with the reasons in its body. `healthcheck` asks once,
//! for a container's health check; `wait` asks again and again until the time is up, for scripts.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use super::Failure;
use super::exchange::{Server, block_on, exchange, printable};
use crate::model::duration;

/// Exit 0 when the gateway is ready now
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: usersig-gateway healthcheck --admin http://127.0.0.1:9901")]
pub(super) struct HealthcheckArgs {
    /// Where the admin listener is: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: Server,
}

/// Wait until the gateway is ready: exit 0 once it is, 1 when the time is up
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: usersig-gateway wait --timeout 10s && usersig-gateway call live_config/get_callback"
)]
pub(super) struct WaitArgs {
    /// Where the admin listener is: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: Server,

    /// The longest wait
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
}

pub(super) fn healthcheck(args: &HealthcheckArgs, out: &mut impl Write) -> Result<(), Failure> {
    block_on(ready(&args.admin, LONGEST_ANSWER_TIME))?.map_err(Failure::new)?;
    Ok(writeln!(out, "ready")?)
}

pub(super) fn wait(args: &WaitArgs, out: &mut impl Write) -> Result<(), Failure> {
    block_on(ready_within(&args.admin, args.timeout))?.map_err(|reason| {
        Failure::new(format!("not ready within {}: {reason}", duration::format(args.timeout)))
    })?;
    Ok(writeln!(out, "ready")?)
}

/// Asks until the answer is yes; when the time is up, the newest reason. Asks at least once.
async fn ready_within(admin: &Server, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        // At the deadline's edge a listener that is there still gets time to answer.
        let reason = match ready(admin, time_left.clamp(SHORTEST_ANSWER_TIME, LONGEST_ANSWER_TIME)).await {
            Ok(()) => return Ok(()),
            Err(reason) => reason,
        };
        if Instant::now() + BETWEEN_QUESTIONS > deadline {
            return Err(reason);
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
}

/// Asks once; when the answer is no or none comes, the reason.
async fn ready(admin: &Server, timeout: Duration) -> Result<(), String> {
    let request =
        Request::get("/readyz").body(Full::new(Bytes::new())).expect("a constant request is well-formed");
    let answer = exchange(admin, request, timeout).await.map_err(|error| error.to_string())?;
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    let reasons = printable(&String::from_utf8_lossy(&answer.body));
    Err(format!("{admin}/readyz answered {}: {reasons}", answer.status))
}

const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

/// How long one answer may take, however little time is left for the whole.
const SHORTEST_ANSWER_TIME: Duration = Duration::from_secs(1);

/// How long one answer may take, however much is left: `/readyz` asks nobody else.
const LONGEST_ANSWER_TIME: Duration = Duration::from_secs(5);
