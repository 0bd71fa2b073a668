//! Plain machines: the systemd unit and the compose file, read by their own tools.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::{deploy, tool};

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
fn compose_takes_the_file() {
    let mut compose = Command::new("docker-compose");
    let told =
        tool(compose.arg("-f").arg(deploy().join("compose.yaml")).args(["--profile", "watch", "config"]));
    for part in ["read_only: true", "dockerfile: deploy/Dockerfile", "prom/prometheus"] {
        assert!(told.contains(part), "{told}");
    }
}
