//! The command line: which commands there are, and how they end.
//!
//! Each command is a file of its own with its arguments (`Args`) and its work (`run`). Answers go to the writer that
//! `run` is given (standard output), logs to standard error. A command that fails returns a [`Failure`], whose
//! message [`main`] writes to standard error.

mod apis;
mod call;
mod check;
mod config_args;
mod demo;
mod exchange;
mod health;
mod inspect;
mod sandbox;
mod serve;
mod sign;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The gateway to Tencent Cloud's Live, Chat, Conference and Call server REST API: signs, paces, forwards, counts.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Check(check::Args),
    Sign(sign::Args),
    Inspect(inspect::Args),
    Call(call::Args),
    Sandbox(sandbox::Args),
    Apis(apis::Args),
    Healthcheck(health::HealthcheckArgs),
    Wait(health::WaitArgs),
}

/// Why a command did not succeed: what to tell, and the exit status.
#[derive(Debug)]
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// Something went wrong: exit status 1.
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: 1 }
    }

    /// Configuration or arguments are bad: exit status 2.
    fn bad_input(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: 2 }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Runs the command that the arguments name, and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    forbid_core_dumps();
    let mut out = std::io::stdout().lock();
    match run(Cli::parse().command, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is gone too.
            _ = writeln!(std::io::stderr(), "{}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}

/// A crash must not write the memory, with its keys, to a disk. A limit of 1 also keeps Linux from handing it to a program,
/// which 0 does not (`fs/coredump.c`).
fn forbid_core_dumps() {
    let highest = getrlimit(Resource::Core).maximum.map_or(1, |maximum| maximum.min(1));
    // Nothing forbids to lower a limit.
    _ = setrlimit(Resource::Core, Rlimit { current: Some(highest), maximum: Some(highest) });
}

fn run(command: Command, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(&args, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Sign(args) => sign::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Call(args) => call::run(&args, out),
        Command::Sandbox(args) => sandbox::run(&args, out),
        Command::Apis(args) => apis::run(&args, out),
        Command::Healthcheck(args) => health::healthcheck(&args, out),
        Command::Wait(args) => health::wait(&args, out),
    }
}
