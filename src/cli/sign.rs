//! `sign`: prints a UserSig.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::config_args::ConfigArgs;
use crate::clock::{SystemClock, WallClock};
use crate::gateway::credentials::UserSig;
use crate::gateway::credentials::usersig::{SigningRequest, sign};
use crate::gateway::target::{App, Apps};
use crate::model::app::Identifier;
use crate::model::duration::{self, BadDuration};

/// Print a UserSig
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    wish: Wish,
}

/// Whose UserSig, and for how long.
#[derive(Debug, clap::Args)]
struct Wish {
    /// The app whose key signs [default: the default app]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The account to sign for [default: the app's identifier]
    #[arg(long, value_name = "ID")]
    user: Option<Identifier>,
    /// For how long it is valid, such as 90s, 30m or 24h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = whole_seconds)]
    ttl: Duration,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let apps = args.config.load()?.settings.live.apps;
    let usersig = usersig(&apps, &args.wish, &SystemClock)?;
    // The one command whose answer is a UserSig.
    Ok(writeln!(out, "{}", usersig.expose())?)
}

fn usersig(apps: &Apps, wish: &Wish, clock: &impl WallClock) -> Result<UserSig, Failure> {
    let app = choose(apps, wish.app.as_deref())?;
    let key = app
        .keys
        .first()
        .ok_or_else(|| Failure::bad_input(format!("app {} has no secret key to sign with", app.name)))?;
    Ok(sign(&SigningRequest {
        key,
        sdkappid: app.sdkappid,
        identifier: wish.user.as_ref().unwrap_or(&app.identifier),
        time: clock.unix_seconds(),
        expire: wish.ttl.as_secs(),
        userbuf: None,
    }))
}

fn choose<'a>(apps: &'a Apps, name: Option<&str>) -> Result<&'a Arc<App>, Failure> {
    let (chosen, problem) = match name {
        Some(name) => (apps.named(name), format!("no app is named {name:?}")),
        None => (apps.default_app(), "no app is marked default, so --app must name one".to_owned()),
    };
    chosen.ok_or_else(|| {
        let names: Vec<_> = apps.all().into_iter().map(|app| app.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Failure::bad_input(format!("{problem}; configured apps: {known}"))
    })
}

/// A UserSig's life is counted in seconds.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error: BadDuration| error.to_string())?;
    if duration.as_secs() > 0 && duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        Err("a UserSig is valid for whole seconds, at least one".to_owned())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::gateway::credentials::usersig::{Claims, decode};
    use crate::gateway::target::Endpoints;
    use crate::model::region::Region;
    use crate::model::secret::SecretKey;
    use clap::Parser;

    /// An app with a key of its own.
    pub(in crate::cli) fn app(name: &str, sdkappid: u64) -> App {
        App {
            name: name.parse().unwrap(),
            sdkappid: sdkappid.try_into().unwrap(),
            identifier: "administrator".parse().unwrap(),
            keys: vec![SecretKey::new(&format!("FAKE{sdkappid}")).unwrap()],
            region: Some(Region::China),
            endpoints: Endpoints::of_region(Region::China),
            extra_roots: Vec::new().into(),
            index: Default::default(),
            counted: Default::default(),
        }
    }

    /// Such apps, each with its name, number, and whether it is the default.
    pub(in crate::cli) fn apps<const N: usize>(all: [(&str, u64, bool); N]) -> Apps {
        let mut apps = Apps::default();
        for (name, sdkappid, default) in all {
            apps.add(app(name, sdkappid), default).unwrap();
        }
        apps
    }

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        wish: Wish,
    }

    fn wish(arguments: &[&str]) -> Result<Wish, clap::Error> {
        Command::try_parse_from([&["sign"], arguments].concat()).map(|command| command.wish)
    }

    fn signed(apps: &Apps, arguments: &[&str]) -> Result<Claims, String> {
        let clock = ManualClock::at_unix(1_700_000_000);
        let usersig = usersig(apps, &wish(arguments).unwrap(), &clock);
        usersig.map(|usersig| decode(usersig.expose()).unwrap()).map_err(|failure| failure.message)
    }

    #[test]
    fn the_default_app_signs_for_its_administrator() {
        let apps = apps([("live", 1_400_000_001, true), ("test", 1_400_000_002, false)]);
        let claims = signed(&apps, &[]).unwrap();
        assert_eq!(claims.sdkappid.number(), 1_400_000_001);
        assert_eq!(claims.identifier.as_str(), "administrator");
        assert_eq!((claims.time, claims.expire), (1_700_000_000, 86_400));
        assert!(claims.verify(&app("live", 1_400_000_001).keys[0]));
    }

    #[test]
    fn app_user_and_ttl_can_be_chosen() {
        let apps = apps([("live", 1_400_000_001, true), ("test", 1_400_000_002, false)]);
        let claims = signed(&apps, &["--app", "test", "--user", "guest 7", "--ttl", "30m"]).unwrap();
        assert_eq!((claims.sdkappid.number(), claims.expire), (1_400_000_002, 1800));
        assert_eq!(claims.identifier.as_str(), "guest 7");
        assert!(claims.verify(&app("test", 1_400_000_002).keys[0]));
    }

    #[test]
    fn a_wrong_choice_names_the_configured_apps() {
        let two = apps([("live", 1_400_000_001, false), ("test", 1_400_000_002, false)]);
        assert_eq!(
            signed(&two, &["--app", "life"]).unwrap_err(),
            "no app is named \"life\"; configured apps: live, test"
        );
        assert_eq!(
            signed(&two, &[]).unwrap_err(),
            "no app is marked default, so --app must name one; configured apps: live, test"
        );
        assert_eq!(
            signed(&Apps::default(), &["--app", "live"]).unwrap_err(),
            "no app is named \"live\"; configured apps: none"
        );
    }

    #[test]
    fn bad_arguments_are_refused_with_what_is_expected() {
        for (arguments, expected) in [
            (["--ttl", "1500ms"], "whole seconds, at least one"),
            (["--ttl", "0s"], "whole seconds, at least one"),
            (["--ttl", "soon"], "such as \"250ms\" or \"24h\""),
            (["--user", "a\nb"], "no control characters"),
        ] {
            let error = wish(&arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_signed() {
        let mut apps = Apps::default();
        apps.add(App { keys: Vec::new(), ..app("live", 1) }, true).unwrap();
        assert_eq!(signed(&apps, &[]).unwrap_err(), "app live has no secret key to sign with");
    }
}
