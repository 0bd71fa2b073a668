use std::fs;
use std::path::Path;

use super::TARGETS;

/// Every input of every corpus, those among them that once found a fault.
#[test]
fn every_target_holds_on_its_corpus() {
    for (target, run) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(folder().join("corpus").join(target)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "{} breaks a promise", path.display());
            inputs += 1;
        }
        assert!(inputs >= 5, "{target} has a corpus of {inputs}");
    }
}

/// cargo-fuzz builds what `tests/fuzz` lists; what is listed here and not there would never be fuzzed.
#[test]
fn every_target_is_fuzzed() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let built: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\""))
        .collect();
    assert_eq!(built, TARGETS.map(|(target, _)| target));
    for target in built {
        let source = fs::read_to_string(folder().join("targets").join(target).with_extension("rs")).unwrap();
        assert!(source.contains(&format!("usersig_gateway::fuzzing::{target}::run(data)")), "{source}");
    }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz"))
}
