//! `demo`: gateway and sandbox in one process, for a first look.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Failure;
use super::serve::{Signals, log_panics};
use crate::admin::Command;
use crate::app::App as RunningApp;
use crate::clock::{SystemClock, WallClock};
use crate::config::settings::{Boot, Settings};
use crate::gateway;
use crate::gateway::target::{App, Apps, Endpoints};
use crate::model::app::{Identifier, SdkAppId};
use crate::model::secret::SecretKey;
use crate::net::listener::ListenAddress;
use crate::sandbox::{self, Sandbox, SandboxApp};
use crate::telemetry::logs;

/// Run gateway and sandbox in one process: nothing to configure, no network
///
/// The sandbox stands in for Tencent, over TLS, with one made-up app. Prints calls to try.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the gateway listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,
    /// Where the admin routes are
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Where the sandbox listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18080")]
    sandbox: SocketAddr,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let _flush = logs::init(logs::Settings::default()).map_err(|error| Failure::new(error.to_string()))?;
    log_panics();
    // The sandbox runs beside the gateway, as Tencent's servers do.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let key = made_up_key();
        let sandbox = start_sandbox(args.sandbox, key.clone()).await?;
        let settings = settings(args, key, &sandbox)?;
        let drain = settings.boot.drain;
        let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
        let mut gateway = RunningApp::start(settings, &clock).map_err(|error| Failure::new(error.to_string()))?;
        introduce(&gateway, &sandbox, out)?;
        let drain = loop {
            tokio::select! {
                drain = signals.drain(drain) => break drain,
                command = gateway.command() => match command {
                    // Whoever asked may have left.
                    Command::Reload(told) => _ = told.send(Err("the demo has no file to read anew".to_owned())),
                    Command::Quit => break drain,
                },
            }
        };
        tokio::select! {
            _ = gateway.drain(drain) => {}
            _ = signals.drain(drain) => {}
        }
        sandbox.stop().await;
        Ok(())
    })
}

async fn start_sandbox(listen: SocketAddr, key: SecretKey) -> Result<Sandbox, Failure> {
    let settings = sandbox::Settings {
        listen,
        tls: true,
        apps: vec![SandboxApp::new(sdkappid(), vec![key])],
        ..sandbox::Settings::default()
    };
    Sandbox::start(settings, Arc::new(SystemClock))
        .await
        .map_err(|error| Failure::new(format!("cannot listen on {listen} for the sandbox: {error}")))
}

fn settings(args: &Args, key: SecretKey, sandbox: &Sandbox) -> Result<Settings, Failure> {
    let wrong =
        |error: &dyn std::error::Error| Failure::new(format!("the sandbox cannot be called: {error}"));
    let authority = CertificateDer::from_pem_slice(sandbox.ca_pem().unwrap_or_default().as_bytes());
    let endpoint = sandbox.url().parse().map_err(|error| wrong(&error))?;
    let app = App {
        name: "demo".parse().map_err(|error| wrong(&error))?,
        sdkappid: sdkappid(),
        identifier: "administrator".parse::<Identifier>().map_err(|error| wrong(&error))?,
        keys: vec![key],
        region: None,
        endpoints: Endpoints::private(vec![endpoint]),
        extra_roots: vec![authority.map_err(|error| wrong(&error))?].into(),
        index: Default::default(),
        counted: Default::default(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).map_err(|error| wrong(&error))?;
    let boot = Boot {
        gateway: ListenAddress::Tcp(args.gateway),
        admin: ListenAddress::Tcp(args.admin),
        ..Boot::default()
    };
    Ok(Settings { boot, live: gateway::Settings::of(apps) })
}

fn introduce(gateway: &RunningApp, sandbox: &Sandbox, out: &mut impl Write) -> Result<(), Failure> {
    let (url, admin) = (gateway.gateway_address(), gateway.admin_address());
    writeln!(
        out,
        "\
gateway   http://{url}
admin     http://{admin}/
sandbox   {sandbox} (stands in for Tencent)

A call that succeeds:
  curl -i -d '{{}}' http://{url}/v4/live_config/delete_callback_token

A call that Tencent refuses, here with 100302, no webhook token configured:
  curl -i -d '{{}}' http://{url}/v4/live_config/get_callback_token

Fifty calls at once to an API whose ceiling is 10 a second. They take turns; those whose turn would come too late are
refused at once with 429:
  curl -s -Z --parallel-immediate -o /dev/null -w '%{{http_code}} after %{{time_total}} s\\n' -d '{{}}' \
'http://{url}/v4/live_engine_http_srv/get_room_list?call=[1-50]'

Ctrl-C ends it.",
        sandbox = sandbox.url()
    )?;
    out.flush()?;
    Ok(())
}

fn sdkappid() -> SdkAppId {
    SdkAppId::try_from(DEMO_SDKAPPID).expect("the constant is a positive 32-bit number")
}

/// A key for this run only.
fn made_up_key() -> SecretKey {
    let text = format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
    SecretKey::new(&text).expect("hexadecimal digits are visible ASCII")
}

const DEMO_SDKAPPID: u64 = 1_400_000_001;
