//! What `deploy/` hands to the people who run the service, held against the service itself.
//!
//! Programs that not every machine has are used where they are; a test that lacks one says so.

mod container;
mod dashboard;
mod promql;
mod rules;
mod unit;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tillside::http::admin::Draining;

use crate::support::service::{TestService, asked, card, operators, post, swipe};
use promql::{Query, Series};

/// A file of the project.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program in `deploy/`; none, and a word about it, when the machine lacks it.
#[expect(clippy::print_stderr, reason = "what was not run is told")]
fn run(program: &str, package: &str, arguments: &[&str]) -> Option<Output> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("not run: there is no {program} here (Debian: apt-get install {package})");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// What a program said when it found something wrong.
fn words(output: &Output) -> String {
    [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat()
}

/// What a service exports that has been through a bit of everything, as Prometheus stores it.
async fn exported() -> Vec<Series> {
    let service = TestService::start().await;
    let till = service.till();
    for (sequence_number, card, amount_minor, status) in [
        (1, card(1), 398, 201),
        (1, card(1), 398, 200),
        (1, card(1), 399, 422),
        (2, card(1), 1, 201),
    ] {
        let answer = post(&till, &swipe(sequence_number, Some(&card), amount_minor)).await;
        assert_eq!(answer.status, status);
    }
    let unknown = json!({ "card": card(1), "unknown": 1 }).to_string();
    assert_eq!(till.post("/v1/cards", unknown).await.expect("an answer").status, 422);
    let operators = operators(&service.replica.app, Draining::default()).await;
    let (status, text) = asked(&operators, "/metrics").await;
    assert_eq!(status, 200);
    let mut exported = Series::all(&text);
    // What Prometheus makes itself.
    exported.push(Series::parse("up"));
    exported.push(Series::parse(r#"ALERTS{alertname="TillsideDown",alertstate="firing"}"#));
    for series in &mut exported {
        let scraped = [("job", "tillside"), ("instance", "till-1.internal:9090")];
        series.labels.extend(scraped.map(|(label, value)| (label.into(), value.into())));
    }
    exported
}

/// What is wrong with a query over what is exported.
fn findings(query: &str, exported: &[Series]) -> Vec<String> {
    let Query { selectors, labels } = Query::parse(query);
    let mut findings = Vec::new();
    if selectors.is_empty() {
        findings.push("no metric is named".to_owned());
    }
    for selector in &selectors {
        let metric = &selector.metric;
        let named: Vec<&Series> = exported.iter().filter(|it| it.name == *metric).collect();
        let lacks = |label: &str| !named.iter().any(|series| series.labels.contains_key(label));
        if named.is_empty() {
            findings.push(format!("nothing is named {metric}"));
            continue;
        }
        for (label, ..) in selector.matchers.iter().filter(|(label, ..)| lacks(label)) {
            findings.push(format!("{metric} has no label {label}"));
        }
        if !named.iter().any(|series| selector.matches(series)) {
            findings.push(format!("no {metric} is as {:?}", selector.matchers));
        }
    }
    for label in &labels {
        let mut named =
            exported.iter().filter(|it| selectors.iter().any(|wanted| wanted.metric == it.name));
        if !named.any(|series| series.labels.contains_key(label)) {
            findings.push(format!("grouped by {label}, which nothing in it has"));
        }
    }
    findings
}

/// Queries by where they stand, judged together: every finding of all of them.
fn judge(queries: &BTreeMap<String, String>, exported: &[Series]) -> Vec<String> {
    let of_one = |(place, query): (&String, &String)| {
        let found = findings(query, exported);
        found.into_iter().map(move |finding| format!("{place}: {finding}")).collect::<Vec<_>>()
    };
    queries.iter().flat_map(of_one).collect()
}

#[test]
fn a_query_of_what_nobody_exports_is_found() {
    let mut series = ["a_total{slug=\"x\"}", "b"].map(Series::parse);
    series[1].labels.insert("job".into(), "tillside".into());
    let found = |query: &str| findings(query, &series).join("\n");
    assert_eq!(found("sum by (slug) (rate(a_total[5m])) > 0"), "");
    assert_eq!(found("b{job=\"tillside\"}"), "");
    assert_eq!(found("c"), "nothing is named c");
    assert!(found("a_total{route=\"/\"}").contains("a_total has no label route"));
    assert!(found("a_total{slug=\"y\"}").contains("no a_total is as"));
    assert!(found("sum by (route) (a_total)").contains("grouped by route"));
    assert_eq!(found("1 + 2"), "no metric is named");
}
