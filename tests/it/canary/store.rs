//! The password of a store that several gateways share, wherever it comes from and whatever the store says to it.

use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usersig_gateway::sandbox::Sandbox;

use super::secrets::Secrets;
use super::{KEY, READ, sandbox, told};
use crate::binary::{command, finish};
use crate::client::{post, send};
use crate::process::{Process, configuration, serve};
use crate::redis_server::RedisServer;

const PASSWORD: &str = "FAKEstoreT7rLq2XmWzKb9VsYjNd4HgPc";
const WRONG_PASSWORD: &str = "FAKEstoreW8vQx3RzMtJk6LsCyFb5UgNh";
const USER: &str = "fleet";

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_store_is_shown_nowhere() {
    let redis = RedisServer::start().await;
    say(
        &redis,
        &format!("ACL SETUSER {USER} on >{PASSWORD} ~* &* +@all\r\nCONFIG SET requirepass {PASSWORD}\r\n"),
    )
    .await;
    let sandbox = sandbox(true).await;
    let mut secrets = Secrets::none();
    secrets.add("the password", PASSWORD);
    secrets.add("a wrong password", WRONG_PASSWORD);
    secrets.add("the key", KEY);

    let by_file = "password_file = \"redis.password\"";
    let by_variable = "username_env = \"REDIS_USER\"\npassword_env = \"REDIS_PASSWORD\"";
    for (given, password) in [
        (by_file, PASSWORD),
        (by_variable, PASSWORD),
        (by_file, WRONG_PASSWORD),
        (by_variable, WRONG_PASSWORD),
    ] {
        serves(&redis, &sandbox, given, password, &secrets).await;
    }
    refuses(&redis, &sandbox, &secrets);
    sandbox.stop().await;
}

/// Serves with this password, right or wrong, and loses its store.
async fn serves(redis: &RedisServer, sandbox: &Sandbox, given: &str, password: &str, secrets: &Secrets) {
    let what = format!("a gateway with {given} = {}", if password == PASSWORD { "right" } else { "wrong" });
    let folder = configuration(sandbox, &tables(&redis.address(), given));
    place(folder.path(), password);
    let mut command = serve(folder.path());
    command
        .env("RUST_LOG", "trace,redis=trace,usersig_gateway=trace")
        .env("REDIS_USER", USER)
        .env("REDIS_PASSWORD", password);
    let process = Process::start(command);
    let [gateway, admin] = ["gateway", "admin"].map(|listener| process.address(listener));
    let shares = password == PASSWORD;
    let mut seen = Vec::new();
    store_is(&admin, if shares { "shared" } else { "degraded" }, &mut seen).await;
    for _ in 0..3 {
        seen.extend(told(&send(&gateway, post(READ, "{}")).await));
    }
    if shares {
        // It meets a store that does not know it any more.
        say(redis, &format!("AUTH {PASSWORD}\r\nCLIENT KILL TYPE normal SKIPME yes\r\n")).await;
        seen.extend(told(&send(&gateway, post(READ, "{}")).await));
    }
    place(folder.path(), if shares { WRONG_PASSWORD } else { PASSWORD });
    seen.extend(told(&send(&admin, Request::post("/-/reload").body(Full::default()).unwrap()).await));
    for path in ["/", "/metrics", "/status.json", "/readyz"] {
        seen.extend(told(&send(&admin, Request::get(path).body(Full::default()).unwrap()).await));
    }
    process.signal("TERM");
    let ended = process.end();
    assert!(ended.log.len() > 10, "{:#?}", ended.log);
    secrets.not_in(&format!("the log of {what}"), ended.log.join("\n").as_bytes());
    secrets.not_in(&format!("what {what} answers"), &seen);
}

/// Configurations with a password where none belongs.
fn refuses(redis: &RedisServer, sandbox: &Sandbox, secrets: &Secrets) {
    let (address, folder) = (redis.address(), configuration(sandbox, ""));
    place(folder.path(), "");
    let url = |authority: &str| tables(&format!("{authority}@{address}"), "");
    for (what, tables) in [
        ("a password in the URL", url(&format!(":{PASSWORD}"))),
        ("user and password in the URL", url(&format!("{USER}:{PASSWORD}"))),
        ("a password that breaks the URL", url(&format!("{USER}:{PASSWORD}#@%"))),
        ("a password in the place of its file", tables(&address, &format!("password_file = \"{PASSWORD}\""))),
        (
            "a password in the place of its variable",
            tables(&address, &format!("password_env = \"{PASSWORD}\"")),
        ),
        ("a password under a name that is none", tables(&address, &format!("password = \"{PASSWORD}\""))),
        ("an empty file", tables(&address, "password_file = \"redis.password\"")),
    ] {
        let written = configuration(sandbox, &tables);
        std::fs::copy(written.path().join("gateway.toml"), folder.path().join("gateway.toml")).unwrap();
        for name in ["check", "serve", "sign"] {
            let mut command = command(&[name, "--config", "gateway.toml"]);
            let run = finish(command.current_dir(folder.path()).env("RUST_LOG", "trace").output().unwrap());
            assert_eq!(run.status, Some(2), "{what}, {name}: {run:?}");
            secrets
                .not_in(&format!("{name} with {what}"), format!("{}{}", run.stdout, run.stderr).as_bytes());
        }
    }
    // The environment overrides the file.
    let mut check = command(&["check", "--config", "gateway.toml"]);
    std::fs::copy(
        configuration(sandbox, &tables(&address, "")).path().join("gateway.toml"),
        folder.path().join("gateway.toml"),
    )
    .unwrap();
    check.env("USERSIG_GATEWAY__CEILING__REDIS__URL", format!("redis://:{PASSWORD}@{address}"));
    let run = finish(check.current_dir(folder.path()).output().unwrap());
    assert_eq!(run.status, Some(2), "{run:?}");
    secrets
        .not_in("check with a password in an override", format!("{}{}", run.stdout, run.stderr).as_bytes());
}

fn tables(address: &str, given: &str) -> String {
    format!(
        "[ceiling.redis]\nurl = \"redis://{address}\"\nmax_replicas = 2\ntimeout = \"100ms\"\n{given}\n\
         [log]\nlevel = \"trace\"\nformat = \"json\"\n[drain]\naccept_for = \"0s\"\n"
    )
}

fn place(folder: &Path, password: &str) {
    std::fs::write(folder.join("redis.password"), format!("{password}\n")).unwrap();
}

/// Waits until the gateway says so of its store.
async fn store_is(admin: &str, mode: &str, seen: &mut Vec<u8>) {
    let metric = format!("usersig_gateway_ceiling_store{{mode=\"{mode}\"}} 1");
    for _ in 0..600 {
        let answer = send(admin, Request::get("/metrics").body(Full::default()).unwrap()).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        if text.contains(&metric) {
            seen.extend(text.into_bytes());
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the store never was {mode}");
}

/// Tells the server something, and sees that it understands.
async fn say(redis: &RedisServer, words: &str) {
    let mut stream = TcpStream::connect(redis.address()).await.unwrap();
    stream.write_all(format!("{words}QUIT\r\n").as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(!answers.contains('-'), "{answers}");
}
