//! The real binary, run to its end.

use std::process::{Command, Output, Stdio};

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary with these arguments, with nothing of this process's input.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usersig-gateway"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the binary with these arguments.
pub(crate) fn run(args: &[&str]) -> Run {
    finish(command(args).output().expect("the binary was built with this test"))
}

/// What a process that ended left behind.
pub(crate) fn finish(output: Output) -> Run {
    let text = |bytes| String::from_utf8(bytes).expect("the binary writes UTF-8");
    Run { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
