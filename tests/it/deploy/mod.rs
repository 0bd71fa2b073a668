//! What `deploy/` holds, judged by the real tools: kubectl, Helm's engine, Kubernetes' schemas, buildah, promtool, systemd and
//! docker-compose; and whatever it names exists in the program.

mod alerts;
mod examples;
mod image;
mod manifests;
mod names;
mod openapi;
mod pods;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::python;
use crate::world::{key, sdkappid};

/// Kubernetes objects, as one tool rendered them.
pub(crate) type Bundle = Vec<Value>;

/// What `tests/python/manifests.py` found.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// By tool and what it rendered: `kustomize base`, `helm redis`.
    pub(crate) bundles: BTreeMap<String, Bundle>,
    /// What the tools and the schemas complain of.
    pub(crate) problems: Vec<String>,
    /// The Kubernetes versions whose schemas were asked.
    pub(crate) versions: Vec<String>,
}

/// Everything rendered, once for all tests.
pub(crate) fn rendered() -> &'static Rendered {
    static RENDERED: OnceLock<Rendered> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let mut script = python::script("manifests.py");
        script.args([deploy(), project().join("tests/data/helm-parent")]);
        let output = script.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let mut found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut take = |key: &str| found[key].take();
        Rendered {
            bundles: serde_json::from_value(take("bundles")).unwrap(),
            problems: serde_json::from_value(take("problems")).unwrap(),
            versions: serde_json::from_value(take("versions")).unwrap(),
        }
    })
}

/// The object of this kind and name.
pub(crate) fn object<'a>(bundle: &'a Bundle, kind: &str, name: &str) -> &'a Value {
    let found = bundle.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// A sandbox over TLS, with the app that whole-program tests configure.
pub(crate) async fn sandbox() -> Sandbox {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    Sandbox::start(Settings { tls: true, apps, ..Settings::default() }, Arc::new(SystemClock)).await.unwrap()
}

pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn deploy() -> PathBuf {
    project().join("deploy")
}

/// Every file below a folder of the project, with its text.
pub(crate) fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![project().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Runs a tool to its end.
///
/// # Panics
/// When it is not installed or fails. The message shows what it wrote.
pub(crate) fn tool(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} (see tests/run.sh): {error}"));
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}
