//! What `Debug` shows of values that hold a secret: whoever logs one, or panics over one, shows no more than this.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use usersig_gateway::app;
use usersig_gateway::clock::{SystemClock, WallClock};
use usersig_gateway::config::{self, Environment};
use usersig_gateway::gateway::credentials::usersig::{SigningRequest, decode, sign};
use usersig_gateway::gateway::forward::rewrite::{Auth, path_and_query};
use usersig_gateway::gateway::outcome::Masker;
use usersig_gateway::model::secret::{AdminToken, SecretKey};
use usersig_gateway::net::tls::ServerTls;

use super::secrets::Secrets;
use super::{ADMIN_TOKEN, KEY, KEY_IN_A_VARIABLE, WRONG_KEY, callers_own, sandbox, tables};
use crate::process::configuration;
use crate::world::{Builder, sdkappid};

/// In both of the ways in which a value can be shown.
fn shown(value: &dyn Debug) -> String {
    format!("{value:?}\n{value:#?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_that_holds_a_secret_shows_it() {
    let usersig = callers_own();
    let key = SecretKey::new(KEY).unwrap();
    let identifier = "administrator".parse().unwrap();
    let request = SigningRequest {
        key: &key,
        sdkappid: sdkappid(),
        identifier: &identifier,
        time: 1,
        expire: 2,
        userbuf: None,
    };
    let signed = sign(&request);
    let auth = Auth { sdkappid: sdkappid(), identifier: &identifier, usersig: &usersig, random: 7 };
    let mut masker = Masker::new(&usersig);
    masker.feed(bytes::Bytes::copy_from_slice(&usersig.as_bytes()[..40]));
    let environment = Environment::from_iter([("THE_KEY", KEY_IN_A_VARIABLE)]);
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let der = identity.signing_key.serialize_der();
    let tls = ServerTls {
        chain: vec![identity.cert.der().clone()],
        key: Arc::new(PrivateKeyDer::Pkcs8(der.clone().into())),
        client_roots: None,
    };

    let mut secrets = secrets();
    secrets.add_usersig(&usersig);
    secrets.add_usersig(signed.expose());
    secrets.add("the key of TLS", &STANDARD.encode(&der));
    let target = path_and_query("/v4/a/b", Some("a=b"), &auth).unwrap();
    let values: [&dyn Debug; 11] = [
        &key,
        &AdminToken::new(ADMIN_TOKEN),
        &request,
        &signed,
        &Arc::new(sign(&request)),
        &decode(&usersig).unwrap(),
        &auth,
        &target,
        &masker,
        &environment,
        &tls,
    ];
    for value in values {
        secrets.not_in("Debug", shown(value).as_bytes());
        // As a list of numbers the key of TLS is no text.
        let numbers = format!("{:?}", &der[40..48]);
        assert!(!shown(value).contains(numbers.trim_matches(['[', ']'])));
    }
    assert!(shown(&Masker::new("x")).contains("redacted"), "it is shown at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_whole_that_holds_one_shows_it_either() {
    // A configuration, and why another one is none.
    let sandbox = sandbox(true).await;
    let folder = configuration(&sandbox, &tables(&sandbox, "info", "json"));
    for (name, key) in [("live.key", KEY), ("wrong.key", WRONG_KEY)] {
        fs::write(folder.path().join(name), key).unwrap();
    }
    let environment = Environment::from_iter([("THE_KEY", KEY_IN_A_VARIABLE)]);
    let loaded = config::load(&folder.path().join("gateway.toml"), &environment).unwrap();
    let good = fs::read_to_string(folder.path().join("gateway.toml")).unwrap();
    let mut secrets = secrets();
    for (what, bad) in super::key_in_the_wrong_place(&good) {
        let problems = config::parse(&bad, &folder.path().join("gateway.toml"), &environment).unwrap_err();
        secrets.not_in(what, shown(&problems).as_bytes());
    }
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let within = app::without_listeners(loaded.settings.clone(), &clock);

    // A gateway with UserSigs in its cache and in the answers that it got, and what the sandbox remembers of them.
    let world = Builder::new().start().await;
    world
        .sandbox
        .control()
        .inject(usersig_gateway::sandbox::Fault::new(usersig_gateway::sandbox::Effect::EchoUrl))
        .unwrap();
    for _ in 0..2 {
        assert_eq!(world.call("live_config/get_callback", "{}").await.codes(), (200, 0));
    }
    let report = world.report();
    for usersig in report.calls.iter().flat_map(|call| &call.parameters.usersig) {
        secrets.add_usersig(usersig);
    }
    let wholes: [&dyn Debug; 6] =
        [&loaded, &loaded.settings, &within, world.gateway(), &report, &report.calls];
    for whole in wholes {
        let shown = shown(whole);
        assert!(shown.len() > 100, "{shown}");
        secrets.not_in("Debug", shown.as_bytes());
    }
    world.end().await;
}

fn secrets() -> Secrets {
    let mut secrets = Secrets::none();
    for key in [KEY, WRONG_KEY, KEY_IN_A_VARIABLE] {
        secrets.add("a secret key", key);
    }
    secrets.add("the admin token", ADMIN_TOKEN);
    secrets
}

/// What the tests above see holds for types that are still to come as well: whatever holds a secret's own bytes writes
/// its `Debug` by hand.
#[test]
fn no_type_with_a_secrets_own_bytes_derives_debug() {
    let mut types = 0;
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for item in items(&text) {
            let holds = SECRET_BYTES.iter().any(|bytes| item.body.contains(bytes));
            types += usize::from(holds);
            assert!(!(holds && item.derives_debug), "{}: {}", file.display(), item.body);
        }
    }
    assert!(types >= 5, "they are looked for in the right way: {types}");
    let derived = "#[derive(Debug)]\nstruct Bad {\n    text: Zeroizing<String>,\n}\n";
    assert!(items(derived).iter().all(|item| item.derives_debug && item.body.contains(SECRET_BYTES[0])));
}

/// How a field is written that holds a secret's own bytes.
const SECRET_BYTES: [&str; 5] =
    ["Zeroizing<", "PathAndQuery", "usersig: &'a str", "usersig: Box<[u8]>", "usersig: Vec<String>"];

struct Item<'a> {
    derives_debug: bool,
    body: &'a str,
}

/// The structs and enums of a source file, each with its fields.
fn items(text: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut derives_debug = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        let words = words.trim_start_matches("pub ");
        if words.starts_with("#[derive(") {
            derives_debug = words.contains("Debug");
        } else if words.starts_with("struct ") || words.starts_with("enum ") {
            let rest = &text[at..];
            // A tuple's end is on its line.
            let ends_at_once = line.trim_end().ends_with(';');
            let end = if ends_at_once { line.len() } else { rest.find("\n}").unwrap_or(rest.len()) };
            items.push(Item { derives_debug, body: &rest[..end] });
            derives_debug = false;
        } else if !words.starts_with("#[") && !words.starts_with("//") {
            derives_debug = false;
        }
        at += line.len();
    }
    items
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}
