//! The dashboard: its queries read what the service exports, and nothing is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use regex::Regex;
use serde_json::Value;

use super::promql::Query;
use super::{exported, file, judge, run, words};

fn dashboard() -> Value {
    serde_json::from_str(&file("deploy/grafana/tillside.json")).expect("JSON")
}

/// All that is no heading.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row")
}

fn targets(panel: &Value) -> impl Iterator<Item = (&str, &str)> {
    let targets = panel["targets"].as_array().expect("a panel asks something").iter();
    let text = |value: &'_ Value| value.as_str().map(str::len).expect("a text");
    targets.map(move |target| {
        let (expr, legend) = (&target["expr"], &target["legendFormat"]);
        assert!(text(expr) > 0 && text(legend) > 0, "{target}");
        (expr.as_str().unwrap_or_default(), legend.as_str().unwrap_or_default())
    })
}

/// Every query by where it stands, as Grafana sends it.
fn queries() -> BTreeMap<String, String> {
    let dashboard = dashboard();
    let mut queries = BTreeMap::new();
    for panel in panels(&dashboard) {
        for (expr, legend) in targets(panel) {
            queries.insert(format!("{}, {legend}", panel["title"]), expr.to_owned());
        }
    }
    for list in ["templating", "annotations"] {
        for item in dashboard[list]["list"].as_array().expect("a list") {
            let query = item["expr"].as_str().or(item["query"].as_str()).expect("a query");
            // Grafana's own: the values that a label of a metric has.
            let values = query.strip_prefix("label_values(").and_then(|it| it.rsplit_once(", "));
            match values {
                Some((metric, label)) => {
                    let query = format!("count by ({}) ({metric})", label.trim_end_matches(')'));
                    queries.insert(item["name"].to_string(), query);
                }
                None if item["type"] == "datasource" => {}
                None => drop(queries.insert(item["name"].to_string(), query.to_owned())),
            }
        }
    }
    for query in queries.values_mut() {
        *query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
        assert!(!query.contains('$'), "{query} has a variable that this test does not know");
    }
    queries
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_reads_what_the_service_exports_and_nothing_is_left_out() {
    let (queries, exported) = (queries(), exported().await);
    let mut findings = judge(&queries, &exported);
    let asked: BTreeSet<String> = queries
        .values()
        .flat_map(|query| Query::parse(query).selectors)
        .map(|selector| family(&selector.metric))
        .collect();
    let counted = exported.iter().filter(|series| series.name.starts_with("tillside_"));
    let counted: BTreeSet<String> = counted.map(|series| family(&series.name)).collect();
    findings.extend(counted.difference(&asked).map(|metric| format!("{metric} is on no panel")));
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A histogram is three metrics.
fn family(metric: &str) -> String {
    let parts = ["_bucket", "_sum", "_count"];
    parts.iter().find_map(|part| metric.strip_suffix(part)).unwrap_or(metric).to_owned()
}

#[test]
fn a_legend_names_labels_that_its_query_keeps() {
    let label = Regex::new(r"\{\{(\w+)\}\}").expect("a regular expression");
    let dashboard = dashboard();
    for (expr, legend) in panels(&dashboard).flat_map(targets) {
        let kept = Query::parse(expr).labels;
        let aggregated = ["sum", "max", "histogram_quantile"].iter().any(|it| expr.contains(it));
        for (_, [label]) in label.captures_iter(legend).map(|found| found.extract()) {
            let found = kept.iter().any(|it| it == label) || (!aggregated && label == "instance");
            assert!(found, "{legend} is not kept by {expr}");
        }
    }
}

#[test]
fn panels_lie_side_by_side_and_each_says_what_it_shows() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}: its id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64());
        let [x, y, w, h] = [x, y, w, h].map(|it| it.expect("a number"));
        assert!(x + w <= 24, "{title} is wider than the screen");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel");
        }
    }
    for panel in panels(&dashboard) {
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{} says nothing about itself", panel["title"]);
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
    }
}

#[test]
fn promtool_can_read_every_query() {
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    for (number, query) in queries().values().enumerate() {
        // JSON's texts are YAML's too.
        let query = Value::from(&**query);
        writeln!(rules, "  - {{ record: \"panel:{number}\", expr: {query} }}").expect("a String");
    }
    let written = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    fs::write(written.path(), rules).expect("just created");
    let path = written.path().to_str().expect("UTF-8");
    let Some(output) = run("promtool", "prometheus", &["check", "rules", path]) else { return };
    assert!(output.status.success(), "{}", words(&output));
}
