#!/usr/bin/env bash
# Writes what a release build of usersig-gateway is made of, as CycloneDX 1.5 JSON (a software bill of materials), to
# standard output: every package with its version, licence, source and the SHA-256 by which Cargo.lock knows it.
#
# Usage: deploy/sbom.sh [TARGET] >usersig-gateway.cdx.json     TARGET as rustc names it; by default this machine's
#
# Packages that are linked into the program have the scope "required"; what runs only while it is built (build scripts,
# procedural macros and what they need) has "excluded", which is CycloneDX's word for it. The same source gives the
# same bytes: the time in it is SOURCE_DATE_EPOCH, else that of the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
export SOURCE_DATE_EPOCH

exec python3 - "$target" <<'PYTHON'
import json, os, subprocess, sys, time, tomllib, uuid

target = sys.argv[1]


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def tree(edges):
    """What depends on what: `{(name, version): {(name, version), …}}`. Every package stands in it."""
    listing = cargo("tree", "--locked", "--edges", edges, "--target", target, "--prefix", "depth", "--format", " {p}")
    dependencies, path = {}, []
    for line in listing.splitlines():
        depth, name, version = line.split()[:3]
        package = (name, version.removeprefix("v"))
        path[int(depth):] = [package]
        dependencies.setdefault(package, set())
        if len(path) > 1:
            dependencies[path[-2]].add(package)
    return dependencies, path[0]


def purl(package):
    return "pkg:cargo/{}@{}".format(*package)


def component(package, kind="library", scope=None):
    told = metadata[package]
    made = {"type": kind, "bom-ref": purl(package), "name": package[0], "version": package[1]}
    if told["description"]:
        made["description"] = " ".join(told["description"].split())
    if scope:
        made["scope"] = scope
    if package in checksums:
        made["hashes"] = [{"alg": "SHA-256", "content": checksums[package]}]
    # "MIT/Apache-2.0" is how an "or" was written before SPDX.
    made["licenses"] = [{"expression": told["license"].replace(" / ", "/").replace("/", " OR ")}]
    made["purl"] = purl(package)
    links = [("vcs", told["repository"]), ("website", told["homepage"])]
    made["externalReferences"] = [{"type": kind, "url": url} for kind, url in links if url]
    return made


metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target))
metadata = {(package["name"], package["version"]): package for package in metadata["packages"]}
with open("Cargo.lock", "rb") as lock:
    locked = tomllib.load(lock)["package"]
checksums = {(package["name"], package["version"]): package["checksum"] for package in locked if "checksum" in package}
dependencies, root = tree("normal,build")
linked, _ = tree("normal,no-proc-macro")

packages = sorted(package for package in dependencies if package != root)
bom = {
    "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"component": component(root, "application"), "properties": [{"name": "cargo:target", "value": target}]},
    "components": [component(package, scope="required" if package in linked else "excluded") for package in packages],
    "dependencies": [
        {"ref": purl(package), "dependsOn": [purl(other) for other in sorted(dependencies[package])]}
        for package in [root, *packages]
    ],
}
if os.environ["SOURCE_DATE_EPOCH"]:
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))
    bom["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
bom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True)).urn
json.dump(bom, sys.stdout, indent=2, ensure_ascii=False)
print()
PYTHON
