//! What the gateway's own steps cost each call, without any waiting: finding the target, writing the signed URL,
//! reading the answer, masking it.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use usersig_gateway::gateway::forward::rewrite::{Auth, path_and_query};
use usersig_gateway::gateway::outcome::{Masker, read};
use usersig_gateway::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use usersig_gateway::model::api::Family;
use usersig_gateway::model::app::{Identifier, SdkAppId};
use usersig_gateway::model::region::Region;
use usersig_gateway::net::client::Roots;

fn targets(criterion: &mut Criterion) {
    let (apps, apis) = (apps(), Apis::new());
    let mut group = criterion.benchmark_group("resolve");
    for (name, path, query) in [
        ("default", "/v4/live_config/delete_callback_token", None),
        ("prefix", "/apps/live/v4/live_config/delete_callback_token", None),
        ("parameter", "/v4/live_config/delete_callback_token", Some("sdkappid=1400000001&nettype=5")),
        ("outside_the_catalogue", "/v4/brand_new/thing", None),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| resolve(black_box(path), black_box(query), &apps, &apis));
        });
    }
}

fn urls(criterion: &mut Criterion) {
    let identifier: Identifier = "administrator".parse().expect("a good identifier");
    let usersig = "eJwtzM0KgkAAxPF32XPY-rfTn-_C*".repeat(8);
    let auth =
        Auth { sdkappid: sdkappid(), identifier: &identifier, usersig: &usersig, random: 4_000_000_000 };
    let of_existing_client = format!(
        "sdkappid=1400000001&identifier=administrator&usersig={usersig}&random=99999999&contenttype=json"
    );
    let mut group = criterion.benchmark_group("rewrite");
    for (name, query) in [
        ("no_query", None),
        ("one_parameter", Some("nettype=5")),
        ("all_five_to_drop", Some(of_existing_client.as_str())),
        ("encoded_name", Some("%75sersig=x&nettype=5")),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| path_and_query("/v4/live_config/get_callback", black_box(query), &auth));
        });
    }
}

fn answers(criterion: &mut Criterion) {
    let small = r#"{"ErrorCode":0,"ErrorInfo":"","ActionStatus":"OK","RequestId":"Id-70da5d1b07fe4f92a6e5f1f3a0a3a8d1-O-Seq-43103","Response":{"Url":"https://x.example/c?a=1"}}"#;
    assert_eq!(small.len(), 157);
    let member = r#"{"Member_Account":"user10001","Role":"Member","JoinTime":1650000000,"MsgSeq":2,"AppMemberDefinedData":[]},"#;
    let (members, text) = (member.repeat(KIB_64 / member.len()), "the quick brown fox ".repeat(KIB_64 / 20));
    let bodies = [
        ("157_bytes", small.to_string()),
        ("64_KiB_of_members", format!(r#"{{"MemberList":[{members}0],"ActionStatus":"OK","ErrorCode":0}}"#)),
        ("64_KiB_of_text", format!(r#"{{"Text":"{text}","ActionStatus":"OK","ErrorCode":0}}"#)),
    ];
    let mut group = criterion.benchmark_group("outcome");
    for (name, body) in &bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("read", name), body, |bencher, body| {
            bencher.iter(|| read(Family::V4, black_box(body.as_bytes())));
        });
        let body = Bytes::from(body.clone());
        group.bench_with_input(BenchmarkId::new("mask", name), &body, |bencher, body| {
            bencher.iter(|| {
                let mut masker = Masker::new("eJwtzM0KgkAAxPF32XPY-rfTn-_C*eJwtzM0KgkAAxPF32XPY-rfTn-_C*");
                (masker.feed(body.clone()), masker.finish())
            });
        });
    }
}

fn apps() -> Apps {
    let app = App {
        name: "live".parse().expect("a good name"),
        sdkappid: sdkappid(),
        identifier: "administrator".parse().expect("a good identifier"),
        keys: Vec::new(),
        region: Some(Region::Singapore),
        endpoints: Endpoints::of_region(Region::Singapore),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).expect("it is the only one");
    apps
}

fn sdkappid() -> SdkAppId {
    SdkAppId::try_from(1_400_000_001).expect("a good sdkappid")
}

const KIB_64: usize = 64 * 1024;

criterion_group!(benches, targets, urls, answers);
criterion_main!(benches);
