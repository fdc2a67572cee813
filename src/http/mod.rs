//! The edge: what stands between a socket and a flow.
//!
//! [`server`] owns connections, [`edge`] wraps the router, [`request`] reads a signed request,
//! [`signature`] proves who sent it, [`problem`] turns whatever went wrong into an answer.
//! Nothing in here knows what a swipe is, and nothing in here touches the database.

pub mod problem;
pub mod request;
pub mod server;
pub mod signature;

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::config;
use problem::Problem;
use request::RequestId;

/// The header that carries the request id; on every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

struct Edge {
    public_url: String,
    headers_max: usize,
    target_max_bytes: usize,
}

/// Puts the edge around a finished router: a request id for every request, the limits that
/// hold for all routes, panics caught, and every [`Problem`] written out as RFC 9457 asks.
///
/// Call it last: routes that are added afterwards stand outside.
pub fn edge(router: Router, public_url: &str, limits: &config::Http) -> Router {
    let edge = Arc::new(Edge {
        public_url: public_url.to_owned(),
        headers_max: limits.headers_max,
        target_max_bytes: limits.target_max_bytes,
    });
    router
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(middleware::from_fn_with_state(edge, surround))
}

async fn surround(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::random();
    let version = request.version();
    request.extensions_mut().insert(id);
    let answer = match request::check_head(&request, edge.headers_max, edge.target_max_bytes) {
        Ok(()) => next.run(request).await,
        Err(slug) => Problem::new(slug).closing().into_response(),
    };
    let mut answer = problem::write_out(answer, &edge.public_url, id, version);
    let value = HeaderValue::from_str(id.as_str()).expect("hexadecimal digits are header text");
    answer.headers_mut().insert(X_REQUEST_ID, value);
    answer
}
