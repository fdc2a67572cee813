//! Schemas of the document as tables: fields, what they may hold, what they mean.

use serde_json::Value;

use super::{escaped, prose, text};

/// A message with its fields.
pub(super) fn section(name: &str, schema: &Value) -> String {
    let mut out = format!(
        "<section id=\"{name}\"><h3>{name}</h3><p>{}</p>\
         <table><tr><th>field</th><th>type</th><th>meaning</th></tr>",
        prose(&schema["description"])
    );
    let required = schema["required"].as_array();
    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
        let needed = required.is_some_and(|names| names.iter().any(|name| name == field));
        out += &format!(
            "<tr><td><code>{field}</code>{}</td><td>{}</td><td>{}</td></tr>",
            mark(needed),
            type_of(property),
            meaning(description(property), property),
        );
    }
    out + "</table></section>"
}

/// What is said about a field that must not be missing.
pub(super) fn mark(needed: bool) -> &'static str {
    if needed { "<br><span class=\"required\">required</span>" } else { "" }
}

/// A schema in a few words, with a link where it has a name, and its bounds.
pub(super) fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    let named = |kind: &Value| match (kind.as_str(), schema["format"].as_str()) {
        (Some("string"), Some(format @ ("date" | "date-time"))) => format.to_owned(),
        (Some("string"), _) => "text".to_owned(),
        (Some("integer"), _) => "whole number".to_owned(),
        (Some("boolean"), _) => "true or false".to_owned(),
        (Some("array"), _) => format!("list of {}", type_of(&schema["items"])),
        _ => text(kind),
    };
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(named).collect::<Vec<_>>().join(" or "),
        kind => named(kind),
    };
    match bounds(schema) {
        bounds if bounds.is_empty() => kind,
        bounds => format!("{kind}<br><small>{bounds}</small>"),
    }
}

/// The description of a field, then an example and a default where there are any.
pub(super) fn meaning(description: &Value, schema: &Value) -> String {
    let mut out = prose(description);
    for (name, value) in [("default", &schema["default"]), ("example", &schema["example"])] {
        if !value.is_null() {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out += &format!("<br><small>{name}: <code>{}</code></small>", escaped(&shown));
        }
    }
    out
}

/// A field that may be null has its words one level below.
fn description(property: &Value) -> &Value {
    let nested = property["oneOf"].as_array().into_iter().flatten();
    let nested = nested.map(|choice| &choice["description"]).find(|words| !words.is_null());
    if property["description"].is_null() {
        nested.unwrap_or(&Value::Null)
    } else {
        &property["description"]
    }
}

fn bounds(schema: &Value) -> String {
    let range = |least: &str, most: &str| match (schema[least].as_i64(), schema[most].as_i64()) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let count = |what: &str, least: &str, most: &str| {
        range(least, most).map(|range| format!("{range} {what}"))
    };
    let all = [
        range("minimum", "maximum"),
        count("characters", "minLength", "maxLength"),
        count("elements", "minItems", "maxItems"),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
