//! Plain machines: the systemd unit and the compose files, read by their own tools, and the script that shows a shared ceiling.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use super::{deploy, tool};
use crate::process::Process;
use crate::redis_server::free_port;

#[test]
fn systemd_finds_the_unit_well_caged() {
    let unit = deploy().join("systemd/usersig-gateway.service");
    // Exposure goes from 0 to 10; the threshold is in tenths.
    let mut analyze = Command::new("systemd-analyze");
    tool(analyze.args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit));
}

#[test]
fn systemd_understands_the_unit_and_its_drop_in() {
    // It wants to find the program that the unit starts.
    let folder = TempDir::new().unwrap();
    let unit = fs::read_to_string(deploy().join("systemd/usersig-gateway.service")).unwrap();
    let unit = unit.replace("/usr/local/bin/usersig-gateway", env!("CARGO_BIN_EXE_usersig-gateway"));
    let path = folder.path().join("usersig-gateway.service");
    fs::write(&path, unit).unwrap();
    let drop_in = folder.path().join("usersig-gateway.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::copy(deploy().join("systemd/socket.conf"), drop_in.join("socket.conf")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let output = verify.arg("verify").arg(&path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // Of other units on this machine it may think what it likes.
    assert!(output.status.success() && !told.contains("usersig-gateway"), "{told}");
}

#[test]
fn compose_takes_the_files() {
    let config = |file: &str, profile: &[&str]| {
        let mut compose = Command::new("docker-compose");
        tool(compose.arg("-f").arg(deploy().join(file)).args(profile).arg("config"))
    };
    let told = config("compose.yaml", &["--profile", "watch"]);
    for part in ["read_only: true", "dockerfile: deploy/Dockerfile", "prom/prometheus"] {
        assert!(told.contains(part), "{told}");
    }
    let told = config("shared/compose.yaml", &[]);
    for part in [
        "gateway3:",
        "network_mode: service:net",
        "redis-server",
        "20000001=/etc/usersig-gateway/made-up.key",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn the_script_shows_that_three_gateways_keep_one_ceiling() {
    let ports: Vec<_> = (0..8).map(|_| free_port()).collect();
    // A shell cannot hear what was ignored when it began, as SIGINT is in all that a script runs in the background.
    let mut script = Command::new("env");
    script
        .arg("--default-signal=INT")
        .arg(deploy().join("shared/run.sh"))
        .arg("3")
        .env("USERSIG_GATEWAY", env!("CARGO_BIN_EXE_usersig-gateway"))
        // A busy machine proves nothing wrong.
        .env("USERSIG_GATEWAY__CEILING__TRANSIT_MAX", "1s")
        .env("PORTS", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" "));
    let script = Process::start(script);
    let arrived = script.printed(|line| line.starts_with("arrived at the sandbox: "));
    let words = arrived.split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
    let [calls, worst, ceiling, refused] = numbers[..] else { panic!("{arrived}") };
    assert!(calls > 0 && worst > 0 && worst <= ceiling && refused == 0, "{arrived}");

    script.printed(|line| line == "Ctrl-C ends it.");
    script.signal("INT");
    assert_eq!(script.end().status, Some(0));
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody still listens on {port}");
    }
}
