//! What the program is made of: the bill of materials tells it, and what must not be in it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

use crate::python;

/// `(name, version)`.
type Package = (String, String);

#[test]
fn the_bill_of_materials_is_cyclonedx_and_the_same_each_time() {
    assert_eq!(*BOM, bill_of_materials());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sbom.json");
    fs::write(&file, &*BOM).unwrap();
    let judged = python::script("sbom.py").arg(&file).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));

    let bom: Value = serde_json::from_str(&BOM).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bom["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let program = &bom["metadata"]["component"];
    assert_eq!(program["name"], env!("CARGO_PKG_NAME"));
    assert_eq!(program["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_package_is_told_with_its_hash_source_and_licence() {
    let bom: Value = serde_json::from_str(&BOM).unwrap();
    let locked = locked();
    let components = bom["components"].as_array().unwrap();
    assert!(components.len() > 100, "{}", components.len());
    for component in components {
        let package = package(component);
        let (name, version) = &package;
        assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{name}");
        assert_eq!(component["hashes"][0]["content"], *locked[&package], "{name}");
        assert_eq!(component["purl"], format!("pkg:cargo/{name}@{version}"));
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.is_empty() && !licence.contains('/'), "{name}: {licence}");
    }
    let told: BTreeSet<Package> = components.iter().map(package).collect();
    assert_eq!(told.len(), components.len(), "each once");

    // What the program names itself is linked; what only tests and benches need is not there.
    let scope = |name: &str| {
        let mut scopes =
            components.iter().filter(|c| c["name"] == name).map(|c| c["scope"].as_str().unwrap());
        scopes.next()
    };
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(project().join("Cargo.toml")).unwrap()).unwrap();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert_eq!(scope(name), Some("required"), "{name}");
    }
    for (name, expected) in
        [("ring", Some("required")), ("serde_derive", Some("excluded")), ("cc", Some("excluded"))]
    {
        assert_eq!(scope(name), expected, "{name}");
    }
    for name in ["proptest", "criterion", "tempfile", "sfv"] {
        assert_eq!(scope(name), None, "{name}");
    }
}

/// Whatever is in it is there because something else in it needs it, down from the program.
#[test]
fn the_bill_of_materials_tells_what_needs_what() {
    let bom: Value = serde_json::from_str(&BOM).unwrap();
    let needs: BTreeMap<&str, Vec<&str>> = bom["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let needed = entry["dependsOn"].as_array().unwrap().iter().map(|other| other.as_str().unwrap());
            (entry["ref"].as_str().unwrap(), needed.collect())
        })
        .collect();
    let mut reached = BTreeSet::new();
    let mut to_come = vec![bom["metadata"]["component"]["bom-ref"].as_str().unwrap()];
    while let Some(next) = to_come.pop() {
        if reached.insert(next) {
            to_come.extend(&needs[next]);
        }
    }
    assert_eq!(reached.len(), bom["components"].as_array().unwrap().len() + 1);
    assert_eq!(reached.len(), needs.len());
}

#[test]
fn a_second_tls_stack_a_strange_source_or_licence_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |file: &str, name: &str, licence: &str| {
        write(&format!("{file}/src/lib.rs"), "");
        write(
            &format!("{file}/Cargo.toml"),
            &format!(
                "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nlicense = \"{licence}\"\n[workspace]\n"
            ),
        );
    };
    package("good", "good", "MIT");
    package("openssl", "openssl", "Apache-2.0");
    package("copyleft", "copyleft", "GPL-3.0-only");
    package("elsewhere", "elsewhere", "MIT");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
        let elsewhere = folder.path().join("elsewhere");
        let status =
            Command::new("git").current_dir(elsewhere).args(identity).args(arguments).output().unwrap();
        assert!(status.status.success(), "{status:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "x"]);
    let elsewhere = format!("{{ git = \"file://{}\" }}", folder.path().join("elsewhere").display());

    for (dependency, check, refused) in [
        ("good = { path = \"../good\", version = \"1\" }", "bans", None),
        ("good = { path = \"../good\", version = \"1\" }", "licenses", None),
        ("good = { path = \"../good\", version = \"1\" }", "sources", None),
        (
            "openssl = { path = \"../openssl\", version = \"1\" }",
            "bans",
            Some("one TLS stack: rustls with ring"),
        ),
        ("copyleft = { path = \"../copyleft\", version = \"1\" }", "licenses", Some("GPL-3.0")),
        (&format!("elsewhere = {elsewhere}"), "sources", Some("source-not-allowed")),
    ] {
        package("program", "program", "MIT");
        let manifest = fs::read_to_string(folder.path().join("program/Cargo.toml")).unwrap();
        write("program/Cargo.toml", &format!("{manifest}[dependencies]\n{dependency}\n"));
        let judged = deny(&folder.path().join("program/Cargo.toml"), check);
        let told = String::from_utf8_lossy(&judged.stderr);
        assert_eq!(judged.status.success(), refused.is_none(), "{dependency}: {told}");
        assert!(told.contains(refused.unwrap_or_default()), "{dependency}: {told}");
    }
}

static BOM: LazyLock<String> = LazyLock::new(bill_of_materials);

fn bill_of_materials() -> String {
    let made = Command::new(project().join("deploy/sbom.sh"))
        .arg("x86_64-unknown-linux-gnu")
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

fn deny(manifest: &Path, check: &str) -> Output {
    // But for this: so small a tree meets few of the licences that are allowed.
    let config = fs::read_to_string(project().join(".cargo/deny.toml")).unwrap();
    let strict = "unused-allowed-license = \"deny\"";
    assert!(config.contains(strict));
    let config = config.replace(strict, "unused-allowed-license = \"allow\"");
    let path = manifest.with_file_name("deny.toml");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("cargo");
    command.args(["deny", "--manifest-path"]).arg(manifest).arg("--config").arg(path).args(["check", check]);
    command.output().unwrap()
}

fn package(component: &Value) -> Package {
    let text = |name: &str| component[name].as_str().unwrap().to_owned();
    (text("name"), text("version"))
}

/// The checksums of Cargo.lock.
fn locked() -> BTreeMap<Package, String> {
    let lock: toml::Table =
        toml::from_str(&fs::read_to_string(project().join("Cargo.lock")).unwrap()).unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    packages
        .filter_map(|package| {
            let text = |name: &str| Some(package.get(name)?.as_str()?.to_owned());
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect()
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
