//! A configuration: every text gives settings that can be used, or problems that tell nothing secret.
//!
//! The input is a TOML file. Comments such as `#USERSIG_GATEWAY__LISTEN__ADMIN=…`, without a blank behind the `#`, are
//! environment variables too.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::clock::SystemClock;
use crate::config::{Environment, Loaded, Place, Problem, parse};
use crate::gateway::caller::identify;
use crate::gateway::credentials::{Credentials, KeySigner, Parts};
use crate::gateway::policy;
use crate::gateway::target::{Apis, resolve};
use crate::gateway::{self, admission::Admission};
use crate::net::listener::Peer;

/// Reads one configuration.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let environment = || -> Environment {
        let comments = text.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
        let key = [("LIVE_KEY", KEY), ("BAD_KEY", BAD_KEY)];
        // The keys last: no comment overrides them.
        comments.chain(key).collect::<BTreeMap<_, _>>().into_iter().collect()
    };
    let loaded = parse(text, Path::new(FILE), &environment());
    match &loaded {
        Ok(loaded) => {
            tells_nothing_secret(&format!("{loaded:?}"));
            are_told(&loaded.warnings);
            can_be_used(&loaded.settings.live);
        }
        Err(problems) => {
            let problems: Vec<Problem> = problems.iter().cloned().collect();
            assert!(!problems.is_empty());
            are_told(&problems);
        }
    }
    let again = parse(text, Path::new(FILE), &environment());
    match (loaded, again) {
        (Ok(loaded), Ok(again)) => assert_eq!(told(&loaded), told(&again)),
        (Err(problems), Err(again)) => assert_eq!(problems, again),
        _ => panic!("good once and bad once"),
    }
}

/// In the order of lines, a line each, none of them endless, none with a key.
fn are_told(problems: &[Problem]) {
    assert!(problems.is_sorted_by_key(|problem| &problem.place));
    for problem in problems {
        let told = problem.to_string();
        assert!(!told.contains(char::is_control), "{told:?} is one line");
        let variable = match &problem.place {
            Place::Variable(name) => name.len(),
            Place::File | Place::Line(_) => 0,
        };
        assert!(told.len() < LONGEST_PROBLEM + variable, "{} bytes: {told}", told.len());
        tells_nothing_secret(&told);
    }
}

fn tells_nothing_secret(told: &str) {
    for key in [KEY, BAD_KEY] {
        assert!(!told.contains(&key[..8]) && !told.contains(&key[key.len() - 8..]), "{told}");
    }
}

fn told(loaded: &Loaded) -> String {
    format!("{:?}", loaded.warnings)
}

/// A call of each app finds its UserSig and asks for a turn.
fn can_be_used(live: &gateway::Settings) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _on = runtime.enter();
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::new(SystemClock),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let credentials = Credentials::new(live.usersig, &live.apps, parts);
    let admission = Admission::new(live.ceiling.clone(), runtime.handle().clone(), Instant::now());
    let apis = Apis::new();
    let caller = identify(&HeaderMap::new(), Peer::Uid(None), &live.callers);
    for app in live.apps.all().into_iter().take(4) {
        runtime.block_on(credentials.usersig(app)).expect("every app has a key that can sign");
        for path in ["live_config/get_callback", "all_member_push/im_push", "brand_new/thing"] {
            let path = format!("/apps/{}/v4/{path}", app.name);
            let target = resolve(&path, None, &live.apps, &apis).expect("the app is configured");
            let Ok(grant) = policy::allow(caller.clone(), target, &live.rules) else { continue };
            let mut turn = pin!(admission.admit(&grant, admission.arrive(), Instant::now(), Duration::ZERO));
            _ = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// Nothing at this path exists, nor beside it.
const FILE: &str = "/no/such/folder/gateway.toml";

const KEY: &str = "FAKE0123456789abcdefFAKE";
/// One that is none.
const BAD_KEY: &str = "BAKEfedcba 9876543210BAKE";

/// In bytes.
const LONGEST_PROBLEM: usize = 2_000;
