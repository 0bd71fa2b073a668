//! How many instructions the key paths take, counted by callgrind and held against a baseline in `instructions/`: a
//! guard that a busy machine does not disturb, as it disturbs seconds.
//!
//! - `cargo test --bench instructions` counts in the build that tests use, which is there anyway; `tests/run.sh` does so.
//!   Unoptimised counts are no measure of speed. They grow when the code does more: another look-up, pass or copy.
//! - `cargo bench --bench instructions` counts in the optimised build, and so sees what the compiler made of it too.
//!
//! Either fails when a path takes over 5 % more than its baseline. Where the growth is meant, or a path became shorter,
//! the same with `-- --accept` writes new baselines; commit them with the change, and say in its message why. Another
//! compiler, C library, Valgrind or processor make other code or take other branches in it: that is said, and only
//! growth over 15 % fails then. Accept again after the toolchain has changed, and with no other settings of the build than
//! the project's own: without debug information, say, unoptimised code is up to 6 % shorter.
//!
//! Each path runs twice in processes of its own, some hundred times more the second time; the difference is what it
//! takes, without start and first-time costs. `whole_call` counts in user space what a gateway with one worker does for
//! one call after another over kept-alive connections, plain HTTP on both sides; system calls are not in it.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

#[path = "instructions/baseline.rs"]
mod baseline;
#[path = "instructions/paths.rs"]
mod paths;
#[path = "instructions/whole_call.rs"]
mod whole_call;

use std::process::{Child, Command, ExitCode, Stdio};

use baseline::{Baseline, Judgement};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    match arguments[..] {
        [] => judge(),
        ["--accept"] => accept(),
        // What Valgrind runs.
        ["--features"] => print_features(),
        ["--serve", upstream] => whole_call::serve(upstream),
        ["--run", path, times] => paths::run(path, times.parse().expect("a number")),
        _ => panic!("no such arguments: {arguments:?}; see the head of benches/instructions.rs"),
    }
}

fn judge() -> ExitCode {
    let now = measured();
    let judgement = match Baseline::read() {
        Some(baseline) => Judgement::of(&baseline, &now),
        None => Judgement::without_baseline(&now),
    };
    println!("{judgement}");
    judgement.exit_code()
}

fn accept() -> ExitCode {
    let now = measured();
    now.write();
    println!("{now}");
    ExitCode::SUCCESS
}

fn measured() -> Baseline {
    let mut paths: Vec<(String, u64)> = Vec::new();
    for path in paths::PATHS {
        let count = |times: usize| {
            let child = under_callgrind(&["--run", path.name, &times.to_string()]).spawn();
            collected(child.expect("valgrind runs"))
        };
        paths
            .push((path.name.into(), (count(path.warm + path.times) - count(path.warm)) / path.times as u64));
    }
    paths.push(("whole_call".into(), whole_call::instructions()));
    let features = under_callgrind(&["--features"]).output().expect("valgrind runs").stdout;
    Baseline {
        made_by: [
            told(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), "--version"),
            told("getconf", "GNU_LIBC_VERSION"),
            told("valgrind", "--version"),
            String::from_utf8_lossy(&features).trim().into(),
        ],
        paths,
    }
}

/// This program, in a process whose instructions are counted.
fn under_callgrind(arguments: &[&str]) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().expect("a program has a path")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the end of a process and says how many instructions it took.
fn collected(child: Child) -> u64 {
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    collected.expect("callgrind tells").1.trim().parse().expect("a number")
}

/// What a program says of itself.
fn told(program: &str, argument: &str) -> String {
    let told = Command::new(program).arg(argument).output();
    let told = told.unwrap_or_else(|error| panic!("{program} does not run: {error}")).stdout;
    String::from_utf8_lossy(&told).trim().into()
}

/// What libraries choose their code by, as Valgrind lets them see it.
fn print_features() -> ExitCode {
    let mut features = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("sse4.2", std::arch::is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", std::arch::is_x86_feature_detected!("pclmulqdq")),
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
        ("sha", std::arch::is_x86_feature_detected!("sha")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ] {
        if there {
            features.push(name);
        }
    }
    println!("{}", features.join(" "));
    ExitCode::SUCCESS
}
