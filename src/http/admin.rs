//! What operators ask: is it alive, is it ready, what does it count. On a listener of its own,
//! which should not be reachable from the shops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::time::timeout;

use crate::app::App;
use crate::db::schema::Readiness;

/// How long `/metrics` waits to learn whether the service is ready; Prometheus waits 10 s.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

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
    let findings = findings(&app, &draining).await;
    if findings.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, findings.join("\n") + "\n").into_response()
}

/// Every reason against being ready.
async fn findings(app: &App, draining: &Draining) -> Vec<String> {
    if draining.0.load(Ordering::Relaxed) {
        return vec!["the service is stopping".into()];
    }
    let readiness =
        app.pool.ask(|client| Box::pin(async move { Readiness::of_running(client).await }));
    match readiness.await {
        Ok(readiness) => readiness.findings,
        Err(error) => vec![error.to_string()],
    }
}

async fn metrics(State((app, draining)): State<(Arc<App>, Draining)>) -> Response {
    app.refresh_gauges();
    // A database that hangs must not take the other figures away with it.
    let findings = timeout(READY_TIMEOUT, findings(&app, &draining)).await;
    app.metrics.ready.set(findings.is_ok_and(|findings| findings.is_empty()).into());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
        .into_response()
}
