//! The edge: what stands between a socket and a flow.
//!
//! [`server`] owns connections, [`edge`] wraps the router, [`request`] reads a signed request,
//! [`signature`] proves who sent it, [`problem`] turns whatever went wrong into an answer, and
//! [`file`] is how files leave.
//! Nothing in here knows what a swipe is, and nothing in here touches the database.

pub mod admin;
pub mod body;
pub mod docs;
pub mod file;
pub mod problem;
pub mod request;
pub mod server;
pub mod signature;

use std::sync::Arc;
use std::time::Instant;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::config;
use crate::metrics::Metrics;
use problem::Problem;
use request::{RequestId, Sender};

/// The header that carries the request id; on every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

struct Edge {
    public_url: String,
    headers_max: usize,
    target_max_bytes: usize,
    metrics: Arc<Metrics>,
}

/// Puts the edge around a finished router: a request id for every request, the limits that
/// hold for all routes, panics caught, and every [`Problem`] written out as RFC 9457 asks.
///
/// Call it last: routes that are added afterwards stand outside.
pub fn edge(
    router: Router,
    public_url: &str,
    limits: &config::Http,
    metrics: Arc<Metrics>,
) -> Router {
    for slug in problem::Slug::all() {
        // A counter that appears with its first problem hides that one from every rate.
        metrics.problems.with_label_values(&[slug.name()]);
    }
    let edge = Arc::new(Edge {
        public_url: public_url.to_owned(),
        headers_max: limits.headers_max,
        target_max_bytes: limits.target_max_bytes,
        metrics,
    });
    router
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(middleware::from_fn_with_state(edge, surround))
}

async fn surround(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    // The template, never the path: a path may hold a card.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let id = RequestId::random();
    let version = request.version();
    let method = method_name(request.method());
    let sender = Sender::default();
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(sender.clone());
    let answer = match request::check_head(&request, edge.headers_max, edge.target_max_bytes) {
        Ok(()) => next.run(request).await,
        Err(slug) => Problem::new(slug).closing().into_response(),
    };
    let (mut answer, slug) = problem::write_out(answer, &edge.public_url, id, version);
    let value = HeaderValue::from_str(id.as_str()).expect("hexadecimal digits are header text");
    answer.headers_mut().insert(X_REQUEST_ID, value);

    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let status = answer.status();
    let elapsed_s = started.elapsed().as_secs_f64();
    edge.metrics.requests.with_label_values(&[route, status.as_str()]).observe(elapsed_s);
    if let Some(slug) = slug {
        edge.metrics.problems.with_label_values(&[slug.name()]).inc();
    }
    let problem = slug.map(problem::Slug::name);
    // Levels are fixed where an event is written, so this is one event written four times.
    macro_rules! log {
        ($level:ident) => {{
            let (terminal, status) = (sender.keyid(), status.as_u16());
            tracing::$level!(
                request = %id, method, route, status, problem, terminal, elapsed_s, "answered"
            );
        }};
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE => log!(warn),
        _ if status.is_server_error() => log!(error),
        _ if status.is_client_error() => log!(info),
        _ if tracing::enabled!(tracing::Level::DEBUG) => log!(debug),
        _ => {}
    }
    answer
}

/// A method as it is logged: a stranger can send any word as one.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "(other)",
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
