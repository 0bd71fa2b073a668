//! The Python that has the libraries and tools which judge us, and its scripts in `tests/python/`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs this script of ours with the interpreter that `USERSIG_GATEWAY_TEST_PYTHON` names, by default the
/// one that `tests/run.sh` sets up under `target/`.
///
/// # Panics
/// When there is no such interpreter.
pub(crate) fn script(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(project().join("tests/python").join(name));
    command
}

/// The interpreter.
pub(crate) fn interpreter() -> PathBuf {
    let python = std::env::var_os("USERSIG_GATEWAY_TEST_PYTHON")
        .map_or_else(|| project().join("target/test-venv/bin/python"), PathBuf::from);
    assert!(python.exists(), "{} is missing: run tests/run.sh first", python.display());
    python
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
