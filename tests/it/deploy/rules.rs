//! The alert rules: they read what the service exports, each says what to do, and `promtool`
//! agrees with all of it.

use std::collections::BTreeMap;

use tillside::config::Config;
use yaml_rust2::{Yaml, YamlLoader};

use super::{exported, file, judge, run, words};

struct Rule {
    name: String,
    expr: String,
    severity: String,
    annotations: BTreeMap<String, String>,
}

fn text(yaml: &Yaml) -> String {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?} is no text")).to_owned()
}

fn rules() -> Vec<Rule> {
    let documents = YamlLoader::load_from_str(&file("deploy/prometheus/alerts.yml"));
    let documents = documents.expect("YAML");
    let groups = documents[0]["groups"].as_vec().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().expect("rules"));
    let rules = rules.map(|rule| Rule {
        name: text(&rule["alert"]),
        expr: text(&rule["expr"]),
        severity: text(&rule["labels"]["severity"]),
        annotations: rule["annotations"]
            .as_hash()
            .expect("annotations")
            .iter()
            .map(|(name, words)| (text(name), text(words)))
            .collect(),
    });
    rules.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_reads_what_the_service_exports() {
    let queries = rules().into_iter().map(|rule| (rule.name, rule.expr)).collect();
    let findings = judge(&queries, &exported().await);
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn every_rule_says_what_to_do_and_is_tried() {
    let manual = file("docs/operating.md");
    let anchors: Vec<String> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let tried =
        file("deploy/prometheus/alerts.test.yml") + &file("deploy/prometheus/traffic.test.yml");
    let rules = rules();
    assert!(rules.len() > 10, "the rules were not found");
    for rule in &rules {
        let name = &rule.name;
        assert!(["page", "ticket"].contains(&&*rule.severity), "{name}: {}", rule.severity);
        for annotation in ["summary", "description", "do", "runbook"] {
            let words = rule.annotations.get(annotation).map_or("", String::as_str);
            assert!(!words.is_empty(), "{name} has no {annotation}");
        }
        let runbook = &rule.annotations["runbook"];
        let anchor = runbook.strip_prefix("docs/operating.md#").expect("a section");
        assert!(anchors.iter().any(|it| it == anchor), "{name}: there is no section {runbook}");
        assert!(manual.contains(name), "docs/operating.md does not speak of {name}");
        assert!(tried.contains(&format!("alertname=\"{name}\"")), "{name} is not tried");
    }
}

#[test]
fn thresholds_follow_the_settings_that_they_name() {
    let rules = rules();
    let expr = |name: &str| &rules.iter().find(|rule| rule.name == name).expect("a rule").expr;
    let config = Config::default();
    let half = format!("> {}", config.commit.queue_max / 2);
    assert!(expr("TillsideQueueLong").ends_with(&half), "half of commit.queue_max");
    assert_eq!(config.swipe.deadline_default_ms, 400, "TillsideSlow is about a quarter of it");
}

#[test]
fn promtool_agrees_with_configuration_rules_and_their_tests() {
    for arguments in [
        &["check", "config", "prometheus/prometheus.yml"][..],
        &["check", "rules", "--lint-fatal", "prometheus/alerts.yml"],
        &["test", "rules", "prometheus/alerts.test.yml", "prometheus/traffic.test.yml"],
    ] {
        let Some(output) = run("promtool", "prometheus", arguments) else { return };
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    }
}
