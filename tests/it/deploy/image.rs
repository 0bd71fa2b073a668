//! The image: built from the Dockerfile by buildah, around a static program that was built before, and run as a container
//! would be: its own root, read-only, as nobody, with nothing else in it.
//!
//! It needs Debian's buildah and bubblewrap, and the static program that `tests/run.sh` builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{deploy, files, project, sandbox, tool};
use crate::client::{post, send};
use crate::process::{Process, configuration};

#[tokio::test(flavor = "multi_thread")]
async fn the_image_runs_with_nothing_else_in_its_root() {
    let image = Image::build();
    let config = image.config();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["WorkingDir"], "/etc/usersig-gateway");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["ExposedPorts"], json!({ "8080/tcp": {}, "9901/tcp": {} }));
    let labels = config["Labels"].as_object().unwrap();
    assert_eq!(labels["org.opencontainers.image.version"], "1.2.3");
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");

    let root = image.root();
    let mut found = Vec::new();
    list(&root, &root, &mut found);
    found.sort();
    assert_eq!(found, ["etc", "etc/usersig-gateway", "usersig-gateway"]);

    // What its runtime adds: a file with names, and what is mounted.
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    let sandbox = sandbox().await;
    let folder = configuration(&sandbox, "");
    let toml = fs::read_to_string(folder.path().join("gateway.toml")).unwrap();
    // Names are looked up, which a static program does by itself.
    let toml = toml.replace("https://127.0.0.1:", "https://localhost:");
    assert!(toml.contains("https://localhost:"), "{toml}");
    fs::write(folder.path().join("gateway.toml"), toml).unwrap();

    let words = |key: &str| -> Vec<String> { serde_json::from_value(config[key].clone()).unwrap() };
    let serving =
        Process::start(contained(&root, folder.path(), &[words("Entrypoint"), words("Cmd")].concat()));
    let [gateway, admin] = ["gateway", "admin"].map(|listener| {
        let named = format!("\"listener\":\"{listener}\"");
        let line = serving.logged(|line| line.contains("\"listening\"") && line.contains(&named));
        let line: Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().to_owned()
    });
    let answer = send(&gateway, post("/v4/live_config/get_callback", "{}")).await;
    assert_eq!(answer.codes(), (200, 0), "{}", answer.error_info());

    let check: Vec<String> = serde_json::from_value(config["Healthcheck"]["Test"].clone()).unwrap();
    assert_eq!(check[0], "CMD");
    // The listeners of this test are on free ports.
    let check = [&check[1..], &["--admin".to_owned(), format!("http://{admin}")]].concat();
    assert_eq!(tool(&mut contained(&root, folder.path(), &check)), "ready\n");

    let call =
        ["/usersig-gateway", "call", "--gateway", &format!("http://{gateway}"), "live_config/get_callback"];
    assert!(tool(&mut contained(&root, folder.path(), &call.map(str::to_owned))).contains("\"ErrorCode\":0"));
    sandbox.stop().await;
}

/// The first stage compiles what `.dockerignore` lets in, and nothing that Cargo.toml names may be missing there.
#[test]
fn the_build_has_all_that_it_takes() {
    let folder = TempDir::new().unwrap();
    let rules = fs::read_to_string(project().join(".dockerignore")).unwrap();
    for name in rules.lines().filter_map(|line| line.strip_prefix('!')) {
        tool(Command::new("cp").arg("--recursive").arg(project().join(name)).arg(folder.path()));
    }
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let told = tool(metadata.current_dir(folder.path()));
    assert!(told.contains("\"name\":\"usersig-gateway\""), "{told}");
    // Nor anything that is compiled in from elsewhere.
    for (path, text) in files("src") {
        let shipped = text.split("#[cfg(test)]").next().unwrap();
        let is_test = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
        let outside = ["../tests/", "../config/", "../README", "../deploy/"]
            .iter()
            .any(|start| shipped.contains(start));
        assert!(is_test || !outside, "{} takes in a file that the image's build has not", path.display());
    }
}

/// An image in a storage of its own.
struct Image(TempDir);

// === impl Image ===

impl Image {
    /// Builds the Dockerfile. A folder takes the place of its first stage, which would compile for minutes.
    fn build() -> Self {
        let program = static_program();
        let image = Self(TempDir::new().unwrap());
        let mut build = image.buildah("build-using-dockerfile");
        build.args([
            "--isolation",
            "chroot",
            "--format",
            "docker",
            "--tag",
            NAME,
            "--build-arg",
            "VERSION=1.2.3",
        ]);
        build.arg(format!("--build-context=build={}", program.parent().unwrap().display()));
        tool(build.arg("--file").arg(deploy().join("Dockerfile")).arg(project()));
        image
    }

    fn buildah(&self, command: &str) -> Command {
        let mut buildah = Command::new("buildah");
        for (flag, folder) in [("--root", "storage"), ("--runroot", "run")] {
            buildah.arg(flag).arg(self.0.path().join(folder));
        }
        buildah.args(["--storage-driver", "vfs", command]);
        buildah
    }

    fn config(&self) -> Value {
        let told = tool(self.buildah("inspect").args(["--type", "image", NAME]));
        let told: Value = serde_json::from_str(&told).unwrap();
        told["Docker"]["config"].clone()
    }

    /// Its root, unpacked.
    fn root(&self) -> PathBuf {
        let [layers, root] = ["layers", "root"].map(|name| self.0.path().join(name));
        fs::create_dir(&root).unwrap();
        tool(self.buildah("push").arg("--quiet").arg(NAME).arg(format!("dir:{}", layers.display())));
        let manifest: Value =
            serde_json::from_slice(&fs::read(layers.join("manifest.json")).unwrap()).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let (_, file) = layer["digest"].as_str().unwrap().split_once(':').unwrap();
            tool(
                Command::new("tar")
                    .arg("--extract")
                    .arg("--directory")
                    .arg(&root)
                    .arg("--file")
                    .arg(layers.join(file)),
            );
        }
        root
    }
}

/// The command inside this root, read-only, with the folder mounted where the image expects its configuration.
fn contained(root: &Path, config: &Path, command: &[String]) -> Command {
    let mut bwrap = Command::new("bwrap");
    bwrap.arg("--ro-bind").arg(root).arg("/");
    bwrap.arg("--ro-bind").arg(config).arg("/etc/usersig-gateway");
    bwrap.args(["--unshare-user", "--uid", "65532", "--gid", "65532", "--unshare-ipc", "--unshare-uts"]);
    bwrap.args(["--cap-drop", "ALL", "--clearenv", "--die-with-parent", "--"]).args(command);
    bwrap
}

/// The program that needs no library, as `tests/run.sh` builds it.
fn static_program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_usersig-gateway"));
    let program = built.parent().unwrap().with_file_name("static").join("usersig-gateway");
    assert!(program.exists(), "{} is missing: run tests/run.sh first", program.display());
    program
}

fn list(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        if path.is_dir() {
            list(root, &path, found);
        }
    }
}

const NAME: &str = "localhost/usersig-gateway:test";
