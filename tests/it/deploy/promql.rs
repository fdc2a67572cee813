//! What a PromQL query names: metrics with their matchers, and the labels that it groups by.
//!
//! Reads tokens, not grammar: whether a query is well-formed is for `promtool`, and what is
//! well-formed is read rightly here. Must never pass over a metric without naming it.

use std::collections::BTreeMap;

use regex::Regex;

/// One series that a service exports, without its value.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// What one query names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) selectors: Vec<Selector>,
    /// Labels in `by (…)`, `on (…)` and the like.
    pub(super) labels: Vec<String>,
}

/// A metric and what its labels must be: `name{label="value"}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    /// Label, operator, value.
    pub(super) matchers: Vec<(String, String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    /// Numbers, durations and all other signs.
    Sign(String),
}

/// Words before a list of labels.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that are no metric, besides the names of functions.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

impl Series {
    /// All series of an exposition, in the text format of Prometheus.
    pub(super) fn all(exposition: &str) -> Vec<Self> {
        let samples = exposition.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| Self::parse(line.rsplit_once(' ').expect("a sample").0)).collect()
    }

    /// One series, as `name{label="value"}`.
    pub(super) fn parse(text: &str) -> Self {
        let query = Query::parse(text);
        let [selector] = &query.selectors[..] else { panic!("{text} is no series") };
        let labels =
            selector.matchers.iter().map(|(label, _, value)| (label.clone(), value.clone()));
        Self { name: selector.metric.clone(), labels: labels.collect() }
    }
}

impl Query {
    /// Reads a query.
    pub(super) fn parse(text: &str) -> Self {
        let (tokens, mut query) = (tokens(text), Self::default());
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let Token::Word(word) = token else { continue };
            let next = tokens.get(at);
            if LISTS.contains(&&**word) {
                if next == Some(&Token::Sign("(".into())) {
                    let list = tokens[at..].iter().take_while(|it| **it != Token::Sign(")".into()));
                    query.labels.extend(list.clone().filter_map(word_of));
                    at += list.count() + 1;
                }
                continue;
            }
            // `sum(…)` and `sum by (le) (…)`.
            let called = matches!(next, Some(Token::Sign(sign)) if sign == "(");
            let grouped = matches!(next, Some(Token::Word(next)) if LISTS[..2].contains(&&**next));
            if called || grouped || OPERATORS.contains(&&**word) {
                continue;
            }
            let mut selector = Selector { metric: word.clone(), matchers: Vec::new() };
            if next == Some(&Token::Sign("{".into())) {
                let length = tokens[at..].iter().take_while(|it| **it != Token::Sign("}".into()));
                let inside = &tokens[at + 1..at + length.count()];
                let one_each = inside.split(|it| *it == Token::Sign(",".into()));
                selector.matchers = one_each.filter(|it| !it.is_empty()).map(matcher).collect();
                at += inside.len() + 2;
            }
            query.selectors.push(selector);
        }
        query
    }
}

impl Selector {
    /// Whether a series is one of those that it names.
    pub(super) fn matches(&self, series: &Series) -> bool {
        self.metric == series.name
            && self.matchers.iter().all(|(label, operator, wanted)| {
                let value = series.labels.get(label).map_or("", String::as_str);
                let alike = || {
                    let regex =
                        Regex::new(&format!("^(?:{wanted})$")).expect("a regular expression");
                    regex.is_match(value)
                };
                match operator.as_str() {
                    "=" => value == wanted,
                    "!=" => value != wanted,
                    "=~" => alike(),
                    "!~" => !alike(),
                    _ => panic!("{operator} is no operator of labels"),
                }
            })
    }
}

fn matcher(tokens: &[Token]) -> (String, String, String) {
    match tokens {
        [Token::Word(label), Token::Sign(operator), Token::Text(value)] => {
            (label.clone(), operator.clone(), value.clone())
        }
        _ => panic!("{tokens:?} is no matcher"),
    }
}

fn word_of(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.clone()),
        _ => None,
    }
}

fn tokens(text: &str) -> Vec<Token> {
    // Texts, numbers and durations, words, operators of two signs, any other sign.
    let regex = r#""(?:[^"\\]|\\.)*"|[0-9][0-9A-Za-z.]*|[A-Za-z_:][A-Za-z0-9_:]*|[=!<>][=~]|\S"#;
    let regex = Regex::new(regex).expect("a regular expression");
    let token = |found: regex::Match<'_>| match found.as_str().as_bytes()[0] {
        b'"' => Token::Text(found.as_str().trim_matches('"').replace(r"\\", r"\")),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => Token::Word(found.as_str().to_owned()),
        _ => Token::Sign(found.as_str().to_owned()),
    };
    regex.find_iter(text).map(token).collect()
}

#[test]
fn a_query_is_read_to_its_last_metric() {
    let query = r#"histogram_quantile(0.99, sum by (job, le) (rate(a_bucket{job="x",route=~"/v1/.*"}[5m])))
        / on (job) group_left () sum(b) > 1e3 and c offset 1w unless max without (pod) (d{})"#;
    let query = Query::parse(query);
    let names: Vec<&str> = query.selectors.iter().map(|it| &*it.metric).collect();
    assert_eq!(names, ["a_bucket", "b", "c", "d"]);
    assert_eq!(query.labels, ["job", "le", "job", "pod"]);
    let [first, second] = &query.selectors[0].matchers[..] else { panic!("{query:?}") };
    assert_eq!(*first, ("job".into(), "=".into(), "x".into()));
    assert_eq!(*second, ("route".into(), "=~".into(), "/v1/.*".into()));
}

#[test]
fn a_selector_matches_as_prometheus_would() {
    let series = Series::parse(r#"a{route="/v1/cards/{card}",status="503"}"#);
    assert_eq!(series.labels["route"], "/v1/cards/{card}");
    for (selector, matches) in [
        (r#"a"#, true),
        (r#"b"#, false),
        (r#"a{status="503"}"#, true),
        (r#"a{status="50"}"#, false),
        (r#"a{status=~"50"}"#, false),
        (r#"a{status=~"200|5.."}"#, true),
        (r#"a{status!~"5.."}"#, false),
        (r#"a{status!="503"}"#, false),
        (r#"a{other=""}"#, true),
        (r#"a{other="x"}"#, false),
    ] {
        assert_eq!(Query::parse(selector).selectors[0].matches(&series), matches, "{selector}");
    }
}
