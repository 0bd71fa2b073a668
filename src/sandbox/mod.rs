//! A stand-in for one region of Tencent's REST API, for the demo, for users' own tests and for ours.
//!
//! Connections come in over plain TCP or TLS with an authority of its own ([`tls`], [`serve`]), HTTP/1.1 or HTTP/2.
//! A call's head is stamped and entered in the books ([`ledger`]); its parameters and its UserSig are checked by code
//! that shares nothing with the gateway's ([`auth`], [`usersig`]); the documented ceilings are kept ([`quota`]); then
//! its body is read and it is carried out on what state the sandbox keeps ([`api`]) and answered in the documented
//! shape of its family ([`shape`]), always with HTTP status 200. Whoever holds the [`Control`], or sends to
//! `/sandbox/…` ([`desk`]), asks for faults ([`faults`]) and reads what was seen ([`report`]).
//!
//! Where Tencent's pages leave something open, the file that decides it says so. All memory has a bound: connections,
//! calls at once, bodies, state, faults and the log.
//!
//! ```
//! use std::sync::Arc;
//! use usersig_gateway::clock::SystemClock;
//! use usersig_gateway::model::{app::SdkAppId, error_code::ErrorCode, secret::SecretKey};
//! use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let app = SandboxApp::new(SdkAppId::try_from(1400000001)?, vec![SecretKey::new("made-up")?]);
//! let settings = Settings { apps: vec![app], ..Settings::default() };
//! let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await?;
//! // The next three calls of any API will be told that they come too often.
//! sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(60007))).times(3))?;
//! println!("send calls to {}", sandbox.url());
//! assert_eq!(sandbox.control().report().arrived, 0);
//! sandbox.stop().await;
//! # Ok(())
//! # })
//! # }
//! ```

mod tls;

mod serve;
mod socket;
mod tasks;

mod body;
mod call;

pub(crate) mod auth;
pub(crate) mod usersig;

mod api;
mod codes;

mod answer;
mod shape;

mod control;
mod core;
mod desk;
mod faults;
mod ledger;
mod quota;
mod report;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;

pub use self::auth::{AuthParameters, SandboxApp};
pub use self::control::Control;
pub use self::faults::{BadDelay, Delay, Effect, Fault, TooManyFaults};
pub use self::quota::Ceilings;
pub use self::report::{AppReport, Call, Report, Seen, Verdict};
use crate::clock::WallClock;

/// What a sandbox is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether it speaks TLS, with a certificate of its own authority.
    pub tls: bool,
    /// The apps that live in it.
    pub apps: Vec<SandboxApp>,
    /// How many calls a second it takes.
    pub ceilings: Ceilings,
    /// What counts below a ceiling: every call that arrives, or only those that passed the checks and found a place.
    /// No page says which it is in truth.
    pub count_refused: bool,
    /// How many calls the log remembers.
    pub log_calls: usize,
    /// Where delays and RequestIds start from; the same seed repeats them.
    pub seed: u64,
}

impl Default for Settings {
    /// Plain HTTP on a free port of 127.0.0.1, no apps, the documented ceilings, refused calls not counted, the last
    /// 10,000 calls remembered.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            apps: Vec::new(),
            ceilings: Ceilings::default(),
            count_refused: false,
            log_calls: 10_000,
            seed: 0,
        }
    }
}

/// A running sandbox. It ends with [`Sandbox::stop`], or without waiting when it is dropped.
pub struct Sandbox {
    address: SocketAddr,
    ca_pem: Option<String>,
    core: Arc<core::Core>,
    control: Control,
}

impl Sandbox {
    /// Starts a sandbox on the ambient tokio runtime; it is bound when this returns.
    ///
    /// # Errors
    /// When the address cannot be bound, or no certificate can be made.
    pub async fn start(settings: Settings, clock: Arc<dyn WallClock>) -> io::Result<Self> {
        let (acceptor, ca_pem) = match settings.tls {
            true => tls::make().map(|tls| (Some(tls.acceptor), Some(tls.ca_pem)))?,
            false => (None, None),
        };
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let core = Arc::new(core::Core::new(&settings, clock));
        core.tasks.spawn(serve::accept(Arc::clone(&core), listener, acceptor));
        let control = Control::new(Arc::clone(&core));
        Ok(Self { address, ca_pem, core, control })
    }

    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to which calls are sent, such as `https://127.0.0.1:18443`. A sandbox that listens on every address
    /// is named by its loopback address.
    #[must_use]
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// With TLS: the certificate that a client must trust, in PEM. The sandbox's own is good for `localhost`,
    /// `127.0.0.1` and `::1`.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Faults and reports.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Closes the listener and every connection, and waits until all tasks are gone.
    pub async fn stop(self) {
        self.core.tasks.stop().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.core.tasks.abort();
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
