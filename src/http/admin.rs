//! What operators ask: is it alive, is it ready, what does it count. On a listener of its own,
//! which should not be reachable from the shops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::db::schema::Readiness;

/// Set when the service begins to stop, so that balancers send nothing new.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on `/readyz` refuses.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(app: Arc<App>, draining: Draining) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state((app, draining))
}

/// Ready only when an acknowledgement would be durable: every reason against it, a line each.
async fn ready(State((app, draining)): State<(Arc<App>, Draining)>) -> Response {
    if draining.0.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the service is stopping\n").into_response();
    }
    let readiness = async {
        let client = app.pool.get().await?;
        Readiness::of_running(&client).await
    };
    let findings = match readiness.await {
        Ok(readiness) => readiness.findings,
        Err(error) => vec![error.to_string()],
    };
    if findings.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, findings.join("\n") + "\n").into_response()
}

async fn metrics(State((app, _)): State<(Arc<App>, Draining)>) -> Response {
    app.refresh_gauges();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
        .into_response()
}
