//! The documentation that the service carries: the OpenAPI document, a page made from it, and
//! a welcome. Everything is self-contained: no script, no font, nothing from elsewhere.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::Value;
use utoipa::OpenApi;

/// What the document says besides its calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tillside",
        description = "Loyalty at the till. Terminals sign every request with RFC 9421 \
                       (`hmac-sha256`) over `@method`, `@authority`, `@path` and `@query`, and with \
                       a body over `content-type` and `content-digest` (RFC 9530); `created` and \
                       `keyid` are required. `tillside sign --explain` shows every step of it. \
                       Unknown fields are refused; problems are RFC 9457, one slug per reason, \
                       each with a page under /problems.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags((name = "terminals", description = "Signed calls of checkout terminals")),
)]
pub struct Document;

/// The document as an answer.
pub fn json(document: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

/// What stands at the root, for people who open the address in a browser.
pub fn welcome() -> String {
    page(
        "Tillside",
        "<h1>Tillside</h1><p>Loyalty at the till. This address serves checkout terminals.</p>\
         <ul><li><a href=\"docs\">The calls of terminals</a></li>\
         <li><a href=\"openapi.json\">The same as an OpenAPI 3.1 document</a></li>\
         <li><a href=\"problems\">Every reason for which something is not done</a></li></ul>",
    )
}

/// A page for people, made from the document.
pub fn page_of(document: &Value) -> String {
    let mut body = String::new();
    let info = &document["info"];
    body.push_str(&format!("<h1>{} {}</h1>", text(&info["title"]), text(&info["version"])));
    body.push_str(&format!("<p>{}</p>", prose(&info["description"])));
    body.push_str(
        "<p><a href=\"openapi.json\">openapi.json</a> · <a href=\"problems\">problems</a></p>",
    );

    body.push_str("<nav><ul>");
    for (path, method, call) in calls(document) {
        let id = text(&call["operationId"]);
        let summary = text(&call["summary"]);
        body.push_str(&format!(
            "<li><a href=\"#{id}\"><code>{method} {path}</code></a> {summary}</li>"
        ));
    }
    body.push_str("</ul></nav>");

    for (path, method, call) in calls(document) {
        let id = text(&call["operationId"]);
        body.push_str(&format!("<section id=\"{id}\"><h2>{}</h2>", text(&call["summary"])));
        body.push_str(&format!(
            "<p><code>{method} {path}</code></p><p>{}</p>",
            prose(&call["description"])
        ));
        let schema = &call["requestBody"]["content"]["application/json"]["schema"];
        if !schema.is_null() {
            body.push_str(&format!("<p>Body: {}</p>", type_of(schema)));
        }
        body.push_str("<table><tr><th>status</th><th>means</th><th>body</th></tr>");
        for (status, answer) in call["responses"].as_object().into_iter().flatten() {
            let content = answer["content"].as_object().and_then(|content| content.values().next());
            let kind = content.map_or_else(String::new, |content| type_of(&content["schema"]));
            let means = text(&answer["description"]);
            body.push_str(&format!("<tr><td>{status}</td><td>{means}</td><td>{kind}</td></tr>"));
        }
        body.push_str("</table></section>");
    }

    body.push_str("<h1>Messages</h1>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        body.push_str(&format!("<section id=\"{name}\"><h2>{name}</h2>"));
        body.push_str(&format!("<p>{}</p>", prose(&schema["description"])));
        body.push_str("<table><tr><th>field</th><th>type</th><th>meaning</th></tr>");
        let required = schema["required"].as_array();
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let needed = required.is_some_and(|names| names.iter().any(|name| name == field));
            let mark = if needed { " <small>required</small>" } else { "" };
            let (kind, means) = (type_of(property), prose(&property["description"]));
            write_all(
                &mut body,
                &format!(
                    "<tr><td><code>{field}</code>{mark}</td><td>{kind}</td><td>{means}</td></tr>"
                ),
            );
        }
        body.push_str("</table></section>");
    }
    page("Tillside: calls of terminals", &body)
}

/// Path, method and description of every call.
fn calls(document: &Value) -> impl Iterator<Item = (&String, String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, call)| (path, method.to_uppercase(), call))
    })
}

/// A schema in a few words, with a link where it has a name.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(kind) if kind == "array" => format!("list of {}", type_of(&schema["items"])),
        kind => text(kind),
    };
    match schema["format"].as_str() {
        Some(format @ ("date" | "date-time")) => format,
        _ => kind.as_str(),
    }
    .to_owned()
}

fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text with its `code` set apart.
fn prose(value: &Value) -> String {
    let mut out = String::new();
    for (at, part) in text(value).split('`').enumerate() {
        out.push_str(&if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() });
    }
    out
}

fn write_all(out: &mut String, text: &str) {
    out.push_str(text);
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
         padding:0 1rem;color:#222;background:#fff}}table{{border-collapse:collapse;width:100%}}\
         td,th{{text-align:left;vertical-align:top;padding:.25rem 1rem .25rem 0;\
         border-bottom:1px solid #ddd}}code{{background:#f3f3f3;padding:0 .2rem}}\
         section{{margin-top:2rem}}a{{color:#0b5394}}small{{color:#555}}</style></head>\
         <body>{body}</body></html>\n"
    )
}
