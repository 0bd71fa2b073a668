//! The manual's table of threats: each place and each test that it names exists.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::fs;
use std::path::{Path, PathBuf};

const CHAPTER: &str = include_str!("../../src/manual/threats.rs");

#[test]
fn every_place_and_test_in_the_manual_exists() {
    let rows: Vec<_> = rows(CHAPTER).collect();
    assert!(rows.len() >= 20, "{rows:#?}");
    for [threat, places, tests] in rows {
        for place in quoted(places).filter(|place| place.contains("::")) {
            assert!(!files_of(place).is_empty(), "{threat}: no module {place}");
        }
        let mut named = 0;
        for test in quoted(tests) {
            assert!(exists(test), "{threat}: no test {test}");
            named += 1;
        }
        assert!(named > 0, "{threat}: no test is named");
    }
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    assert!(exists("http_edge::chunks_are_read_strictly"));
    assert!(exists("net::body::gunzip::stops_at_the_limit"));
    assert!(!exists("http_edge::chunks_are_read"));
    assert!(!exists("net::listener::stops_at_the_limit"));
}

/// The table's rows: threat, places, tests.
fn rows(chapter: &str) -> impl Iterator<Item = [&str; 3]> {
    let (_, table) = chapter.split_once("| --- | --- | --- |\n").unwrap();
    table.lines().map(|line| {
        let mut cells = line.trim_start_matches("//! |").trim_end_matches('|').split(" | ").map(str::trim);
        let row = [cells.next(), cells.next(), cells.next()].map(Option::unwrap);
        assert_eq!(cells.next(), None, "{line}");
        row
    })
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether a test of this name stands in a file of the module that is named before it.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").unwrap();
    let definition = format!("fn {name}(");
    files_of(module).iter().any(|file| fs::read_to_string(file).unwrap().contains(&definition))
}

/// The files of a module: of the library, else of the whole-gateway tests.
fn files_of(module: &str) -> Vec<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = module.replace("::", "/");
    let mut files = Vec::new();
    for root in ["src", "tests/it"] {
        let base = project.join(root).join(&path);
        files.extend(Some(base.with_extension("rs")).filter(|file| file.is_file()));
        collect(&base, &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
