//! The Kustomize folders and the Helm chart: valid objects, and the same ones.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bundle, object, rendered};

#[test]
fn every_object_is_valid_in_an_old_and_a_new_kubernetes() {
    let rendered = rendered();
    assert_eq!(rendered.problems, Vec::<String>::new());
    assert_eq!(rendered.versions.len(), 2, "{:?}", rendered.versions);
    let folders = ["base", "monitoring", "redis", "sidecar"].map(|name| format!("kustomize {name}"));
    let kustomized = rendered.bundles.keys().filter(|name| name.starts_with("kustomize"));
    assert_eq!(kustomized.collect::<Vec<_>>(), folders.iter().collect::<Vec<_>>());
    for (name, bundle) in &rendered.bundles {
        assert!(!bundle.is_empty(), "{name}");
    }
}

#[test]
fn the_chart_makes_the_same_objects_as_kustomize() {
    let bundles = &rendered().bundles;
    for shape in ["base", "redis", "monitoring"] {
        let [kustomize, helm] =
            ["kustomize", "helm"].map(|tool| comparable(&bundles[&format!("{tool} {shape}")]));
        assert_eq!(kustomize.keys().collect::<Vec<_>>(), helm.keys().collect::<Vec<_>>(), "{shape}");
        for (name, object) in kustomize {
            assert_eq!(object, helm[&name], "{shape}: {name}");
        }
    }
}

#[test]
fn a_chart_of_a_users_takes_the_sidecar_along() {
    let bundles = &rendered().bundles;
    let [example, chart] = ["kustomize sidecar", "helm parent"].map(|name| &bundles[name]);
    let [example, chart] =
        [example, chart].map(|bundle| &object(bundle, "Deployment", "gifts")["spec"]["template"]);
    assert_eq!(example["spec"]["initContainers"], chart["spec"]["initContainers"]);
    let mut volumes = example["spec"]["volumes"].clone();
    // Named after the user's release.
    volumes[0]["configMap"]["name"] = json!("gifts-sidecar");
    assert_eq!(volumes, chart["spec"]["volumes"]);
    let config = |bundle: &str, name: &str| toml_of(object(&bundles[bundle], "ConfigMap", name));
    assert_eq!(
        config("kustomize sidecar", "usersig-gateway-sidecar"),
        config("helm parent", "gifts-sidecar")
    );
}

#[test]
fn the_alerts_are_the_same_for_every_prometheus() {
    let bundles = &rendered().bundles;
    let rules = |bundle: &str| &object(&bundles[bundle], "PrometheusRule", "usersig-gateway")["spec"];
    // The chart reads alerts.yaml itself.
    assert_eq!(rules("kustomize monitoring"), rules("helm monitoring"));
}

#[test]
fn traces_are_let_out_where_the_gateway_is_watched() {
    let bundles = &rendered().bundles;
    let lets_out = |bundle: &str| {
        let policy = object(&bundles[bundle], "NetworkPolicy", "usersig-gateway");
        let rules = policy["spec"]["egress"].as_array().unwrap();
        let to_collector = rules.iter().filter(|rule| rule["ports"] == json!([{ "port": 4318 }]));
        to_collector.map(|rule| rule["to"][0]["namespaceSelector"]["matchLabels"].clone()).collect::<Vec<_>>()
    };
    let scrapers = json!({ "usersig-gateway/scrapes": "true" });
    for tool in ["kustomize", "helm"] {
        assert_eq!(lets_out(&format!("{tool} monitoring")), std::slice::from_ref(&scrapers));
        assert!(lets_out(&format!("{tool} base")).is_empty());
    }
}

/// Objects by kind and name, without what tools write each in their own way: labels, and a configuration's layout.
fn comparable(bundle: &Bundle) -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for object in bundle {
        let mut object = object.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("labels");
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        if object["kind"] == "ConfigMap" && object["data"].get("gateway.toml").is_some() {
            object["data"] = toml_of(&object);
        }
        without_release(&mut object);
        assert!(objects.insert(name, object).is_none());
    }
    objects
}

/// The configuration in a ConfigMap.
fn toml_of(config_map: &Value) -> Value {
    let text = config_map["data"]["gateway.toml"].as_str().unwrap();
    let table: toml::Table = toml::from_str(text).unwrap();
    serde_json::to_value(table).unwrap()
}

/// Takes out what the chart says beyond Kustomize: the release in selectors, and when to pull an image.
fn without_release(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("app.kubernetes.io/instance");
            members.remove("imagePullPolicy");
            members.values_mut().for_each(without_release);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_release),
        _ => {}
    }
}
