//! The documentation that the service carries: the OpenAPI document, a page made from it, and
//! a welcome. Everything is self-contained: no script, no font, nothing from elsewhere.

mod schema;
mod signing;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::Value;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// What the document says besides its calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tillside",
        description = "Loyalty at the till. Terminals sign every request with RFC 9421 \
                       (`hmac-sha256`) over `@method`, `@authority`, `@path` and `@query`, and \
                       with a body over `content-type` and `content-digest` (RFC 9530); \
                       `created` and `keyid` are required. `tillside sign --explain` shows \
                       every step of it. Unknown fields are refused; problems are RFC 9457, one \
                       slug per reason, each with a page under /problems. People and their \
                       programs send a bearer token instead (`tillside token add`).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "terminals", description = "Signed calls of checkout terminals"),
        (name = "office", description = "Calls of the back office, with a bearer token"),
    ),
    modifiers(&Bearer),
)]
pub struct Document;

/// How people's programs say who they are.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// A call shown with everything that goes over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The path that is posted to.
    pub path: &'static str,
    /// The body.
    pub request: &'static str,
    /// The body of the answer.
    pub answer: &'static str,
}

/// The document as an answer.
pub fn json(document: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

/// What stands at the root, for people who open the address in a browser.
pub fn welcome() -> String {
    page(
        "Tillside",
        "<h1>Tillside</h1><p>Loyalty at the till. This address serves checkout terminals \
         and the back office.</p>\
         <ul><li><a href=\"docs\">The calls of terminals and of the back office</a></li>\
         <li><a href=\"openapi.json\">The same as an OpenAPI 3.1 document</a></li>\
         <li><a href=\"problems\">Every reason for which something is not done</a></li></ul>",
    )
}

/// A page for people, made from the document.
pub fn page_of(document: &Value, example: &Example) -> String {
    let mut out = String::new();
    let info = &document["info"];
    out += &format!("<h1>{} {}</h1>", text(&info["title"]), text(&info["version"]));
    out += "<p>Loyalty at the till: a terminal posts a transaction after payment and gets a \
            receipt with points, coupons and what to print. An integration can stop there, or also \
            give member prices and look cards up. Everything is JSON in UTF-8; money is a whole \
            number of minor units \
            (<code>*_minor</code>), quantities are decimals in text, times are RFC 3339 with an \
            offset. Unknown fields are refused.</p>\
            <p>The same for programs: <a href=\"openapi.json\">openapi.json</a>. What can go \
            wrong: <a href=\"problems\">problems</a>.</p>";
    out += &contents(document);
    out += &signing::section();
    out += &signing::worked(example);
    out += "<h2 id=\"calls\">Calls</h2>";
    for (path, method, call) in calls(document) {
        out += &section_of_call(path, &method, call);
    }
    out += "<h2 id=\"messages\">Messages</h2>";
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        out += &schema::section(name, schema);
    }
    page("Tillside: calls", &out)
}

fn contents(document: &Value) -> String {
    let mut out = String::from(
        "<nav><ul><li><a href=\"#signing\">How a request is signed</a></li>\
         <li><a href=\"#example\">One complete call</a></li>\
         <li><a href=\"#calls\">Calls</a><ul>",
    );
    for (path, method, call) in calls(document) {
        let (id, summary) = (text(&call["operationId"]), text(&call["summary"]));
        out += &format!("<li><a href=\"#{id}\"><code>{method} {path}</code></a><br>{summary}</li>");
    }
    out += "</ul></li><li><a href=\"#messages\">Messages</a>: ";
    let names = document["components"]["schemas"].as_object().into_iter().flatten();
    let links: Vec<String> =
        names.map(|(name, _)| format!("<a href=\"#{name}\">{name}</a>")).collect();
    out + &links.join(", ") + "</li></ul></nav>"
}

fn section_of_call(path: &str, method: &str, call: &Value) -> String {
    let id = text(&call["operationId"]);
    let mut out = format!(
        "<section id=\"{id}\"><h3>{}</h3><p class=\"call\"><code>{method} {path}</code></p>\
         <p>{}</p>",
        text(&call["summary"]),
        prose(&call["description"])
    );
    let parameters = call["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        out += "<table><tr><th>parameter</th><th>in</th><th>type</th><th>meaning</th></tr>";
        for parameter in parameters {
            let needed = parameter["required"] == true;
            out += &format!(
                "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                schema::mark(needed),
                text(&parameter["in"]),
                schema::type_of(&parameter["schema"]),
                schema::meaning(&parameter["description"], parameter),
            );
        }
        out += "</table>";
    }
    let body = &call["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        out += &format!("<p>Body: {}</p>", schema::type_of(body));
    }
    out += "<table><tr><th>status</th><th>means</th><th>body</th></tr>";
    for (status, answer) in call["responses"].as_object().into_iter().flatten() {
        let content = answer["content"].as_object().and_then(|content| content.values().next());
        let kind = content.map_or_else(String::new, |content| schema::type_of(&content["schema"]));
        let mut means = prose(&answer["description"]);
        for (name, header) in answer["headers"].as_object().into_iter().flatten() {
            means += &format!("<br><code>{name}</code>: {}", prose(&header["description"]));
        }
        out += &format!("<tr><td>{status}</td><td>{means}</td><td>{kind}</td></tr>");
    }
    out + "</table></section>"
}

/// Path, method and description of every call.
fn calls(document: &Value) -> impl Iterator<Item = (&String, String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, call)| (path, method.to_uppercase(), call))
    })
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text with its `code` set apart.
fn prose(value: &Value) -> String {
    let mut out = String::new();
    for (at, part) in text(value).split('`').enumerate() {
        out += &if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() };
    }
    out
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#222;--back:#fff;--soft:#f4f4f2;--line:#ddd;--link:#0b5394;\
--dim:#666}\
@media(prefers-color-scheme:dark){:root{--text:#ddd;--back:#1b1b1b;--soft:#292929;--line:#444;\
--link:#8ab4e8;--dim:#999}}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem 4rem;\
color:var(--text);background:var(--back)}\
h1,h2,h3{line-height:1.25}h2{margin-top:3rem;border-bottom:2px solid var(--line)}\
section{margin-top:2.5rem}a{color:var(--link)}small{color:var(--dim)}\
table{border-collapse:collapse;width:100%;margin:.75rem 0}\
td,th{text-align:left;vertical-align:top;padding:.35rem 1rem .35rem 0;\
border-bottom:1px solid var(--line)}th{color:var(--dim);font-weight:600}\
code,pre{font-family:ui-monospace,monospace;font-size:.92em;background:var(--soft)}\
code{padding:.05rem .25rem;border-radius:.2rem}\
pre{padding:1rem;white-space:pre-wrap;overflow-wrap:anywhere;border-radius:.4rem;line-height:1.4}\
pre code{padding:0}.call code{font-size:1rem}dt{font-weight:600;margin-top:.75rem}\
nav ul{padding-left:1.2rem}nav li{margin:.2rem 0}.required{color:var(--dim);font-size:.85em}\
@media(max-width:40rem){table{display:block;overflow-x:auto}}";
