//! The source tree keeps its floors: an import points down, and every file is small, told and plain.
//!
//! The tables below say which part stands on which floor, and in which order a call meets the steps inside `gateway`.
//! A part without a place in them is a failure too: whoever adds one decides where it stands.

mod imports;
mod tokens;

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use imports::{Import, Path};
use tokens::tokens;

/// The parts of the crate from the top down. A part imports from floors below its own, never from its own.
const FLOORS: [(u8, &[&str]); 7] = [
    (6, &["main", "cli", "fuzzing"]),
    (5, &["app"]),
    (4, &["config"]),
    (3, &["admin"]),
    (2, &["gateway", "sandbox"]),
    (1, &["net", "telemetry"]),
    (0, &["model", "clock", "manual"]),
];

/// What is inside `gateway`, each importing from those before it: first the steps in the order of a call, then what
/// is made of them. `gateway/mod.rs` stands behind them all.
const GATEWAY: [&str; 13] = [
    "caller",
    "target",
    "policy",
    "admission",
    "credentials",
    "forward",
    "outcome",
    "trip",
    "rejection",
    "reply",
    "record",
    "attempt",
    "pipeline",
];

/// How many of those are steps.
const STEPS: usize = 7;

/// Settings that stand in `gateway/mod.rs`, for configuration to fill; all but the steps may name them.
const GATEWAY_SETTINGS: [&str; 5] = ["AnswersSettings", "HttpStatus", "Limits", "RecordSettings", "Settings"];

const READABLE: &str = "the source tree can be read";

/// The most lines of a file, its tests not counted.
const LONGEST_FILE: usize = 500;

#[test]
fn imports_point_down() {
    let files = rust_files("src");
    let contents: Vec<_> =
        files.iter().map(|(file, text)| (file, imports::read(&module_of(file), text))).collect();
    let for_tests: Vec<_> = contents.iter().flat_map(|(_, contents)| &contents.test_modules).collect();
    let mut complaints = Vec::new();
    for (file, contents) in &contents {
        if for_tests.iter().any(|module| module_of(file).starts_with(module)) {
            continue;
        }
        for import in &contents.imports {
            complaints.extend(complaint(import).map(|why| format!("src/{file}:{}: {why}", import.line)));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_part_has_a_floor() {
    for (file, _) in rust_files("src") {
        let module = module_of(&file);
        if let Some(part) = module.first() {
            assert!(floor(part).is_some(), "src/{file}: `{part}` stands on no floor of tests/it/layering.rs");
        }
        if let [gateway, inner, ..] = &module[..]
            && gateway == "gateway"
        {
            assert!(place(inner).is_some(), "src/{file}: `{inner}` has no place in tests/it/layering.rs");
        }
    }
}

#[test]
fn the_front_page_tells_the_same_floors() {
    let front_page = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let told: Vec<(u8, Vec<&str>)> = front_page
        .lines()
        .filter_map(|line| {
            let (floor, parts) = line.strip_prefix("//! | ")?.strip_suffix(" |")?.split_once(" | ")?;
            Some((
                floor.parse().ok()?,
                parts.split(", ").map(|part| part.trim_matches(['[', '`', ']'])).collect(),
            ))
        })
        .collect();
    let kept: Vec<_> = FLOORS.iter().map(|&(floor, parts)| (floor, parts.to_vec())).collect();
    assert_eq!(told, kept);
}

#[test]
fn every_file_is_told_plain_and_short() {
    let mut complaints = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for (file, text) in rust_files(folder) {
            let module = module_of(&file);
            complaints
                .extend(blemishes(&module, &text).iter().map(|what| format!("{folder}/{file}: {what}")));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Why this import must not be, if so.
fn complaint(import: &Import) -> Option<String> {
    let (from, to) = (import.from.first()?, import.to.first());
    let Some(to) = to.filter(|&to| to != "*") else {
        return Some("imports the whole crate; name the part".to_owned());
    };
    let told =
        |why: &str| Some(format!("`{}` imports `{}`: {why}", import.from.join("::"), import.to.join("::")));
    if from == to {
        return if from == "gateway" { inside_gateway(import).and_then(told) } else { None };
    }
    // The binary is nothing but the call of the command line.
    if (from.as_str(), to.as_str()) == ("main", "cli") {
        return None;
    }
    match (floor(from), floor(to)) {
        (Some(from), Some(to)) if to < from => None,
        (Some(from), Some(to)) => told(&format!("from floor {from} to floor {to}")),
        (None, _) | (_, None) => told("one of them stands on no floor"),
    }
}

/// The same for an import from one thing inside `gateway` to another.
fn inside_gateway(import: &Import) -> Option<&'static str> {
    let from = import.from.get(1)?;
    let target = import.to.get(1).map_or("*", String::as_str);
    if from == target {
        return None;
    }
    match (place(from), place(target)) {
        (None, _) => Some("the former has no place in tests/it/layering.rs"),
        (Some(from), Some(to)) if to < from => None,
        (Some(_), Some(_)) => Some("a call meets the latter later"),
        (Some(from), None) if from >= STEPS && GATEWAY_SETTINGS.contains(&target) => None,
        (Some(_), None) => Some("gateway/mod.rs stands on all the others"),
    }
}

/// What a reader would stumble over in one file.
fn blemishes(module: &[String], text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // A sibling `tests.rs` is about the module that it tests.
    let is_tests = module.last().is_some_and(|name| name == "tests");
    if !text.starts_with("//! ") && !is_tests {
        found.push("does not begin with what it is about (//!)".to_owned());
    }
    let tokens = tokens(text);
    for (at, token) in tokens.iter().enumerate() {
        let next = |offset: usize| tokens.get(at + offset).map_or("", |token| token.text);
        match token.text {
            "unsafe" => found.push(format!("line {}: unsafe", token.line)),
            "todo" | "unimplemented" if next(1) == "!" => {
                found.push(format!("line {}: {}!", token.line, token.text));
            }
            "#" if next(1) == "[" && next(2) == "ignore" => {
                found.push(format!("line {}: a test that does not run", token.line));
            }
            _ => {}
        }
    }
    let test_lines: usize = imports::read(module, text).test_lines.into_iter().map(Iterator::count).sum();
    let lines = text.lines().count() - test_lines;
    if lines > LONGEST_FILE && !is_tests {
        found.push(format!("{lines} lines without its tests, {LONGEST_FILE} allowed"));
    }
    found
}

fn floor(part: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, parts)| parts.contains(&part)).map(|&(floor, _)| floor)
}

fn place(inner: &str) -> Option<usize> {
    GATEWAY.iter().position(|&name| name == inner)
}

/// The module that a file of `src` is: `gateway/caller/mod.rs` is `gateway::caller`; `lib.rs` is the root.
fn module_of(file: &str) -> Path {
    let mut module: Path = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|name| name == "mod" || name == "lib") {
        module.pop();
    }
    module
}

/// Every Rust file under `folder`, by its path from there, with its text. A folder that is not there has none.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let top = root().join(folder);
    let mut folders = vec![top.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(&folder).expect(READABLE) {
            let path = entry.expect(READABLE).path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((relative(&path, &top), fs::read_to_string(&path).expect(READABLE)));
            }
        }
    }
    files.sort();
    files
}

fn relative(path: &FilePath, top: &FilePath) -> String {
    let below = path.strip_prefix(top).expect("the walk began at the top");
    below.to_str().expect("the tree's files have plain names").to_owned()
}

fn root() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

// The checker is checked as well: sources that break each rule, and sources that keep it.

fn complaints_about(file: &str, source: &str) -> Vec<String> {
    imports::read(&module_of(file), source).imports.iter().filter_map(complaint).collect()
}

#[test]
fn imports_up_or_sideways_are_caught() {
    for (file, source) in [
        ("net/client.rs", "use crate::telemetry::metrics::Metrics;"),
        ("net/client.rs", "fn a() { crate::gateway::start() }"),
        ("model/api.rs", "use crate::clock;"),
        ("model/api.rs", "use super::super::net::tls;"),
        ("telemetry/mod.rs", "use crate::{model::api, config::settings};"),
        ("sandbox/mod.rs", "use crate::gateway::credentials::usersig;"),
        ("gateway/mod.rs", "use crate::sandbox::Sandbox;"),
        ("gateway/mod.rs", "use crate::admin;"),
        ("config/file.rs", "use crate::cli::Failure;"),
        ("cli/mod.rs", "use crate::main;"),
        ("app/mod.rs", "use crate::*;"),
        ("app/mod.rs", "use crate::elsewhere::Thing;"),
        ("elsewhere.rs", "use crate::model::api;"),
        ("gateway/caller/mod.rs", "use crate::gateway::target::Target;"),
        ("gateway/policy/rule.rs", "use super::super::admission::Permit;"),
        ("gateway/outcome/mod.rs", "use crate::gateway::rejection::Rejection;"),
        ("gateway/forward/mod.rs", "use crate::gateway::Limits;"),
        ("gateway/rejection.rs", "use super::reply::Reply;"),
        ("gateway/reply.rs", "use super::record;"),
        ("gateway/record.rs", "use super::attempt::Attempt;"),
        ("gateway/attempt.rs", "use super::pipeline::Pipeline;"),
        ("gateway/attempt.rs", "use super::*;"),
        ("gateway/pipeline.rs", "use super::Gateway;"),
        ("gateway/other.rs", "use super::caller::Caller;"),
    ] {
        assert_eq!(complaints_about(file, source).len(), 1, "{file}: {source}");
    }
}

#[test]
fn imports_that_point_down_are_not() {
    for (file, source) in [
        ("main.rs", "fn main() { usersig_gateway::cli::main() }"),
        ("cli/call.rs", "use super::{Failure, exchange::Server}; use crate::model::api::ApiName;"),
        ("app/mod.rs", "use crate::{admin, config::settings::Boot, gateway::{self, Limits}, sandbox};"),
        ("gateway/mod.rs", "use pipeline::Pipeline; use self::attempt::Attempts; use crate::net::tls;"),
        ("gateway/mod.rs", "#[cfg(test)] mod tests { use crate::sandbox::Sandbox; use crate::cli; }"),
        ("gateway/pipeline.rs", "use super::{Settings, attempt, caller::Caller, rejection::Rejection};"),
        ("gateway/record.rs", "use super::{RecordSettings, outcome::Outcome, reply::Reply};"),
        ("gateway/outcome/codes.rs", "use super::Verdict; use crate::gateway::caller::Caller;"),
        ("gateway/caller/mod.rs", "//! Before [`crate::gateway::pipeline`].\n// use crate::cli;"),
    ] {
        assert_eq!(complaints_about(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

#[test]
fn blemishes_are_caught() {
    let long = |lines: usize| format!("//! Story.\n{}", "const A: u8 = 0;\n".repeat(lines - 1));
    let with_tests = long(LONGEST_FILE) + "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    for (source, expected) in [
        ("//! Story.\nfn a() {}\n".to_owned(), 0),
        ("fn a() {}\n".to_owned(), 1),
        ("// Story.\nfn a() {}\n".to_owned(), 1),
        ("//! Story.\nfn a() { unsafe { b() } }\n".to_owned(), 1),
        ("//! Story.\nfn a() { todo!(); unimplemented!() }\n".to_owned(), 2),
        ("//! Story.\n#[test]\n#[ignore = \"slow\"]\nfn a() {}\n".to_owned(), 1),
        ("//! No `unsafe`, no todo!().\nconst A: &str = \"unsafe #[ignore]\";\n".to_owned(), 0),
        (long(LONGEST_FILE), 0),
        (long(LONGEST_FILE + 1), 1),
        (with_tests, 0),
    ] {
        assert_eq!(
            blemishes(&["net".to_owned()], &source).len(),
            expected,
            "{}",
            &source[..source.len().min(80)]
        );
    }
    assert_eq!(blemishes(&["net".to_owned(), "tests".to_owned()], "fn a() {}\n"), Vec::<String>::new());
}
