//! What the pods say of the gateway: its configuration is good, its probes are answered, it has the time to drain, and it
//! asks for no right that it does not need.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use usersig_gateway::config::{self, Environment, Loaded};

use super::{Bundle, object, rendered, sandbox};
use crate::binary::run;
use crate::process::Serving;
use crate::prometheus::get;

/// What `kubectl create secret generic usersig-gateway-keys` takes in the instructions.
const KEYS: [&str; 2] = ["live.key", "redis.password"];

#[test]
fn every_configuration_is_good_and_listens_where_its_pod_says() {
    let mut seen = 0;
    for (bundle, objects) in &rendered().bundles {
        for config_map in of_kind(objects, "ConfigMap") {
            let Some(text) = config_map["data"]["gateway.toml"].as_str() else { continue };
            let loaded = load(text);
            let boot = &loaded.settings.boot;
            let listeners = [boot.gateway.to_string(), boot.admin.to_string()];
            let remarks: Vec<_> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
            if objects.iter().any(|object| object["kind"] == "Service") {
                assert_eq!(listeners, ["0.0.0.0:8080", "0.0.0.0:9901"], "{bundle}");
                // The NetworkPolicy says who reaches them.
                assert_eq!(remarks, ["listen.gateway", "listen.admin"], "{bundle}");
            } else {
                assert_eq!(listeners, ["127.0.0.1:8080", "127.0.0.1:9901"], "{bundle}");
                assert!(remarks.is_empty(), "{bundle}: {remarks:?}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn ports_and_targets_are_the_listeners() {
    for (bundle, objects) in &rendered().bundles {
        for (pod, container) in gateways(objects) {
            if container["args"][0] != "serve" || container["ports"].is_null() {
                continue;
            }
            let ports = container["ports"].as_array().unwrap();
            let ports: Vec<_> = ports.iter().map(|port| (&port["name"], &port["containerPort"])).collect();
            assert_eq!(ports, [(&"calls".into(), &8080.into()), (&"admin".into(), &9901.into())], "{bundle}");
            let labels = pod["metadata"]["labels"].as_object().unwrap();
            for service in of_kind(objects, "Service") {
                let selector = service["spec"]["selector"].as_object().unwrap();
                assert!(
                    selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
                    "{bundle}: {service}"
                );
                let target = &service["spec"]["ports"][0]["targetPort"];
                assert!(["calls", "admin"].contains(&target.as_str().unwrap()), "{bundle}: {target}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_probe_is_answered() {
    let sandbox = sandbox().await;
    let serving = Serving::start(&sandbox, "");
    assert_eq!(run(&["wait", "--admin", &format!("http://{}", serving.admin)]).status, Some(0));
    let address = serving.admin.parse().unwrap();
    let answers = |path: &Value| get(address, path.as_str().unwrap()).is_some();
    let mut seen = 0;
    for objects in rendered().bundles.values() {
        for (_, container) in gateways(objects) {
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let probe = &container[probe];
                if probe["httpGet"].is_object() {
                    assert_eq!(probe["httpGet"]["port"], "admin");
                    assert!(answers(&probe["httpGet"]["path"]), "{probe}");
                    seen += 1;
                } else if let Some(command) = probe["exec"]["command"].as_array() {
                    assert_eq!(command[0], "/usersig-gateway");
                    let admin = format!("http://{}", serving.admin);
                    let mut arguments: Vec<&str> =
                        command[1..].iter().map(|word| word.as_str().unwrap()).collect();
                    arguments.extend(["--admin", &admin]);
                    assert_eq!(run(&arguments).status, Some(0), "{arguments:?}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 20, "{seen}");
    // Prometheus reads there too.
    for monitor in rendered().bundles.values().flat_map(|objects| of_kind(objects, "ServiceMonitor")) {
        let endpoint = &monitor["spec"]["endpoints"][0];
        assert_eq!(endpoint["port"], "admin");
        assert!(answers(&endpoint["path"]), "{endpoint}");
    }
    sandbox.stop().await;
}

#[test]
fn a_pod_has_the_time_to_drain() {
    for (bundle, objects) in &rendered().bundles {
        let config_map = object_of_kind(objects, "ConfigMap");
        let drain = load(config_map["data"]["gateway.toml"].as_str().unwrap()).settings.boot.drain;
        for (pod, container) in gateways(objects) {
            let seconds = |value: &Value, default| value.as_u64().unwrap_or(default);
            let granted = seconds(&pod["spec"]["terminationGracePeriodSeconds"], 30);
            let before = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"], 0);
            let needed = Duration::from_secs(before) + drain.accept_for + drain.grace;
            assert!(needed < Duration::from_secs(granted), "{bundle}: {needed:?} of {granted} s");
        }
    }
}

/// By what deploy/README.md measured, and what is bounded.
#[test]
fn memory_is_bounded_below_the_containers_limit() {
    const AT_REST: u64 = 17_000_000;
    const CONNECTION: u64 = 80_000;
    let mut seen = 0;
    for (bundle, objects) in &rendered().bundles {
        let config_map = object_of_kind(objects, "ConfigMap");
        let boot = load(config_map["data"]["gateway.toml"].as_str().unwrap()).settings.boot;
        for (_, container) in gateways(objects) {
            if container["args"][0] != "serve" {
                continue;
            }
            let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
            let limit = limit.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20;
            let most = AT_REST + boot.max_connections as u64 * CONNECTION + boot.limits.buffered as u64;
            assert!(most < limit, "{bundle}: {most} of {limit}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_native_sidecars_ends_its_gateway() {
    let sandbox = sandbox().await;
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "FAKE0123456789012345678901234567").unwrap();
    let token = token.to_str().unwrap();
    let drain =
        [("USERSIG_GATEWAY__LISTEN__ADMIN_TOKEN_FILE", token), ("USERSIG_GATEWAY__DRAIN__ACCEPT_FOR", "0s")];
    let serving = Serving::start_with(&sandbox, "", &drain);
    let job = object(&rendered().bundles["kustomize sidecar"], "Job", "tidy-rooms-with-quit");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["sh", "-c"]));
    // The same script, with this test's addresses and place for the token.
    let script = container["args"][0].as_str().unwrap();
    let script = script.replace("127.0.0.1:9901", &serving.admin).replace("127.0.0.1:8080", &serving.gateway);
    let script = script.replace("/run/quit/token", token);
    let told = super::tool(Command::new("sh").args(["-c", &script]));
    assert!(told.contains("\"ErrorCode\":0"), "{told}");
    let ended = serving.process.end();
    assert_eq!(ended.status, Some(0));
    assert_eq!(ended.access_lines().len(), 1);
    sandbox.stop().await;
}

#[test]
fn there_are_never_more_processes_than_share_a_ceiling() {
    let bundles = &rendered().bundles;
    for bundle in ["kustomize base", "helm base"] {
        let deployment = object(&bundles[bundle], "Deployment", "usersig-gateway");
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    }
    for bundle in ["kustomize redis", "helm redis", "helm everything"] {
        let spec = &object(&bundles[bundle], "Deployment", "usersig-gateway")["spec"];
        assert!(spec["replicas"].is_null(), "the autoscaler's to say");
        let autoscaler = object(&bundles[bundle], "HorizontalPodAutoscaler", "usersig-gateway");
        let text = object(&bundles[bundle], "ConfigMap", "usersig-gateway")["data"]["gateway.toml"]
            .as_str()
            .unwrap();
        let toml: toml::Table = toml::from_str(text).unwrap();
        let shared = toml["ceiling"]["redis"]["max_replicas"].as_integer().unwrap();
        // One more while an update goes on, and the one before it that still drains: no third, since a new one counts
        // only once the old one's time is over.
        assert_eq!(autoscaler["spec"]["maxReplicas"].as_i64().unwrap() + 2, shared, "{bundle}");
        assert_eq!(spec["strategy"]["rollingUpdate"]["maxSurge"], 1);
        let grace = &spec["template"]["spec"]["terminationGracePeriodSeconds"];
        assert!(spec["minReadySeconds"].as_u64() >= grace.as_u64(), "{bundle}");
    }
    let sidecars = &bundles["kustomize sidecar"];
    let spec = &object(sidecars, "Deployment", "gifts")["spec"];
    let most =
        spec["replicas"].as_u64().unwrap() + spec["strategy"]["rollingUpdate"]["maxSurge"].as_u64().unwrap();
    let text =
        object(sidecars, "ConfigMap", "usersig-gateway-sidecar")["data"]["gateway.toml"].as_str().unwrap();
    assert_eq!(u64::from(load(text).settings.live.ceiling.share.get()), most);
}

#[test]
fn pods_are_restricted() {
    for (bundle, objects) in &rendered().bundles {
        for (pod, container) in gateways(objects) {
            let spec = &pod["spec"];
            let place = format!("{bundle}: {}", container["name"]);
            if bundle != "helm parent" {
                // Of the "restricted" level of Kubernetes' Pod Security Standards.
                assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{place}");
                assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{place}");
                assert_eq!(spec["automountServiceAccountToken"], false, "{place}");
            }
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{place}");
            assert_eq!(context["capabilities"]["drop"][0], "ALL", "{place}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{place}");
            assert!(container["resources"]["requests"]["memory"].is_string(), "{place}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{place}");
        }
    }
}

/// The pod templates that run our image, with the container that does.
fn gateways(objects: &Bundle) -> Vec<(&Value, &Value)> {
    let mut found = Vec::new();
    for pod in objects.iter().map(|object| &object["spec"]["template"]).filter(|pod| pod.is_object()) {
        for list in ["containers", "initContainers"] {
            let containers = pod["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
            let ours = containers
                .iter()
                .filter(|one| one["image"].as_str().unwrap().starts_with("usersig-gateway:"));
            found.extend(ours.map(|container| (pod, container)));
        }
    }
    found
}

fn of_kind<'a>(objects: &'a Bundle, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn object_of_kind<'a>(objects: &'a Bundle, kind: &'a str) -> &'a Value {
    of_kind(objects, kind).next().unwrap()
}

/// The configuration with the Secrets' files somewhere else than below `/run`.
fn load(text: &str) -> Loaded {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gateway.toml");
    for key in KEYS.iter().chain(&["token"]) {
        let path = folder.path().join(key);
        fs::write(&path, "FAKE0123456789012345678901234567").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o440)).unwrap();
    }
    let folder_name = folder.path().to_str().unwrap();
    let text = text.replace("/run/secrets", folder_name).replace("/run/quit", folder_name);
    fs::write(&file, &text).unwrap();
    config::load(&file, &Environment::default()).unwrap_or_else(|problems| panic!("{problems}: {text}"))
}
