//! Whatever `deploy/` and `config/` name is there: metrics, words of the program, commands with their flags, routes, APIs,
//! configuration keys, environment variables and files.
//!
//! The texts are read word by word, whatever language they are in. What README's tables list is tested elsewhere to be
//! what the program has.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, project};
use crate::binary::run;

#[test]
fn every_metric_exists() {
    let known: BTreeSet<String> = table(&readme(), "| metric | labels | meaning |").into_iter().collect();
    let mut seen = BTreeSet::new();
    each_word(is_name, |place, word| {
        let Some(name) = word.strip_prefix("usersig_gateway_").filter(|name| !name.is_empty()) else {
            return;
        };
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
        assert!(known.contains(name), "{place}: there is no metric {word}");
        seen.insert(name.to_owned());
    });
    assert!(seen.len() >= 10, "{seen:?}");
}

/// Metrics without their prefix, labels, reasons, outcomes and fields of the access line: all are words of the source.
#[test]
fn every_word_with_an_underscore_is_the_programs() {
    let source: String = files("src").into_iter().map(|(_, text)| text).collect();
    let words: BTreeSet<&str> = source.split(|c| !is_name(c)).collect();
    let mut seen = 0;
    for (path, text) in texts() {
        // YAML, JSON and units have words of their own: there it is what stands in alerts that is ours.
        let name = path.strip_prefix(project()).unwrap().to_string_lossy().into_owned();
        if !(name.ends_with(".md") || name.ends_with("alerts.yaml") || name.ends_with(".toml")) {
            continue;
        }
        for word in text.split(|c| !is_name(c)).filter(|word| word.contains('_')) {
            let bare = word.strip_prefix("usersig_gateway_").unwrap_or(word);
            let bare = ["_bucket", "_sum", "_count"]
                .iter()
                .fold(bare, |name, end| name.strip_suffix(end).unwrap_or(name));
            let is_variable = !word.contains(|c: char| c.is_ascii_lowercase());
            let foreign = FOREIGN.contains(&word) || is_variable || word.starts_with('_');
            assert!(foreign || words.contains(bare), "{name}: the program has no {word}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn every_command_has_its_flags() {
    let help = run(&["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let commands = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let flags: BTreeMap<&str, String> =
        commands.filter(|name| *name != "help").map(|name| (name, run(&[name, "--help"]).stdout)).collect();
    let mut seen = 0;
    for (path, text) in texts() {
        for line in text.lines() {
            // A list of arguments reads like a command line.
            let line = line.replace(['[', ']', '"', ',', '`'], " ");
            let mut words = line.split_whitespace().peekable();
            while let Some(word) = words.next() {
                let is_program = word.ends_with("usersig-gateway") || ["args:", "CMD"].contains(&word);
                let Some((_, help)) =
                    words.peek().and_then(|next| flags.get_key_value(next)).filter(|_| is_program)
                else {
                    continue;
                };
                seen += 1;
                for flag in words.clone().take_while(|word| !["|", "&&", "#", ";"].contains(word)) {
                    if let Some(name) = flag.strip_prefix("--") {
                        let name = name.split('=').next().unwrap().trim_end_matches(['.', ';', ':', ')']);
                        let known = help.split(|c: char| !(c.is_alphanumeric() || c == '-'));
                        let is_known = known.clone().any(|word| word == format!("--{name}"));
                        assert!(is_known, "{}: {line}: there is no --{name}", path.display());
                    }
                }
            }
        }
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn every_key_of_the_configuration_exists() {
    let keys = table(&readme(), "| key | default | meaning |");
    let tables: BTreeSet<&str> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    // A label of Kubernetes'.
    let known = |key: &str| {
        key.starts_with("app.kubernetes.io")
            || keys.iter().any(|one| one == key || one.starts_with(&format!("{key}.")))
    };
    let mut seen = 0;
    each_word(
        |c| is_name(c) || c == '.',
        |place, word| {
            let word = word.trim_end_matches(['.', ':']);
            let key = if let Some(variable) = word.strip_prefix("USERSIG_GATEWAY__") {
                variable.to_lowercase().replace("__", ".")
            } else {
                word.to_owned()
            };
            // A file such as callers.toml, or an image's name, is none.
            let Some((table, name)) = key.split_once('.').filter(|(table, _)| tables.contains(table)) else {
                return;
            };
            if name.split('.').all(|part| part.contains(|c: char| c.is_ascii_lowercase()))
                && !FILES.iter().any(|end| word.ends_with(end))
            {
                assert!(known(&key), "{place}: there is no key {table}.{name}");
                seen += 1;
            }
        },
    );
    assert!(seen >= 20, "{seen}");
}

#[test]
fn every_route_and_every_api_exists() {
    let apis = run(&["apis", "--json"]).stdout;
    let mut seen = BTreeSet::new();
    each_word(
        |c| is_name(c) || "/:-.".contains(c),
        |place, word| {
            let word = word.trim_end_matches(['.', ':']);
            if let Some((_, api)) = word.split_once("/v4/").filter(|(_, api)| api.contains('/')) {
                assert!(
                    apis.contains(&format!("\"v4/{}\"", api.trim_end_matches('/'))),
                    "{place}: no API {api}"
                );
                seen.insert(api.to_owned());
            }
            if let Some((_, route)) = word.split_once(":9901/") {
                assert!(ROUTES.contains(&format!("/{route}").as_str()), "{place}: no route /{route}");
                seen.insert(route.to_owned());
            }
            let shape = word.strip_prefix('/').filter(|word| word.ends_with('z') || word.starts_with("-/"));
            if let Some(route) = shape.filter(|route| !route.contains("//")) {
                assert!(ROUTES.contains(&format!("/{route}").as_str()), "{place}: no route /{route}");
            }
        },
    );
    assert!(seen.len() >= 3, "{seen:?}");
}

#[test]
fn every_file_exists() {
    let mut seen = 0;
    each_word(
        |c| is_name(c) || "/.-".contains(c),
        |place, word| {
            let word = word.trim_end_matches(['.', '/']);
            let folder = word.split('/').next().unwrap();
            if ["deploy", "config", "src", "tests", "benches"].contains(&folder) && word.contains('/') {
                // The user's own: README says to make it.
                let exists = project().join(word).exists() || word.starts_with("config/secrets");
                assert!(exists, "{place}: there is no {word}");
                seen += 1;
            }
        },
    );
    assert!(seen >= 10, "{seen}");
}

/// What the admin listener answers; `pods::every_probe_is_answered` and the tests of `src/admin` ask it.
pub(super) const ROUTES: [&str; 8] =
    ["/", "/-/quit", "/-/reload", "/livez", "/metrics", "/readyz", "/startupz", "/status.json"];

/// Ends of words that look like keys and are files.
const FILES: [&str; 6] = [".toml", ".json", ".yaml", ".yml", ".md", ".rs"];

/// Words with an underscore that belong to others; so do environment variables, all in capitals.
const FOREIGN: [&str; 5] = ["look_at", "to_do", "runbook_url", "avg_over_time", "max_over_time"];

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Everything that is read here.
fn texts() -> Vec<(std::path::PathBuf, String)> {
    ["deploy", "config"].into_iter().flat_map(files).collect()
}

/// Calls `judge` with every word of the texts, and where it stands.
fn each_word(is_part: impl Fn(char) -> bool, mut judge: impl FnMut(&str, &str)) {
    for (path, text) in texts() {
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), index + 1);
            line.split(|c| !is_part(c)).filter(|word| !word.is_empty()).for_each(|word| judge(&place, word));
        }
    }
}

fn readme() -> String {
    std::fs::read_to_string(project().join("README.md")).unwrap()
}

/// The names in the first column of the table with this head. In `listen.tls.cert_file, .key_file` the second is
/// `listen.tls.key_file`.
fn table(readme: &str, head: &str) -> Vec<String> {
    let (_, table) = readme.split_once(head).unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let cells = table.lines().filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
    let mut names: Vec<String> = Vec::new();
    for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let sibling = names.last().and_then(|last| last.rsplit_once('.'));
        let name = match (name.strip_prefix('.'), sibling) {
            (Some(name), Some((table, _))) => format!("{table}.{name}"),
            _ => name.to_owned(),
        };
        names.push(name);
    }
    names
}
