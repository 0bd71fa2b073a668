//! Users with passwords, and a Unix socket.

use std::fs;

use http::Request;
use http_body_util::Full;

use super::{is_told, serve};
use crate::client::send;
use crate::process::Serving;
use crate::redis_server::RedisServer;
use crate::shared_ceiling::fleet::{Arrivals, LIMIT};

const PASSWORD: &str = "FAKE-redis-word";
const WRONG: &str = "FAKE-other-word";

/// The rights that the README names, and no others.
const RIGHTS: &str =
    "resetchannels -@all +@connection +info +time +script|load +evalsha +hget +hmget +hset +hdel +hgetall";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_needs_a_password_and_few_rights_and_a_socket_does_too() {
    let folder = tempfile::tempdir().unwrap();
    let [socket, file] = ["redis.sock", "redis.password"].map(|name| folder.path().join(name));
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let redis = RedisServer::start_with(&["--unixsocket", socket.to_str().unwrap()]).await;
    let keys = "~{usersig-gateway}:*";
    let _: () = redis.says(&format!("ACL SETUSER gateway on >{PASSWORD} {keys} {RIGHTS}")).await;
    let _: () = redis.says(&format!("ACL SETUSER powerless on >{PASSWORD} {keys} {RIGHTS} -evalsha")).await;
    let _: () = redis.says(&format!("ACL SETUSER default on >{PASSWORD}")).await;

    let arrivals = Arrivals::under(LIMIT).await;
    let by_tcp = format!("url = \"redis://{}\"\n", redis.address());
    let by_socket = format!("url = \"unix:{}\"\n", socket.display());
    let from_file = format!("username_env = \"NAME\"\npassword_file = \"{}\"\n", file.display());
    let from_env = "username_env = \"NAME\"\npassword_env = \"WORD\"\n";
    let start = |url: &str, login: &str, name: &str, word: &str| {
        arrivals.serving(&format!("{url}{login}"), &[("NAME", name), ("WORD", word)])
    };
    let gateways = [
        start(&by_tcp, &from_file, "gateway", ""),
        start(&by_socket, from_env, "gateway", PASSWORD),
        start(&by_tcp, "password_env = \"WORD\"\n", "", PASSWORD),
    ];
    let wrong = start(&by_tcp, from_env, "gateway", WRONG);
    let none = start(&by_socket, "", "", "");
    let powerless = start(&by_tcp, &from_file, "powerless", "");

    serve(&gateways).await;
    is_told(&wrong, "it refuses the user or the password").await;
    is_told(&none, "NOAUTH").await;
    is_told(&powerless, "+evalsha").await;
    let gateways = gateways.into_iter().map(|gateway| (gateway, PASSWORD));
    for (gateway, word) in gateways.chain([(wrong, WRONG), (powerless, PASSWORD)]) {
        shows_nowhere(gateway, word).await;
    }
}

/// Neither its pages nor its log show the word.
async fn shows_nowhere(gateway: Serving, word: &str) {
    for path in ["/", "/metrics", "/status.json"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        let body = String::from_utf8(send(&gateway.admin, request).await.body.to_vec()).unwrap();
        assert!(!body.is_empty() && !body.contains(word), "{path}");
    }
    gateway.process.signal("INT");
    let log = gateway.process.end().log;
    assert!(!log.is_empty() && !log.iter().any(|line| line.contains(word)), "{log:#?}");
}
