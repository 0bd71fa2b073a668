//! The OpenAPI descriptions of both listeners: schemathesis makes calls of them, good ones and bad ones, at a running gateway, and
//! every answer must be as described.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::names::ROUTES;
use super::{deploy, project, sandbox, tool};
use crate::process::Serving;
use crate::python;

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_answer_as_they_are_described() {
    let sandbox = sandbox().await;
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "FAKE0123456789012345678901234567").unwrap();
    let token = token.to_str().unwrap();
    let serving = Serving::start_with(&sandbox, "", &[("USERSIG_GATEWAY__LISTEN__ADMIN_TOKEN_FILE", token)]);
    for (description, address) in [("gateway.yaml", &serving.gateway), ("admin.yaml", &serving.admin)] {
        let told = tool(&mut schemathesis(folder.path(), description, address));
        assert!(told.contains("No issues found"), "{told}");
    }
    sandbox.stop().await;
}

#[test]
fn every_status_and_every_route_is_described() {
    let text = |name: &str| fs::read_to_string(deploy().join("openapi").join(name)).unwrap();
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let codes: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("| 9900")?.get(..3)).collect();
    assert!(codes.len() >= 13, "{codes:?}");
    let gateway = text("gateway.yaml");
    for code in codes {
        // Each of its paths lists them, once for both families.
        assert_eq!(gateway.matches(&format!("        '{code}': ")).count(), 2, "{code}");
    }
    let admin = text("admin.yaml");
    let described: Vec<&str> = admin
        .lines()
        .filter_map(|line| line.strip_prefix("  /").map(|_| line.trim().trim_end_matches(':')))
        .collect();
    let mut routes = ROUTES.to_vec();
    routes.sort_unstable();
    let mut described = described.clone();
    described.sort_unstable();
    assert_eq!(described, routes);
}

/// The same calls in every run. Whatever it writes goes into `folder`.
fn schemathesis(folder: &Path, description: &str, address: &str) -> Command {
    let mut command = Command::new(python::interpreter().with_file_name("schemathesis"));
    command.current_dir(folder).arg("run").arg(deploy().join("openapi").join(description));
    command.args(["--url", &format!("http://{address}"), "--checks", "all", "--max-examples", "10"]);
    command.args(["--generation-deterministic", "--no-color"]);
    command.args(["--warnings", "off", "--suppress-health-check", "all", "--request-timeout", "60"]);
    command
}
