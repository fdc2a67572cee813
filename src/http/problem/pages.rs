//! The pages that `type` points to: plain, complete in themselves, made from the table.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::Path;
use axum::response::Html;
use axum::routing::get;

use super::Problem;
use super::slug::{ENTRIES, Entry, Slug};

/// `GET /problems` and `GET /problems/{slug}`: the pages that `type` points to.
pub fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/problems", get(async || Html(list_page())))
        .route("/problems/{slug}", get(slug_page))
}

fn list_page() -> String {
    let mut body = String::from(
        "<h1>Problems</h1><p>Every reason for which Tillside does not do what it was asked, in \
         order of precedence: when several apply, the first one is answered.</p>\
         <table><tr><th>problem</th><th>status</th><th>meaning</th></tr>",
    );
    for entry in &ENTRIES {
        let Entry { name, status, title, .. } = entry;
        let status = status.as_u16();
        write!(
            body,
            "<tr><td><a href=\"problems/{name}\">{name}</a></td><td>{status}</td>\
             <td>{title}</td></tr>"
        )
        .expect("a String takes all text");
    }
    body.push_str("</table>");
    page("Problems", &body)
}

async fn slug_page(Path(name): Path<String>) -> Result<Html<String>, Problem> {
    let entry = ENTRIES.iter().find(|entry| entry.name == name).ok_or(Slug::NotFound)?;
    let Entry { name, status, title, help, .. } = entry;
    let body = format!(
        "<h1>{title}</h1><p><code>{name}</code>, status {status}</p><p>{help}</p>\
         <p><a href=\"../problems\">All problems</a></p>"
    );
    Ok(Html(page(title, &body)))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} - Tillside</title>\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;\
         padding:0 1rem;color:#222;background:#fff}}table{{border-collapse:collapse}}\
         td,th{{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #ddd}}\
         a{{color:#0b5394}}</style></head><body>{body}</body></html>\n"
    )
}
