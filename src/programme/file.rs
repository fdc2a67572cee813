//! A programme as a file that people write: TOML, or JSON when it begins with a brace.
//!
//! Owns the way from a text to [`Rules`] and, for whatever is wrong, back to line and column. It
//! must never judge what rules mean: that is said by `domain::programme`, with JSON pointers.

use std::fmt;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};

use crate::domain::programme::Rules;

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.problem)
    }
}

/// A file that could be read.
#[derive(Debug)]
pub struct File<'a> {
    /// What it says.
    pub rules: Rules,
    text: &'a str,
    root: Node,
}

impl<'a> File<'a> {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it; only the first where the text itself is misshapen.
    pub fn read(text: &'a str) -> Result<Self, Vec<Finding>> {
        let root = if text.trim_start().starts_with('{') { of_json(text) } else { of_toml(text) };
        let root = root.map_err(|finding| vec![finding])?;
        let rules: Rules = serde_path_to_error::deserialize(root.value()).map_err(|error| {
            let mut pointer = String::new();
            for segment in error.path() {
                match segment {
                    Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                    Segment::Map { key } => pointer.push_str(&format!("/{key}")),
                    Segment::Enum { .. } | Segment::Unknown => {}
                }
            }
            vec![root.finding(text, &pointer, error.into_inner().to_string())]
        })?;
        let file = Self { rules, text, root };
        let found: Vec<Finding> = file
            .rules
            .findings()
            .into_iter()
            .map(|error| file.finding(&error.pointer, error.problem))
            .collect();
        if found.is_empty() { Ok(file) } else { Err(found) }
    }

    /// Says where in the file something is wrong that only others could see.
    pub fn finding(&self, pointer: &str, problem: String) -> Finding {
        self.root.finding(self.text, pointer, problem)
    }
}

/// A value with where it begins in the text, in bytes: a member of a table at its key.
#[derive(Debug)]
struct Node {
    start: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Plain(Value),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Node {
    fn value(&self) -> Value {
        match &self.content {
            Content::Plain(value) => value.clone(),
            Content::List(nodes) => nodes.iter().map(Self::value).collect(),
            Content::Table(members) => {
                let member = |(key, node): &(String, Self)| (key.clone(), node.value());
                Value::Object(members.iter().map(member).collect::<Map<_, _>>())
            }
        }
    }

    /// At the pointer, or as near to it as the text goes.
    fn finding(&self, text: &str, pointer: &str, problem: String) -> Finding {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let next = match &node.content {
                Content::Plain(_) => None,
                Content::List(nodes) => step.parse().ok().and_then(|at: usize| nodes.get(at)),
                Content::Table(members) => {
                    members.iter().find(|(key, _)| key == step).map(|(_, node)| node)
                }
            };
            let Some(next) = next else { break };
            node = next;
        }
        finding_at(text, node.start, problem)
    }
}

fn finding_at(text: &str, byte: usize, problem: String) -> Finding {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Finding {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        problem,
    }
}

fn of_toml(text: &str) -> Result<Node, Finding> {
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        finding_at(text, start, error.message().to_owned())
    })?;
    Ok(Node { start: table.span().start, content: toml_table(table.get_ref()) })
}

fn toml_table(table: &DeTable<'_>) -> Content {
    let member = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let node = Node { start: key.span().start, content: toml_value(value.get_ref()) };
        (name.clone().into_owned(), node)
    };
    Content::Table(table.iter().map(member).collect())
}

fn toml_value(value: &DeValue<'_>) -> Content {
    Content::Plain(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        // One that does not fit is nowhere within its limits.
        DeValue::Integer(number) => {
            let exact = i64::from_str_radix(number.as_str(), number.radix());
            exact.map_or(Value::from(i64::MIN), Value::from)
        }
        DeValue::Float(number) => {
            let float: Result<f64, _> = number.as_str().parse();
            float.map_or(Value::Null, Value::from)
        }
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(values) => {
            let node = |value: &toml::Spanned<DeValue<'_>>| Node {
                start: value.span().start,
                content: toml_value(value.get_ref()),
            };
            return Content::List(values.iter().map(node).collect());
        }
        DeValue::Table(table) => return toml_table(table),
    })
}

fn of_json(text: &str) -> Result<Node, Finding> {
    let misshapen = |error: serde_json::Error| Finding {
        line: error.line(),
        column: error.column().max(1),
        problem: error.to_string(),
    };
    let raw: &RawValue = serde_json::from_str(text).map_err(misshapen)?;
    json_node(raw, text).map_err(misshapen)
}

fn json_node(raw: &RawValue, text: &str) -> Result<Node, serde_json::Error> {
    let source = raw.get();
    let content = match source.as_bytes().first() {
        Some(b'{') => {
            let members: std::collections::BTreeMap<String, &RawValue> =
                serde_json::from_str(source)?;
            let member = |(key, value)| Ok((key, json_node(value, text)?));
            Content::Table(members.into_iter().map(member).collect::<Result<_, _>>()?)
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(source)?;
            let nodes = values.into_iter().map(|value| json_node(value, text));
            Content::List(nodes.collect::<Result<_, _>>()?)
        }
        _ => Content::Plain(serde_json::from_str(source)?),
    };
    // What was parsed is borrowed from the text, so its address says where it stands.
    let start = source.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    Ok(Node { start, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::programme::{Multiplier, NegativeBalance};

    const WHOLE: &str = r#"# Everything that can be said.
expire_after_months = 24
pending_days = 14
negative_balance = "floor"
cap_per_swipe = 2_000
cap_per_day = 3_000
cap_per_account = { points = 9_000, from = 2026-02-01, until = 2026-05-31 }
excluded_departments = ["Fuel"]
excluded_categories = ["Stamps"]
excluded_types = ["Deposits"]
excluded_brands = ["Nobody"]
excluded_skus = ["4711"]

[earn]
points = 1
per_minor = 100

[redeem]
points = 100
value_minor = 50

[[rules]]
name = "weekend mornings"
departments = ["Produce"]
categories = ["Fruit"]
types = ["Apples"]
brands = ["Own"]
skus = ["1", "2"]
stores = ["0367"]
weekdays = ["saturday", "sunday"]
hours = { from = "08:00", to = "12:30" }
dates = { from = 2026-03-01, until = "2026-03-31" }
minimum_minor = 2_000
multiplier = "2.5"

[[rules]]
name = "welcome"
fixed_points = 50

[[rules]]
name = "by the piece"
points_per_item = 3
tiers = ["silver"]
cap_per_swipe = 300

[tier_policy]
window_months = 6
grace_months = 1
downgrade = "step"

[[tiers]]
name = "silver"
threshold_minor = 10_000
"#;

    fn first(text: &str) -> String {
        File::read(text).expect_err(text)[0].to_string()
    }

    #[test]
    fn everything_that_can_be_said_is_read_and_written_again() {
        let rules = File::read(WHOLE).expect("sound").rules;
        assert_eq!(rules.negative_balance, NegativeBalance::Floor);
        assert_eq!(rules.rules[0].multiplier, Some(Multiplier(2_500)));
        assert_eq!(
            (rules.rules[1].fixed_points, rules.rules[2].points_per_item),
            (Some(50), Some(3))
        );
        assert_eq!(rules.names().len(), 12);
        let toml = toml::to_string(&rules).expect("TOML");
        assert_eq!(File::read(&toml).expect("sound").rules, rules, "{toml}");
        let json = serde_json::to_string_pretty(&rules).expect("JSON");
        assert_eq!(File::read(&json).expect("sound").rules, rules, "{json}");
        assert_eq!(serde_json::from_str::<Rules>(&json).expect("stored"), rules);
    }

    #[test]
    fn the_page_about_programmes_shows_one_that_is_sound() {
        let page = include_str!("../../docs/programme.md");
        let shown = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let rules = File::read(shown.expect("a file in TOML")).expect("sound").rules;
        let said = serde_json::to_value(&rules).expect("JSON");
        for name in ["tier_policy", "cap_per_account", "age_restricted_departments"] {
            assert!(said.get(name).is_some(), "{name}");
        }
        assert_eq!((rules.rules.len(), rules.tiers.len()), (3, 2));
    }

    #[test]
    fn what_is_wrong_is_pointed_at_with_a_remedy() {
        for (from, to, place, words) in [
            ("per_minor = 100", "per_minor = 0", "16:1", "within 1 and 1000000"),
            ("points = 1\n", "points = many\n", "15:10", ""),
            ("points = 1\n", "points = 1.5\n", "15:1", "floating point"),
            ("fixed_points = 50", "fixed_points = 0", "38:1", "within 1 and 1000000"),
            ("fixed_points = 50", "levels = 1", "38:1", "unknown field `levels`"),
            ("[\"silver\"]", "[\"gold\"]", "43:10", "no tier has this name"),
            ("cap_per_swipe = 300", "cap_per_swipe = 0", "44:1", "1 or more"),
            ("points_per_item = 3", "fixed_points = 3", "44:1", "fewer of them instead"),
            ("= 10_000", "= -1", "53:1", "within 0 and 1000000000000"),
            ("fixed_points = 50", "", "36:1", "multiplier, fixed_points or points_per_item"),
            ("\"welcome\"", "\"by the piece\"", "41:1", "two rules have this name"),
            ("[\"Produce\"]", "[]", "24:1", "an empty list says nothing"),
            ("\"saturday\"", "\"samstag\"", "30:13", "unknown variant `samstag`"),
            ("\"08:00\"", "\"8 o'clock\"", "31:11", "such as \"08:30\""),
            ("\"12:30\"", "\"08:00\"", "31:1", "leave hours out for the whole day"),
            ("2026-03-01", "2026-04-01", "32:1", "until lies before from"),
            ("\"2.5\"", "2.5", "34:1", "decimal in quotes"),
            ("\"2.5\"", "\"0.5\"", "34:1", "exclude the articles"),
            ("pending_days = 14", "pending_days = 366", "3:1", "within 0 and 365"),
            (
                "expire_after_months = 24\npending_days = 14",
                "expire_after_months = 1\npending_days = 28",
                "3:1",
                "before they can be spent",
            ),
            ("cap_per_day = 3_000", "cap_per_day = 0", "6:1", "1 or more"),
            ("points = 9_000", "points = 0", "7:21", "1 or more"),
            ("2026-05-31", "2026-01-31", "7:56", "until lies before from"),
            ("from = 2026-02-01, ", "", "7:1", "missing field `from`"),
            ("cap_per_swipe = 2_000", "cap_per_swipe = 99999999999999999999", "5:1", ""),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let found = first(&text);
            assert!(found.starts_with(&format!("{place}: ")), "{to}: {found}");
            assert!(found.contains(words), "{to}: {found}");
        }
    }

    #[test]
    fn json_is_pointed_at_as_well() {
        let sound = "{\n  \"earn\": {\"points\": 1, \"per_minor\": 100},\n  \"rules\": [\n    \
                     {\"name\": \"é\", \"multiplier\": 2}]}";
        assert_eq!(
            File::read(sound).expect("sound").rules.rules[0].multiplier,
            Some(Multiplier(2_000))
        );
        assert!(
            first(&sound.replace('2', "200")).starts_with("4:33: "),
            "{}",
            first(&sound.replace('2', "200"))
        );
        assert!(first(&sound.replace("earn", "urn")).starts_with("2:10: unknown field `urn`"));
        assert!(first(&sound[..40]).starts_with("2:"), "{}", first(&sound[..40]));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = WHOLE.replace("per_minor = 100", "per_minor = 0").replace("= 50\n", "= 0\n");
        assert_eq!(File::read(&text).expect_err("wrong").len(), 2);
    }
}
