//! What a UserSig costs: to sign (once a day and app), to find (each call), to read and verify (inspection only).

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use usersig_gateway::clock::SystemClock;
use usersig_gateway::gateway::credentials::usersig::{SigningRequest, decode, sign};
use usersig_gateway::gateway::credentials::{Credentials, KeySigner, Parts, Settings};
use usersig_gateway::gateway::target::{App, Apps, Endpoints};
use usersig_gateway::model::region::Region;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::net::client::Roots;

fn app() -> App {
    App {
        name: "live".parse().expect("a good name"),
        sdkappid: 1_400_000_001.try_into().expect("a good number"),
        identifier: "administrator".parse().expect("a good userid"),
        keys: vec![SecretKey::new(&"0f".repeat(32)).expect("a good key")],
        region: Some(Region::China),
        endpoints: Endpoints::of_region(Region::China),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

fn usersig(c: &mut Criterion) {
    let app = app();
    let request = SigningRequest {
        key: &app.keys[0],
        sdkappid: app.sdkappid,
        identifier: &app.identifier,
        time: 1_700_000_000,
        expire: 86_400,
        userbuf: None,
    };
    c.bench_function("usersig/sign", |b| b.iter(|| sign(black_box(&request))));

    let token = sign(&request);
    c.bench_function("usersig/decode_verify", |b| {
        b.iter(|| decode(black_box(token.expose())).is_ok_and(|claims| claims.verify(&app.keys[0])));
    });
}

fn cache(c: &mut Criterion) {
    let mut apps = Apps::default();
    apps.add(app(), true).expect("the only app");
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::new(SystemClock),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let credentials = Credentials::new(Settings::default(), &apps, parts);
    let app = apps.default_app().expect("the only app");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(credentials.usersig(app)).expect("a UserSig");
    c.bench_function("usersig/cache_hit", |b| b.iter(|| credentials.current(black_box(app)).is_some()));
}

criterion_group!(benches, usersig, cache);
criterion_main!(benches);
