#!/usr/bin/env python3
"""Renders everything in deploy/ that becomes Kubernetes objects, with kubectl and with Helm's own engine, and checks each
object against the strict schemas of an old and of the newest known Kubernetes.

Prints one JSON object: "bundles" with the objects of each rendering, "problems" with what the tools complain of,
"versions" with the Kubernetes versions asked. Judging what is in the objects is the caller's task.

Usage: manifests.py DEPLOY_FOLDER PARENT_CHART
"""

import concurrent.futures
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import HelmValuesError, chart

# The oldest that has what the manifests use, and the newest.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]

# Objects of the Prometheus operator: no part of Kubernetes, so it has no schema of them.
WITHOUT_SCHEMA = {"ServiceMonitor", "PrometheusRule"}

HELM = {
    "base": {},
    "redis": {"redis": {"enabled": True}},
    "sidecar": {"sidecar": {"enabled": True}},
    "monitoring": {"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "everything": {
        "imagePullSecrets": [{"name": "registry"}],
        "env": {"USERSIG_GATEWAY__LISTEN__MAX_IN_FLIGHT": "20000"},
        "extraConfig": '[usersig]\nttl = "12h"\n',
        "apps": [
            {"name": "live", "sdkappid": 1400000001, "identifier": "administrator", "default": True,
             "region": "china", "secret_key_file": "/run/secrets/live.key"},
            {"name": "chat", "sdkappid": 20000002, "identifier": 'a"b\\c', "secret_key_file": "/run/secrets/live.key"},
        ],
        "podAnnotations": {"a": "b"}, "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}], "affinity": {"nodeAffinity": {}},
        "redis": {"enabled": True, "passwordFile": "", "maxReplicas": 20}, "monitoring": {"enabled": True},
    },
}

# Values that the chart's schema must refuse.
WRONG_VALUES = [
    {"apps": []},
    {"apps": [{"name": "live", "sdkappid": "1", "identifier": "a", "secret_key_file": "/k"}]},
    {"apps": [{"name": "live", "sdkappid": 1, "identifier": "a", "secret_key_file": "/k", "secret_key": "FAKE"}]},
    {"redis": {"enabled": True, "url": "http://redis"}},
    {"replicas": 3},
]


def main():
    deploy, parent = map(Path, sys.argv[1:])
    problems, bundles = [], {}
    for folder in ["base", *sorted(path.name for path in (deploy / "kubernetes/overlays").iterdir())]:
        path = deploy / "kubernetes" / (folder if folder == "base" else f"overlays/{folder}")
        run = subprocess.run(["kubectl", "kustomize", path], capture_output=True, text=True)
        if run.returncode or run.stderr:
            problems.append(f"kubectl kustomize {folder}: {run.stderr}")
        bundles[f"kustomize {folder}"] = objects(run.stdout)
    for name, values in HELM.items():
        problems += lint(deploy / "helm", name, values)
        bundles[f"helm {name}"] = rendered(deploy / "helm", values, "usersig-gateway")
    bundles["helm readme"] = rendered(deploy / "helm", values_of_readme(deploy / "helm/README.md"), "usersig-gateway")
    problems += accepted_wrong_values(deploy / "helm")
    bundles["helm parent"] = rendered_parent(deploy / "helm", parent)
    problems += against_schemas(bundles)
    json.dump({"bundles": bundles, "problems": problems, "versions": VERSIONS}, sys.stdout)


def objects(text):
    return [entry for entry in yaml.safe_load_all(text) if entry]


def lint(path, name, values):
    report = chart.lint(path, values, strict=True)
    # Below 2 it is advice, such as to have an icon.
    told = [entry["error"] for entry in report["messages"] if entry["severity"] >= 2] + report["errors"]
    return [f"helm lint, {name}: {error}" for error in told]


def rendered(path, values, release):
    with chart.Chart.load(path) as loaded:
        return [entry for text in loaded.render(values, name=release).values() for entry in objects(text)]


def values_of_readme(path):
    """The values that the chart's README shows."""
    _, after = path.read_text().split("# my-values.yaml\n")
    return yaml.safe_load(after.split("```")[0])


def rendered_parent(path, parent):
    """A chart of a user's that has ours as a dependency."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "parent"
        shutil.copytree(parent, copy)
        shutil.copytree(path, copy / "charts/usersig-gateway")
        return rendered(copy, {}, "gifts")


def accepted_wrong_values(path):
    problems = []
    with chart.Chart.load(path) as loaded:
        for values in WRONG_VALUES:
            try:
                loaded.validate_schema(loaded.merge_values(values))
                problems.append(f"the chart takes wrong values: {values}")
            except HelmValuesError:
                pass
    return problems


def against_schemas(bundles):
    tasks = [(name, entry, version) for name, entries in bundles.items() for entry in entries for version in VERSIONS]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        return [problem for problem in pool.map(against_schema, tasks, chunksize=8) if problem]


def against_schema(task):
    name, entry, version = task
    if entry["kind"] in WITHOUT_SCHEMA:
        return None
    try:
        kubernetes_validate.validate(entry, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return f"{name}, {entry['kind']} {entry['metadata']['name']}, Kubernetes {version}: {error.message}"
    return None


main()
