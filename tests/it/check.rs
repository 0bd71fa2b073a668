//! `check`, and what a configuration file may and may not say: the examples in `config/` are good, each file in
//! `tests/data/config/` has exactly the problems that its `.expected` lists.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use usersig_gateway::config::{self, Environment};
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::process::configuration;
use crate::world::{World, sdkappid};

const KEY: &str = "FAKE0123456789";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The TOML files of a folder of the project, in the order of their names.
fn toml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

/// A folder with `gateway.toml` and the key that the examples name.
fn folder(toml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("gateway.toml"), toml).unwrap();
    let key = folder.path().join("secrets/live.key");
    fs::create_dir(key.parent().unwrap()).unwrap();
    fs::write(&key, KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// Runs `check` in a folder, with these environment variables only.
fn check(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usersig-gateway"));
    command.current_dir(folder).arg("check").args(arguments).env_clear().envs(environment.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_example_is_good() {
    for file in toml_files("config") {
        let toml = fs::read_to_string(&file).unwrap();
        let folder = folder(&toml);
        let other_keys =
            toml.lines().filter_map(|line| line.strip_prefix("secret_key_file = \"")?.split_once('"'));
        for (key, _) in other_keys.filter(|(key, _)| *key != "secrets/live.key") {
            fs::copy(folder.path().join("secrets/live.key"), folder.path().join(key)).unwrap();
        }
        let loaded = config::load(&folder.path().join("gateway.toml"), &Environment::default());
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}: {problems}", file.display()));
        assert_eq!(loaded.warnings, [], "{}", file.display());
        let app = loaded.settings.live.apps.default_app().unwrap();
        assert_eq!(app.keys[0].expose(), KEY.as_bytes());

        let output = check(folder.path(), &["--config", "gateway.toml"], &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stderr), "");
        let told = text(&output.stdout);
        let live = "app live: SDKAppID 20000001, identifier administrator, 1 key, region singapore: \
             https://adminapisgp.im.qcloud.com, https://adminapisgp.my-imcloud.com (default)\n\
             app live: a UserSig made with its key verifies\n";
        assert!(told.contains(live) && told.ends_with("gateway.toml is good\n"), "{told}");
        let apps = toml.lines().filter(|line| *line == "[[app]]").count();
        assert_eq!(told.lines().count(), 2 * apps + 1, "{told}");
    }
}

#[test]
fn the_full_example_shows_every_key_of_the_readme() {
    let example = fs::read_to_string(project().join("config/gateway.toml")).unwrap();
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let (_, table) = readme.split_once("| key | default | meaning |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
    let keys: Vec<&str> = cells.flat_map(|cell| cell.split('`')).filter(|key| key.contains('.')).collect();
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let table_or_key = key.split(".\"").next().unwrap();
        let name = table_or_key.rsplit('.').next().unwrap();
        let mut words = example.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        assert!(words.any(|word| word == name), "{key} is missing in config/gateway.toml");
    }
}

#[test]
fn every_wrong_file_has_the_problems_that_are_expected() {
    let environment =
        Environment::from_iter([("LIVE_KEY", KEY), ("EMPTY_KEY", " "), ("SPACED_KEY", "FAKE 0123")]);
    for file in toml_files("tests/data/config") {
        let problems = config::load(&file, &environment).expect_err(&file.display().to_string()).to_string();
        let folder = format!("{}/", file.parent().unwrap().display());
        let found = problems.replace(&folder, "") + "\n";
        let expected = fs::read_to_string(file.with_extension("expected")).unwrap_or_default();
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn check_tells_every_problem_and_exits_with_2() {
    let folder = folder(
        "[listen]\nworker = 2\n[limits]\nbody_timeout = \"5 parsecs\"\n[upstream]\ntotal_timeout = \"1s\"\n",
    );
    let output =
        check(folder.path(), &["--config", "gateway.toml"], &[("USERSIG_GATEWAY__LOG__LEVEL", "loud")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        text(&output.stderr),
        "gateway.toml: app: missing, wanted at least one [[app]]\n\
         gateway.toml:2: listen.worker: unknown key, did you mean listen.workers?\n\
         gateway.toml:4: limits.body_timeout: found \"5 parsecs\", wanted a duration such as \"250ms\", \"3s\" or \
         \"24h\" (units ms, s, m, h, d)\n\
         gateway.toml:6: upstream.total_timeout: found \"1s\", wanted at least upstream.request_timeout (\"10s\", the \
         default)\n\
         USERSIG_GATEWAY__LOG__LEVEL: log.level: found \"loud\", wanted one of \"error\", \"warn\", \"info\", \
         \"debug\", \"trace\"\n\
         gateway.toml: 5 problems\n"
    );
}

#[test]
fn the_default_configuration_stands_in_config() {
    let folder = folder(&fs::read_to_string(project().join("config/minimal.toml")).unwrap());
    let outer = TempDir::new().unwrap();
    let output = check(outer.path(), &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("neither config/gateway.toml nor "), "{output:?}");

    fs::rename(folder.path(), outer.path().join("config")).unwrap();
    let output = check(outer.path(), &[], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).ends_with("config/gateway.toml is good\n"), "{output:?}");
}

#[test]
fn a_key_file_that_everybody_may_read_is_a_warning() {
    let folder = folder(&fs::read_to_string(project().join("config/minimal.toml")).unwrap());
    let key = folder.path().join("secrets/live.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = check(folder.path(), &["--config", "gateway.toml"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let warning = "\nwarning: gateway.toml:7: app[0].secret_key_file: every user of this machine may read \"secrets/live.key\"";
    assert!(text(&output.stdout).contains(warning), "{output:?}");
    assert!(!text(&output.stdout).contains(KEY));
}

#[test]
fn a_file_that_everybody_may_write_is_a_warning() {
    let folder = folder(&fs::read_to_string(project().join("config/minimal.toml")).unwrap());
    for (file, mode, warning) in [
        ("gateway.toml", 0o646, "gateway.toml: every user of this machine may write it, and so send calls"),
        (
            "secrets/live.key",
            0o602,
            "every user of this machine may write \"secrets/live.key\": take that right away",
        ),
        ("secrets/live.key", 0o606, "every user of this machine may read and write \"secrets/live.key\""),
    ] {
        let path = folder.path().join(file);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = check(folder.path(), &["--config", "gateway.toml"], &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text(&output.stdout).contains(warning), "{warning}: {output:?}");
        fs::set_permissions(&path, before).unwrap();
    }
    let output = check(folder.path(), &["--config", "gateway.toml"], &[]);
    assert!(!text(&output.stdout).contains("every user"), "{output:?}");
}

#[test]
fn a_file_that_is_no_text_is_told_as_such() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("gateway.toml"), b"a = \"\xff\"").unwrap();
    let output = check(folder.path(), &["--config", "gateway.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "gateway.toml: this is no TOML: not UTF-8\ngateway.toml: 1 problem\n");
    let output = check(folder.path(), &["--config", "nowhere.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("nowhere.toml: cannot be read: "), "{output:?}");
}

#[test]
fn each_key_of_each_app_must_sign() {
    let tables =
        "[[app]]\nname = \"other\"\nsdkappid = 20000002\nidentifier = \"anna\"\nsecret_key_file = \"keys\"\n";
    let minimal = fs::read_to_string(project().join("config/minimal.toml")).unwrap();
    let folder = folder(&format!("{minimal}{tables}"));
    fs::write(folder.path().join("keys"), "FAKEnewest\nFAKEolder\n").unwrap();
    let output = check(folder.path(), &["--config", "gateway.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for line in [
        "app live: a UserSig made with its key verifies\n",
        "app other: a UserSig made with each of its keys verifies\n",
    ] {
        assert!(text(&output.stdout).contains(line), "{output:?}");
    }
    assert!(!text(&output.stdout).contains("FAKE"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn online_it_asks_tencent_about_each_app_and_explains_the_answer() {
    let world = World::start().await;
    let control = world.sandbox.control();
    let folder = configuration(&world.sandbox, "");
    let online = || check(folder.path(), &["--config", "gateway.toml", "--online"], &[]);

    let output = online();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let good = "\napp live: Tencent takes its calls (ErrorCode 100302, ";
    assert!(text(&output.stdout).contains(good), "{output:?}");

    // With a token, it is in the answer and stays there.
    let set = world
        .call("live_config/set_callback_token", "{\"Token\":\"FAKETOKENFAKETOKEN\",\"IsTokenEnable\":true}")
        .await;
    assert_eq!(set.codes(), (200, 0), "{:?}", set.body);
    let asked = world.call("live_config/get_callback_token", "{}").await;
    assert!(text(&asked.body).contains("FAKETOKENFAKETOKEN"));
    let output = online();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(
        text(&output.stdout).ends_with("app live: Tencent takes its calls (ErrorCode 0)\n"),
        "{output:?}"
    );
    assert!(!text(&output.stdout).contains("FAKE"), "{output:?}");

    for (effect, status, told) in [
        (Effect::Answer(ErrorCode(60010)), 2, "app live: ErrorCode 60010, "),
        (Effect::Answer(ErrorCode(60021)), 2, "upstream.egress_proxy"),
        (Effect::Answer(ErrorCode(60026)), 2, "set region to the one"),
        (Effect::Answer(ErrorCode(60007)), 1, "this says nothing about its configuration"),
        (Effect::NotJson, 1, "gave no usable answer"),
        (Effect::EchoUrlInHtml, 1, "a page of HTML"),
    ] {
        control.inject(Fault::new(effect).for_ever()).unwrap();
        let output = online();
        control.clear_faults();
        assert_eq!(output.status.code(), Some(status), "{told}: {output:?}");
        assert!(text(&output.stderr).contains(told), "{told}: {output:?}");
        assert!(text(&output.stdout).ends_with("gateway.toml is good\n"), "{output:?}");
        assert!(!text(&output.stderr).contains("usersig="), "{output:?}");
    }

    // A real refusal: the app's key is another one.
    assert!(control.set_keys(sdkappid(), vec![SecretKey::new("FAKEother").unwrap()]));
    let output = online();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("secret_key_file"), "{output:?}");

    world.end().await;
    let output = online();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("cannot connect"), "{output:?}");
    assert!(text(&output.stderr).contains("the call was not sent"), "{output:?}");
}
