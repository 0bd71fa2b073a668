//! The alerts: promtool runs their unit tests, each has one that fires, and each leads to its section of the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{deploy, files, object, project, rendered, tool};

#[test]
fn promtool_passes_the_unit_tests() {
    tool(Command::new("promtool").args(["test", "rules"]).arg(deploy().join("monitoring/alerts.test.yaml")));
}

#[test]
fn promtool_takes_the_scrape_configuration() {
    tool(Command::new("promtool").args(["check", "config"]).arg(deploy().join("monitoring/prometheus.yml")));
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let tests = fs::read_to_string(deploy().join("monitoring/alerts.test.yaml")).unwrap();
    let sections: Vec<&str> = tests.split("\n  - name: ").skip(1).collect();
    let names: BTreeSet<&str> = sections.iter().filter_map(|section| section.lines().next()).collect();
    assert_eq!(names, alerts().iter().map(|alert| text(alert, "alert")).collect());
    for (name, section) in names.iter().zip(&sections) {
        assert!(section.contains("exp_samples: []"), "{name} is never silent");
    }
    for section in &sections {
        let name = section.lines().next().unwrap();
        assert!(section.contains(&format!("alertname=\"{name}\"")), "{name} never fires");
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    let runbook = fs::read_to_string(deploy().join("runbook.md")).unwrap();
    let anchors: BTreeSet<String> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let alerts = alerts();
    for alert in &alerts {
        let name = text(alert, "alert");
        for annotation in ["summary", "meaning", "look_at", "to_do"] {
            assert!(
                alert["annotations"][annotation].as_str().is_some_and(|text| text.len() > 20),
                "{name}: {annotation}"
            );
        }
        let link = alert["annotations"]["runbook_url"].as_str().unwrap();
        let anchor = link.strip_prefix("runbook.md#").unwrap();
        assert_eq!(anchor, name.to_lowercase());
        assert!(anchors.contains(anchor), "the runbook has no section {name}");
        assert!(
            ["critical", "warning", "info"].contains(&alert["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
    }
    let named = anchors.iter().filter(|anchor| anchor.starts_with("usersiggateway")).count();
    assert_eq!(named, alerts.len(), "a section of the runbook whose alert is gone: {anchors:?}");
}

/// A label that a metric has not, or a value that it never takes, would keep an alert silent for ever.
#[test]
fn every_alert_asks_for_labels_and_values_that_there_are() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let source: String = files("src").into_iter().map(|(_, text)| text).collect();
    let labels = |metric: &str| -> Vec<String> {
        let name = metric.strip_suffix("_count").unwrap_or(metric);
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("README has no metric {metric}"));
        row.split('|').nth(2).unwrap().split(',').map(|label| label.trim().to_owned()).collect()
    };
    let mut seen = 0;
    for alert in alerts() {
        let (name, expression) = (text(&alert, "alert"), text(&alert, "expr"));
        let metrics: Vec<&str> = expression
            .split("usersig_gateway_")
            .skip(1)
            .map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap())
            .collect();
        for (metric, rest) in metrics.iter().zip(expression.split("usersig_gateway_").skip(1)) {
            let Some(selector) = rest[metric.len()..].strip_prefix('{') else { continue };
            for pair in selector.split('}').next().unwrap().split(',') {
                let (label, value) = pair.split_once('=').unwrap();
                assert!(labels(metric).iter().any(|one| one == label), "{name}: {metric} has no {label}");
                assert!(source.contains(value), "{name}: {label} is never {value}");
                seen += 1;
            }
        }
        for by in expression.split("by (").skip(1) {
            for label in by.split(')').next().unwrap().split(", ") {
                let is_known = ["job", "instance"].contains(&label)
                    || metrics.iter().any(|metric| labels(metric).iter().any(|one| one == label));
                assert!(is_known, "{name}: by {label}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "{seen}");
}

fn alerts() -> Vec<Value> {
    let rules = object(&rendered().bundles["kustomize monitoring"], "PrometheusRule", "usersig-gateway");
    let groups = rules["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(alert: &'a Value, key: &str) -> &'a str {
    alert[key].as_str().unwrap()
}
