//! Every command, good and bad: a secret is on its output only where that is its answer.

use std::process::{Command, Stdio};

use usersig_gateway::sandbox::{Effect, Fault};

use super::secrets::Secrets;
use super::{
    KEY, KEY_IN_A_VARIABLE, NEW_KEY, WRONG_KEY, callers_own, key_in_the_wrong_place, sandbox, tables,
};
use crate::binary::{Run, command, finish};
use crate::process::{Process, Serving, configuration};
use crate::world::sdkappid;

/// A folder with a configuration, in which commands run.
struct Place {
    folder: tempfile::TempDir,
    secrets: Secrets,
}

impl Place {
    fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args).output().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.current_dir(self.folder.path()).env("THE_KEY", KEY_IN_A_VARIABLE).env("RUST_LOG", "trace");
        command
    }

    /// Runs it; nothing of what it writes may be a secret.
    fn silent(&self, args: &[&str], status: i32) -> Run {
        let run = self.run(args);
        assert_eq!(run.status, Some(status), "{args:?}: {run:?}");
        self.secrets.not_in(&format!("what {args:?} prints"), run.stdout.as_bytes());
        self.secrets.not_in(&format!("what {args:?} complains of"), run.stderr.as_bytes());
        run
    }
}

async fn place() -> (usersig_gateway::sandbox::Sandbox, Place) {
    let sandbox = sandbox(true).await;
    let folder = configuration(&sandbox, &tables(&sandbox, "trace", "json"));
    for (name, key) in [("live.key", KEY), ("wrong.key", WRONG_KEY), ("secret.toml", KEY)] {
        std::fs::write(folder.path().join(name), key).unwrap();
    }
    let mut secrets = Secrets::none();
    for key in [KEY, NEW_KEY, WRONG_KEY, KEY_IN_A_VARIABLE] {
        secrets.add("a secret key", key);
    }
    secrets.add_usersig(&callers_own());
    (sandbox, Place { folder, secrets })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_but_sign_prints_a_secret() {
    let (sandbox, mut place) = place().await;
    tokio::task::spawn_blocking(move || {
        helps(&place);
        checks(&place, &sandbox);
        signs(&mut place);
        inspects(&place);
        calls(&place, &sandbox);
        bad_configurations(&place);
        serves_a_region(&place);
    })
    .await
    .unwrap();
}

fn helps(place: &Place) {
    let commands =
        ["serve", "demo", "check", "sign", "inspect", "call", "sandbox", "apis", "healthcheck", "wait"];
    for command in commands {
        let help = place.silent(&[command, "--help"], 0);
        // What stands on a command line is seen by every user of the machine.
        for word in ["--key ", "--secret", "--token", "--password"] {
            assert!(!help.stdout.contains(word), "{command} takes {word}");
        }
    }
    place.silent(&["help"], 0);
    place.silent(&["--version"], 0);
    place.silent(&["apis", "--json"], 0);
}

fn checks(place: &Place, sandbox: &usersig_gateway::sandbox::Sandbox) {
    place.silent(&["check", "--config", "gateway.toml"], 0);
    // One app is well, and each of the others has something that is wrong.
    let run = place.silent(&["check", "--config", "gateway.toml", "--online"], 2);
    assert!(run.stdout.contains("live") && run.stderr.len() + run.stdout.len() > 500, "{run:?}");
    for effect in [Effect::EchoUrl, Effect::EchoUrlInHtml, Effect::Truncate] {
        sandbox.control().inject(Fault::new(effect)).unwrap();
        place.silent(&["check", "--config", "gateway.toml", "--online"], 2);
    }
    let usersigs = sandbox.control().report().calls;
    assert!(usersigs.len() >= 4, "{usersigs:?}");
    let mut secrets = Secrets::none();
    for usersig in usersigs.iter().flat_map(|call| &call.parameters.usersig) {
        secrets.add_usersig(usersig);
    }
    for text in [&run.stdout, &run.stderr] {
        secrets.not_in("what check --online says", text.as_bytes());
    }
}

fn signs(place: &mut Place) {
    let run = place.run(&["sign", "--config", "gateway.toml"]);
    let usersig = run.stdout.trim();
    assert_eq!((run.status, usersig.is_empty()), (Some(0), false), "{run:?}");
    place.secrets.not_in("what sign prints beside it", run.stderr.as_bytes());
    let mut signed = Secrets::none();
    signed.add_usersig(usersig);
    signed.not_in("what sign says", run.stderr.as_bytes());
    assert!(signed.seen_in(run.stdout.as_bytes()).is_some(), "it is looked for in the right way");
    place.secrets.add_usersig(usersig);
    for bad in [&["--app", "nobody"][..], &["--ttl", KEY], &["--user", KEY]] {
        let run = place.run(&[&["sign", "--config", "gateway.toml"], bad].concat());
        // What was written on the command line comes back as the shell's user wrote it; a key has no place there.
        assert!(run.status != Some(0) && run.stdout.is_empty(), "{run:?}");
    }
}

fn inspects(place: &Place) {
    let own = callers_own();
    place.silent(&["inspect", &own], 0);
    place.silent(&["inspect", &own, "--config", "gateway.toml"], 1);
    for bad in [&own[1..], &own[..own.len() - 2], &own.replace('_', "!"), &own.repeat(60)] {
        place.silent(&["inspect", bad], 1);
    }
    let mut inspect = place.command(&["inspect", "-"]);
    let mut child =
        inspect.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), own.as_bytes()).unwrap();
    let run = finish(child.wait_with_output().unwrap());
    assert_eq!(run.status, Some(0), "{run:?}");
    place.secrets.not_in("what inspect prints", format!("{run:?}").as_bytes());
}

fn calls(place: &Place, sandbox: &usersig_gateway::sandbox::Sandbox) {
    let gateway = Serving::start(sandbox, "");
    // Its key is another than the sandbox knows: what comes of that is told.
    let (url, admin) = (format!("http://{}", gateway.gateway), format!("http://{}", gateway.admin));
    for _ in 0..4 {
        place.silent(&["call", "--gateway", &url, "live_config/get_callback", "{}"], 1);
    }
    place.silent(&["call", "--gateway", &url, "live_config", "{}"], 2);
    place.silent(&["healthcheck", "--admin", &admin], 0);
    place.silent(&["wait", "--admin", &admin], 0);
    place.silent(&["healthcheck", "--admin", "http://127.0.0.1:9"], 1);
}

fn bad_configurations(place: &Place) {
    let good = std::fs::read_to_string(place.folder.path().join("gateway.toml")).unwrap();
    for (what, bad) in key_in_the_wrong_place(&good) {
        std::fs::write(place.folder.path().join("bad.toml"), bad).unwrap();
        for command in ["check", "serve", "sign"] {
            let run = place.silent(&[command, "--config", "bad.toml"], 2);
            assert!(!run.stderr.is_empty(), "{what}");
        }
    }
    // A key file in the place of the configuration.
    for command in ["check", "serve", "sign"] {
        place.silent(&[command, "--config", "secret.toml"], 2);
    }
    let nothing_said = place.silent(&["sandbox", "--app", "1400000001=nowhere.key"], 2);
    assert!(nothing_said.stderr.contains("nowhere.key"), "{nothing_said:?}");
}

/// The stand-in for Tencent, and the demo.
fn serves_a_region(place: &Place) {
    let app = format!("{}=live.key", sdkappid());
    let region = Process::start(place.command(&["sandbox", "--listen", "127.0.0.1:0", "--app", &app]));
    let url = region.printed(|line| line.starts_with("http://"));
    let own = callers_own();
    let address = url.trim_start_matches("http://");
    let mut seen = Vec::new();
    for (method, path) in [
        (
            "POST",
            format!(
                "/v4/live_config/get_callback?sdkappid=1400000001&identifier=administrator&usersig={own}&random=1&contenttype=json"
            ),
        ),
        ("POST", format!("/v4/nothing/x?usersig={own}&UserSig={own}")),
        ("GET", "/sandbox/report?calls=100".to_owned()),
    ] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut came = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut came).unwrap();
        if method == "GET" {
            assert!(std::str::from_utf8(&came).unwrap().contains("/v4/nothing/x"), "it tells of both calls");
            seen.extend(came);
        }
    }
    region.signal("TERM");
    let ended = region.end();
    place.secrets.not_in("the sandbox's report", &seen);
    place.secrets.not_in("the sandbox's log", format!("{:?} {:?}", ended.log, ended.stdout).as_bytes());
}
