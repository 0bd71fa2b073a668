//! `sandbox`: the stand-in for a Tencent region, alone.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::clock::SystemClock;
use crate::model::api::ApiName;
use crate::model::app::{Identifier, SdkAppId};
use crate::model::secret::SecretKey;
use crate::sandbox::{Ceilings, Sandbox, SandboxApp, Settings};

/// Run the stand-in for a Tencent region
///
/// It takes faults on POST /sandbox/faults and tells what it saw on GET /sandbox/report.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18080")]
    listen: SocketAddr,
    /// Speak TLS, with a certificate of an authority made for this run
    #[arg(long)]
    tls: bool,
    /// Write that authority's certificate to this file; implies --tls
    #[arg(long, value_name = "CA.pem")]
    tls_out: Option<PathBuf>,
    /// An app that lives in the sandbox, with the file that holds its secret key: one key a line
    #[arg(long = "app", value_name = "SDKAPPID=KEYFILE")]
    apps: Vec<AppArgument>,
    /// An account that may call the REST API of every app; "administrator" unless given
    #[arg(long = "administrator", value_name = "ID")]
    administrators: Vec<Identifier>,
    /// Let refused calls count below a ceiling too
    #[arg(long)]
    count_refused: bool,
    /// A ceiling that replaces the documented one, in calls a second
    #[arg(long = "ceiling", value_name = "SERVICE/COMMAND=N")]
    ceilings: Vec<CeilingArgument>,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let settings = settings(args)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let listen = settings.listen;
        let sandbox = Sandbox::start(settings, Arc::new(SystemClock))
            .await
            .map_err(|error| Failure::new(format!("cannot listen on {listen}: {error}")))?;
        if let (Some(path), Some(pem)) = (&args.tls_out, sandbox.ca_pem()) {
            fs::write(path, pem)
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        writeln!(out, "{}", sandbox.url())?;
        out.flush()?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sandbox.stop().await;
        Ok(())
    })
}

fn settings(args: &Args) -> Result<Settings, Failure> {
    if args.apps.is_empty() {
        return Err(Failure::bad_input(
            "the sandbox has no app to stand in for: pass --app SDKAPPID=KEYFILE, \
             such as --app 1400000001=live.key, where the file holds a made-up secret key",
        ));
    }
    let mut apps: Vec<SandboxApp> = Vec::new();
    for AppArgument { sdkappid, key_file } in &args.apps {
        if apps.iter().any(|known| known.sdkappid == *sdkappid) {
            return Err(Failure::bad_input(format!("--app {sdkappid} is given twice")));
        }
        let mut app = SandboxApp::new(*sdkappid, keys(key_file)?);
        if !args.administrators.is_empty() {
            app.administrators.clone_from(&args.administrators);
        }
        apps.push(app);
    }
    let per_api = args.ceilings.iter().map(|ceiling| (ceiling.api.clone(), ceiling.per_second)).collect();
    Ok(Settings {
        listen: args.listen,
        tls: args.tls || args.tls_out.is_some(),
        apps,
        ceilings: Ceilings { per_api, ..Ceilings::default() },
        count_refused: args.count_refused,
        ..Settings::default()
    })
}

/// The keys in a file, one a line. No error quotes what stands in it.
fn keys(path: &Path) -> Result<Vec<SecretKey>, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::bad_input(format!("cannot read the key file {shown}: {error}")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let keys: Vec<SecretKey> = lines
        .map(|(index, line)| {
            SecretKey::new(line)
                .map_err(|error| Failure::bad_input(format!("{shown}, line {}: {error}", index + 1)))
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Failure::bad_input(format!("the key file {shown} holds no key")));
    }
    Ok(keys)
}

/// `SDKAPPID=KEYFILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AppArgument {
    sdkappid: SdkAppId,
    key_file: PathBuf,
}

impl FromStr for AppArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((sdkappid, key_file)) if !key_file.is_empty() => Ok(Self {
                sdkappid: sdkappid.parse().map_err(|error| format!("{error}"))?,
                key_file: key_file.into(),
            }),
            _ => Err("an app is written SDKAPPID=KEYFILE, such as 1400000001=live.key".to_owned()),
        }
    }
}

/// `service/command=N`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CeilingArgument {
    api: ApiName,
    per_second: u32,
}

impl FromStr for CeilingArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "a ceiling is written service/command=N, such as openim/sendmsg=200".to_owned();
        let (api, per_second) = text.split_once('=').ok_or_else(wanted)?;
        Ok(Self {
            api: api.parse().map_err(|error| format!("{error}"))?,
            per_second: per_second.parse().map_err(|_| wanted())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(arguments: &[&str]) -> Args {
        Line::try_parse_from(["sandbox"].iter().chain(arguments)).unwrap().args
    }

    fn key_file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn arguments_become_settings() {
        let file = key_file("FAKE1\n\nFAKE2\n");
        let app = format!("1400000001={}", file.path().display());
        let args = parsed(&[
            "--app",
            &app,
            "--administrator",
            "anna",
            "--administrator",
            "ben",
            "--tls-out",
            "ca.pem",
            "--ceiling",
            "openim/sendmsg=3",
            "--count-refused",
        ]);
        let settings = settings(&args).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:18080".parse().unwrap());
        assert!(settings.tls && settings.count_refused);
        assert_eq!(settings.ceilings.of(&"openim/sendmsg".parse().unwrap()), 3);
        let [app] = &settings.apps[..] else { panic!("one app") };
        assert_eq!(app.sdkappid.number(), 1_400_000_001);
        assert_eq!(app.keys, ["FAKE1", "FAKE2"].map(|key| SecretKey::new(key).unwrap()));
        assert_eq!(app.administrators.iter().map(Identifier::as_str).collect::<Vec<_>>(), ["anna", "ben"]);
    }

    #[test]
    fn without_an_app_it_says_what_to_pass() {
        let failure = settings(&parsed(&[])).unwrap_err();
        assert_eq!(failure.status, 2);
        assert!(failure.message.contains("--app SDKAPPID=KEYFILE"), "{}", failure.message);
    }

    #[test]
    fn a_bad_key_file_is_named_and_never_quoted() {
        for (text, said) in [("", "holds no key"), ("FAKE1\nFAKE 2\n", "line 2")] {
            let file = key_file(text);
            let path = file.path().display().to_string();
            let failure = settings(&parsed(&["--app", &format!("1={path}")])).unwrap_err();
            assert!(failure.message.contains(said) && failure.message.contains(&path), "{}", failure.message);
            assert!(!failure.message.contains("FAKE"), "{}", failure.message);
        }
        let failure = settings(&parsed(&["--app", "1=/nowhere/at/all"])).unwrap_err();
        assert!(failure.message.contains("/nowhere/at/all"), "{}", failure.message);
    }

    #[test]
    fn the_same_app_twice_is_refused() {
        let file = key_file("FAKE1");
        let app = format!("1={}", file.path().display());
        let failure = settings(&parsed(&["--app", &app, "--app", &app])).unwrap_err();
        assert_eq!((failure.status, failure.message.as_str()), (2, "--app 1 is given twice"));
    }

    #[test]
    fn bad_arguments_say_what_is_expected() {
        for (arguments, said) in [
            (["--app", "1400000001"], "SDKAPPID=KEYFILE"),
            (["--app", "x=file"], "1 to 4294967295"),
            (["--ceiling", "openim/sendmsg"], "service/command=N"),
            (["--ceiling", "openim=5"], "service/command"),
            (["--ceiling", "openim/sendmsg=many"], "service/command=N"),
        ] {
            let error = Line::try_parse_from(["sandbox"].iter().chain(&arguments)).err().unwrap();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
