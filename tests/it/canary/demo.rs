//! The demo makes up its key, so what must not be seen is found out first: in its memory.

use std::collections::BTreeSet;
use std::process::Command;

use super::secrets::Secrets;
use super::{WRONG_KEY, callers_own};
use crate::binary::{command, run};
use crate::process::Process;

#[test]
fn the_demo_shows_no_secret() {
    let mut demo =
        command(&["demo", "--gateway", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--sandbox", "127.0.0.1:0"]);
    demo.env("RUST_LOG", "trace");
    let demo = Process::start(demo);
    demo.printed(|line| line == "Ctrl-C ends it.");
    let address = |of: &str| {
        let lines = demo.stdout();
        let line = lines.iter().find_map(|line| line.strip_prefix(of)).unwrap();
        line.split_whitespace().next().unwrap().trim_end_matches('/').to_owned()
    };
    let [gateway, admin, sandbox] = ["gateway", "admin", "sandbox"].map(address);
    assert_eq!(run(&["wait", "--admin", &admin]).status, Some(0));

    let mut seen = Vec::new();
    let own = callers_own();
    for path in ["/v4/live_config/get_callback", "/v4/live_config/get_callback_token", "/v4/nothing/x", "/x"]
    {
        seen.extend(curl(&["-d", "{}", &format!("{gateway}{path}?usersig={own}")]));
    }
    for url in [
        format!("{sandbox}/sandbox/report?calls=100"),
        format!("{admin}/"),
        format!("{admin}/metrics"),
        format!("{admin}/status.json"),
    ] {
        seen.extend(curl(&[&url]));
    }
    let secrets = secrets_in_memory(&demo);
    demo.signal("INT");
    let ended = demo.end();
    assert!(ended.count_access_lines() >= 4, "{:#?}", ended.log);
    secrets.not_in("what the demo answers", &seen);
    secrets.not_in("what the demo prints", ended.stdout.join("\n").as_bytes());
    secrets.not_in("the demo's log", ended.log.join("\n").as_bytes());
}

/// The key and the UserSigs, by their form: 64 hexadecimal digits, and the base64 of a zlib stream.
fn secrets_in_memory(demo: &Process) -> Secrets {
    let (mut keys, mut usersigs) = (BTreeSet::new(), BTreeSet::new());
    for area in demo.memory() {
        for word in long_words(&area) {
            let is_hex = word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if word.len() == 64 && is_hex {
                keys.insert(word.to_owned());
            } else if word.len() > 100 && word.starts_with("eJ") && word != callers_own() {
                usersigs.insert(word.to_owned());
            }
        }
    }
    assert!((1..20).contains(&keys.len()), "{keys:?}");
    assert!((1..20).contains(&usersigs.len()), "{usersigs:?}");
    let mut secrets = Secrets::none();
    keys.iter().for_each(|key| secrets.add("the demo's key", key));
    usersigs.iter().for_each(|usersig| secrets.add("a UserSig", usersig));
    secrets.add("another key", WRONG_KEY);
    secrets.add_usersig(&callers_own());
    secrets
}

/// Every run of at least 64 characters of which keys and UserSigs are made. Of each, some byte stands at a multiple of 64: so
/// that the rest, which is nearly all, is passed over.
fn long_words(area: &[u8]) -> Vec<&str> {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"*-_".contains(byte);
    let (mut words, mut at) = (Vec::new(), 0);
    while at < area.len() {
        let mut end = at;
        if is_of_word(&area[at]) {
            let first = area[..at].iter().rposition(|byte| !is_of_word(byte)).map_or(0, |before| before + 1);
            end = area[at..].iter().position(|byte| !is_of_word(byte)).map_or(area.len(), |len| at + len);
            words.extend(std::str::from_utf8(&area[first..end]).ok().filter(|word| word.len() >= 64));
        }
        at = (end / 64 + 1) * 64;
    }
    words
}

fn curl(args: &[&str]) -> Vec<u8> {
    // A proxy of this machine's is not the demo's.
    let output =
        Command::new("curl").args(["-s", "-i", "--insecure", "--noproxy", "*"]).args(args).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}: {output:?}");
    output.stdout
}
