//! What the process can be told to do. Who may is decided here; it is done elsewhere.
//!
//! A reload may be asked for from this machine, and from anywhere with the token. Ending the process takes the token
//! always, so without one it is off. Nothing that a browser sends is obeyed: a page that somebody has open must not
//! reach a sidecar on loopback (DNS rebinding).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::gateway::caller::from_browser;
use crate::model::secret::AdminToken;

/// Something to do.
#[derive(Debug)]
pub enum Command {
    /// Read the configuration anew, and tell how that went.
    Reload(oneshot::Sender<Reloaded>),
    /// End the process as SIGTERM does.
    Quit,
}

/// The keys that changed and take effect only after a restart, or what is wrong, a problem a line.
pub type Reloaded = Result<Vec<&'static str>, String>;

/// Whom commands are passed to, and who may give them.
#[derive(Debug, Clone)]
pub struct Orders {
    /// What gives the right, if anything does.
    pub token: Arc<ArcSwapOption<AdminToken>>,
    /// Who obeys.
    pub to: mpsc::Sender<Command>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Reload,
    Quit,
}

/// Status and text of an answer.
pub(super) type Told = (StatusCode, String);

impl Orders {
    /// Does what is asked for, if whoever asks may. `is_local`: the connection comes from this machine.
    pub(super) async fn obey(&self, order: Order, headers: &HeaderMap, is_local: bool) -> Told {
        if let Err(told) = self.check(order, headers, is_local) {
            return told;
        }
        // Nobody listens where there is nothing to reload, or while the process ends.
        let told = timeout(PATIENCE, self.pass_on(order)).await.ok().flatten();
        told.unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, "nobody is there to do it\n".to_owned()))
    }

    /// Hands the order on and waits for what comes of it; `None` when nobody takes it.
    async fn pass_on(&self, order: Order) -> Option<Told> {
        match order {
            Order::Reload => {
                let (answer, told) = oneshot::channel();
                self.to.send(Command::Reload(answer)).await.ok()?;
                told.await.ok().map(|result| reloaded(&result))
            }
            Order::Quit => {
                self.to.send(Command::Quit).await.ok()?;
                Some((StatusCode::ACCEPTED, "ending\n".to_owned()))
            }
        }
    }

    fn check(&self, order: Order, headers: &HeaderMap, is_local: bool) -> Result<(), Told> {
        let refuse = |status, text: &str| Err((status, format!("{text}\n")));
        if from_browser(headers) {
            return refuse(StatusCode::FORBIDDEN, "browsers are not obeyed");
        }
        let token = self.token.load();
        match (bearer(headers), token.as_deref()) {
            (Some(given), Some(token)) if token.is(given) => Ok(()),
            (Some(_), Some(_)) => refuse(StatusCode::UNAUTHORIZED, "this is not the token"),
            (_, Some(_)) if order == Order::Quit => refuse(StatusCode::UNAUTHORIZED, WANTED),
            (_, None) if order == Order::Quit => {
                refuse(StatusCode::FORBIDDEN, "this is off: set listen.admin_token_file to have it")
            }
            _ if is_local => Ok(()),
            (_, Some(_)) => refuse(StatusCode::UNAUTHORIZED, WANTED),
            (_, None) => refuse(
                StatusCode::FORBIDDEN,
                "this is for callers on the same machine: set listen.admin_token_file to have it from elsewhere",
            ),
        }
    }
}

fn reloaded(result: &Reloaded) -> Told {
    match result {
        Ok(after_restart) => {
            let lines = after_restart.iter().map(|key| format!("{key} takes effect only after a restart\n"));
            (StatusCode::OK, "reloaded\n".to_owned() + &lines.collect::<String>())
        }
        Err(problems) => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("not taken, nothing has changed:\n{problems}\n"))
        }
    }
}

/// RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// Reading a configuration of a thousand apps takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

const WANTED: &str = "wanted `authorization: Bearer`, and the token of listen.admin_token_file";
