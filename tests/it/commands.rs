//! The commands as a shell sees them: arguments in; standard output, standard error and exit status out.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use socket2::{Domain, Socket, Type};
use usersig_gateway::model::api::{Entry, catalogue};

use crate::binary::{command, finish, run};
use crate::canned_server::{CannedServer, answer};

#[test]
fn help_names_every_command_and_version_the_version() {
    let help = run(&["--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""));
    for (name, _) in COMMANDS {
        assert!(help.stdout.contains(&format!("\n  {name} ")), "{name} in:\n{}", help.stdout);
    }
    let version = run(&["--version"]);
    assert_eq!(version.status, Some(0));
    assert_eq!(version.stdout, format!("usersig-gateway {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_command_tells_its_arguments() {
    for (name, arguments) in COMMANDS {
        let help = run(&[name, "--help"]);
        assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""), "{name}");
        for argument in *arguments {
            assert!(help.stdout.contains(argument), "{name}: {argument} in:\n{}", help.stdout);
        }
    }
}

#[test]
fn a_wrong_argument_is_named_and_ends_with_2() {
    for (args, named) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["apis", "--yaml"], "--yaml"),
        (&["call"], "<API>"),
        (&["call", "live_config"], "live_config"),
        (&["call", "--app", "../x", "live_config/get_callback"], "../x"),
        (&["call", "--header", "host: example.org", "live_config/get_callback"], "host"),
        (&["call", "--gateway", "https://127.0.0.1", "live_config/get_callback"], "https://127.0.0.1"),
        (&["wait", "--timeout", "soon"], "soon"),
        (&["healthcheck", "--admin", "127.0.0.1:9901"], "127.0.0.1:9901"),
    ] {
        let run = run(args);
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(run.stderr.contains(named), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn apis_lists_every_api_with_its_ceiling() {
    let apis = run(&["apis"]);
    assert_eq!((apis.status, apis.stderr.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = apis
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .take_while(|row: &Vec<_>| !row.is_empty())
        .collect();
    assert_eq!(rows.len(), 1 + 173, "a heading and the catalogue");
    for ((name, entry), row) in catalogue().entries().zip(&rows[1..]) {
        assert_eq!(row[0], name.as_str());
        assert_eq!(row[1].trim_start_matches('~').parse().ok(), entry.per_second(), "{name}");
        assert_eq!(row[1].starts_with('~'), entry.max_per_second.is_none(), "{name}");
    }
}

#[test]
fn apis_as_json_is_the_whole_catalogue() {
    let apis = run(&["apis", "--json"]);
    assert_eq!((apis.status, apis.stderr.as_str()), (Some(0), ""));
    let listed: Vec<Entry> = serde_json::from_str(&apis.stdout).unwrap();
    let listed: Vec<_> = listed.iter().map(|entry| serde_json::to_value(entry).unwrap()).collect();
    let known: Vec<_> =
        catalogue().entries().map(|(_, entry)| serde_json::to_value(entry).unwrap()).collect();
    assert_eq!(listed, known);
}

#[test]
fn apis_ends_well_when_nobody_reads_on() {
    for args in [&["apis"][..], &["apis", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        // `head` may have left before the first byte: no luck with timing is needed to see the pipe closed.
        drop(reader);
        let run = finish(command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap());
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn call_prints_the_answer_as_it_came() {
    let server = CannedServer::tcp(&[answer!("200 OK", "{ \"ErrorCode\": 0,\n\"Response\": {} }")]);
    let run = run(&["call", "--gateway", &server.url, "live_config/get_callback"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(run.stdout, "{ \"ErrorCode\": 0,\n\"Response\": {} }\n");
    let asked = &server.asked()[0];
    assert!(asked.head.starts_with("POST /v4/live_config/get_callback HTTP/1.1\r\n"), "{}", asked.head);
    assert!(asked.head.contains("\r\ncontent-type: application/json\r\n"), "{}", asked.head);
    assert_eq!(asked.body, "{}");
}

#[test]
fn call_sends_app_query_headers_and_body_from_standard_input() {
    let server = CannedServer::tcp(&[answer!("200 OK", "{\"errorCode\":\"0\"}\n")]);
    let args = [
        "call",
        "--gateway",
        &server.url,
        "--app",
        "live",
        "--header",
        "x-caller: ops",
        "--header",
        "priority:u=1",
        "v1/callback/set?a=b",
        "-",
    ];
    let mut child =
        command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"Url\":\"https://example.org\"}").unwrap();
    let run = finish(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(run.stdout, "{\"errorCode\":\"0\"}\n", "no second end of line");
    let asked = &server.asked()[0];
    assert!(asked.head.starts_with("POST /apps/live/v1/callback/set?a=b HTTP/1.1\r\n"), "{}", asked.head);
    for header in ["x-caller: ops", "priority: u=1"] {
        assert!(asked.head.contains(&format!("\r\n{header}\r\n")), "{header} in {}", asked.head);
    }
    assert_eq!(asked.body, "{\"Url\":\"https://example.org\"}");
}

#[test]
fn call_fails_with_the_reason_that_the_answer_gives() {
    for (answer, told) in [
        (
            answer!("200 OK", r#"{"ActionStatus":"FAIL","ErrorCode":100302,"ErrorInfo":"no token"}"#),
            "ErrorCode 100302 (HTTP status 200): no token\n",
        ),
        (
            answer!(
                "429 Too Many Requests",
                "retry-after: 2",
                r#"{"ErrorCode":9900429,"ErrorInfo":"the turn comes too late"}"#
            ),
            "ErrorCode 9900429 (HTTP status 429): the turn comes too late\nRetry-After: 2\n",
        ),
        (answer!("502 Bad Gateway", "<html>"), "the answer is not JSON (HTTP status 502)\n"),
        (answer!("200 OK", "{\"ok\":true}"), "the answer carries no ErrorCode (HTTP status 200)\n"),
    ] {
        let server = CannedServer::tcp(&[answer]);
        let run = run(&["call", "--gateway", &server.url, "live_config/get_callback_token"]);
        assert_eq!((run.status, run.stderr.as_str()), (Some(1), told));
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(run.stdout, format!("{body}\n"));
    }
}

#[test]
fn call_says_when_no_answer_came() {
    // Bound but not listening: nobody else can take the port, and the kernel refuses who comes.
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap().as_socket().unwrap());
    let nobody = run(&["call", "--gateway", &url, "live_config/get_callback"]);
    assert_eq!((nobody.status, nobody.stdout.as_str()), (Some(1), ""));
    assert_eq!(nobody.stderr, format!("nothing listens at {url}: is the gateway running there?\n"));

    let cut_off = CannedServer::tcp(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"]);
    let broken = run(&["call", "--gateway", &cut_off.url, "live_config/get_callback"]);
    assert_eq!((broken.status, broken.stdout.as_str()), (Some(1), ""));
    assert!(
        broken.stderr.starts_with(&format!("the exchange with {} broke: ", cut_off.url)),
        "{}",
        broken.stderr
    );

    let endless = CannedServer::tcp(&["HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\n"]);
    let too_long = run(&["call", "--gateway", &endless.url, "live_config/get_callback"]);
    assert_eq!((too_long.status, too_long.stdout.as_str()), (Some(1), ""));
    assert_eq!(too_long.stderr, format!("the answer of {} is longer than 67108864 bytes\n", endless.url));

    // It accepts, by its backlog, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let late = run(&["call", "--gateway", &url, "--timeout", "50ms", "live_config/get_callback"]);
    assert_eq!((late.status, late.stdout.as_str()), (Some(1), ""));
    assert_eq!(late.stderr, format!("{url} has not answered within 50ms\n"));
}

#[test]
fn call_and_healthcheck_speak_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let server =
        CannedServer::unix(&path, &[answer!("200 OK", "{\"ErrorCode\":0}"), answer!("200 OK", "ok")]);
    assert_eq!(run(&["call", "--gateway", &server.url, "live_config/get_callback"]).status, Some(0));
    assert_eq!(run(&["healthcheck", "--admin", &server.url]).status, Some(0));
    assert!(server.asked()[1].head.starts_with("GET /readyz HTTP/1.1\r\n"));

    let url = format!("unix:{}", folder.path().join("nobody.sock").display());
    let nobody = run(&["healthcheck", "--admin", &url]);
    assert_eq!(nobody.status, Some(1));
    assert_eq!(nobody.stderr, format!("nothing listens at {url}: is the gateway running there?\n"));
}

#[test]
fn healthcheck_tells_why_the_gateway_is_not_ready() {
    let server =
        CannedServer::tcp(&[answer!("200 OK", "ok"), answer!("503 Service Unavailable", "draining\n")]);
    let ready = run(&["healthcheck", "--admin", &server.url]);
    assert_eq!((ready.status, ready.stdout.as_str(), ready.stderr.as_str()), (Some(0), "ready\n", ""));
    let draining = run(&["healthcheck", "--admin", &server.url]);
    assert_eq!((draining.status, draining.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        draining.stderr,
        format!("{}/readyz answered 503 Service Unavailable: draining\n", server.url)
    );
}

#[test]
fn wait_asks_until_the_gateway_is_ready() {
    let not_yet = answer!("503 Service Unavailable", "starting");
    let server = CannedServer::tcp(&[not_yet, not_yet, answer!("200 OK", "ok")]);
    let run = run(&["wait", "--admin", &server.url]);
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "ready\n", ""));
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn wait_ends_with_the_newest_reason_when_the_time_is_up() {
    let server = CannedServer::tcp(&[answer!("503 Service Unavailable", "no key parses")]);
    let run = run(&["wait", "--admin", &server.url, "--timeout", "0ms"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""));
    let reason = format!("{}/readyz answered 503 Service Unavailable: no key parses", server.url);
    assert_eq!(run.stderr, format!("not ready within 0ms: {reason}\n"));
}

/// Each command with the arguments that its help must mention.
const COMMANDS: &[(&str, &[&str])] = &[
    ("serve", &["--config <FILE>", "SIGTERM"]),
    ("demo", &["--gateway <ADDR>", "--admin <ADDR>", "--sandbox <ADDR>"]),
    ("check", &["--config <FILE>", "--online"]),
    ("sign", &["--config <FILE>", "--app <NAME>", "--user <ID>", "--ttl <DURATION>"]),
    ("inspect", &["<USERSIG>", "--config <FILE>"]),
    (
        "call",
        &[
            "--gateway <URL>",
            "--app <NAME>",
            "--timeout <DURATION>",
            "--header <NAME: VALUE>",
            "<API>",
            "[BODY]",
            "Example:",
        ],
    ),
    ("sandbox", &["--listen <ADDR>", "--app <SDKAPPID=KEYFILE>", "--tls-out <CA.pem>"]),
    ("apis", &["--json", "Example:"]),
    ("healthcheck", &["--admin <URL>", "Example:"]),
    ("wait", &["--admin <URL>", "--timeout <DURATION>", "Example:"]),
];
