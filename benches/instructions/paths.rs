//! The paths that run within one thread and know no time but their own.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::gateway::admission::{self, Admission};
use usersig_gateway::gateway::caller::{self, identify};
use usersig_gateway::gateway::credentials::usersig::{SigningRequest, sign};
use usersig_gateway::gateway::credentials::{self, Credentials, KeySigner, Parts};
use usersig_gateway::gateway::forward::rewrite::{Auth, path_and_query};
use usersig_gateway::gateway::outcome::read;
use usersig_gateway::gateway::policy;
use usersig_gateway::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use usersig_gateway::model::api::Family;
use usersig_gateway::model::endpoint::Endpoint;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::net::client::Roots;
use usersig_gateway::net::listener::Peer;

/// A path, and how to count it.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// So often it runs before it is counted,
    pub(crate) warm: usize,
    /// and so often while.
    pub(crate) times: usize,
    run: fn(usize),
}

pub(crate) const PATHS: [Path; 6] = [
    Path { name: "sign", warm: 50, times: 200, run: signing },
    Path { name: "usersig_from_cache", warm: 1_000, times: 10_000, run: cache_hit },
    Path { name: "resolve_and_rewrite", warm: 500, times: 2_000, run: resolve_and_rewrite },
    Path { name: "error_code_157_bytes", warm: 500, times: 5_000, run: small_answer },
    Path { name: "error_code_64_KiB", warm: 5, times: 50, run: large_answer },
    Path { name: "turn", warm: 5_000, times: 5_000, run: turn },
];

pub(crate) fn run(name: &str, times: usize) -> ExitCode {
    let path = PATHS.iter().find(|path| path.name == name).expect("a known path");
    (path.run)(times);
    ExitCode::SUCCESS
}

fn signing(times: usize) {
    let app = app("https://localhost");
    let request = SigningRequest {
        key: &app.keys[0],
        sdkappid: app.sdkappid,
        identifier: &app.identifier,
        time: 1_700_000_000,
        expire: 86_400,
        userbuf: None,
    };
    for _ in 0..times {
        black_box(sign(black_box(&request)));
    }
}

fn cache_hit(times: usize) {
    let apps = apps("https://localhost");
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::new(SystemClock),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let credentials = Credentials::new(credentials::Settings::default(), &apps, parts);
    let app = apps.default_app().expect("the only app");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(credentials.usersig(app)).expect("a UserSig");
    for _ in 0..times {
        black_box(credentials.current(black_box(app)).expect("it is there"));
    }
}

fn resolve_and_rewrite(times: usize) {
    let (apps, apis) = (apps("https://localhost"), Apis::new());
    let usersig = "eJwtzM0KgkAAxPF32XPY-rfTn-_C*".repeat(8);
    let query = format!(
        "sdkappid=1400000001&identifier=administrator&usersig={usersig}&random=99999999&contenttype=json&nettype=5"
    );
    for _ in 0..times {
        let query = black_box(Some(query.as_str()));
        let target = resolve(black_box("/v4/live_config/get_callback"), query, &apps, &apis).expect("known");
        let App { sdkappid, identifier, .. } = &*target.app;
        let auth = Auth { sdkappid: *sdkappid, identifier, usersig: &usersig, random: 4_000_000_000 };
        black_box(path_and_query(&target.api.url_path, query, &auth).expect("a URL"));
    }
}

fn small_answer(times: usize) {
    assert_eq!(ANSWER.len(), 157);
    answers(ANSWER, times);
}

fn large_answer(times: usize) {
    let member = r#"{"Member_Account":"user10001","Role":"Member","JoinTime":1650000000,"Text":"the quick brown fox"},"#;
    let members = member.repeat(64 * 1024 / member.len());
    answers(&format!(r#"{{"MemberList":[{members}0],"ActionStatus":"OK","ErrorCode":0}}"#), times);
}

fn answers(body: &str, times: usize) {
    for _ in 0..times {
        black_box(read(Family::V4, black_box(body.as_bytes())));
    }
}

/// A turn that is there at once, from the call's coming to its answer; tokens come home as time goes on.
fn turn(times: usize) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let settings = admission::Settings {
            per_second: NonZeroU32::new(1_000).expect("not 0"),
            ..admission::Settings::default()
        };
        let started = Instant::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        let admission = Admission::new(settings, Handle::current(), started);
        let (apps, callers) = (apps("https://localhost"), caller::Settings::default());
        // Outside the catalogue, so that the ceiling is that of the settings.
        let target = resolve("/v4/brand_new/thing", None, &apps, &Apis::new()).expect("an API");
        let caller = identify(&HeaderMap::new(), Peer::Uid(None), &callers);
        let grant = policy::allow(caller, target, &policy::Settings::default()).expect("allowed");
        for call in 1..=times {
            let turn = admission.admit(&grant, admission.arrive(), Instant::now(), Duration::ZERO);
            let mut permit = turn.await.expect("a turn at once");
            assert!(permit.confirm());
            permit.sent();
            permit.answered(Instant::now());
            if call % 100 == 0 {
                tokio::time::advance(Duration::from_millis(500)).await;
            }
        }
    });
}

/// One app, the default.
pub(crate) fn apps(endpoint: &str) -> Apps {
    let mut apps = Apps::default();
    apps.add(app(endpoint), true).expect("the only app");
    apps
}

fn app(endpoint: &str) -> App {
    let endpoint: Endpoint = endpoint.parse().expect("a URL");
    App {
        name: "live".parse().expect("a name"),
        sdkappid: "1400000001".parse().expect("a number"),
        identifier: "administrator".parse().expect("a userid"),
        keys: vec![SecretKey::new(&"0f".repeat(32)).expect("visible ASCII")],
        region: None,
        endpoints: Endpoints::private(vec![endpoint]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

/// As Tencent answers most calls.
pub(crate) const ANSWER: &str = r#"{"ErrorCode":0,"ErrorInfo":"","ActionStatus":"OK","RequestId":"Id-70da5d1b07fe4f92a6e5f1f3a0a3a8d1-O-Seq-43103","Response":{"Url":"https://x.example/c?a=1"}}"#;
