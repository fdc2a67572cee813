//! Connections: accepts them, bounds them, drains them.
//!
//! hyper reads and writes HTTP; this module decides how long it may take and how many may
//! come. Must never let one connection hold up the accepting of another, and never retry an
//! accept error without a pause.

#[cfg(test)]
mod tests;
mod watch;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::config;
use watch::{Activity, Patience, Watched, Watching};

/// Requests that may be open on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// Streams that a peer may open and reset before we answered (rapid reset).
const STREAMS_RESET_MAX: usize = 64;
/// Streams that we may have to reset because of a peer's mistakes.
const STREAMS_FAULTY_MAX: usize = 256;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting rests when the process has run out of something, such as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What has become of connections since the process started.
pub static CONNECTIONS: Connections = Connections::new();

/// Counts of connections, over all listeners.
#[derive(Debug)]
pub struct Connections {
    /// Taken on.
    pub accepted: AtomicU64,
    /// Over, for whatever reason; `accepted` less this many are open.
    pub ended: AtomicU64,
    /// Closed at once because too many were open.
    pub refused: AtomicU64,
    /// Cut because the peer was too slow or silent for too long.
    pub timed_out: AtomicU64,
}

impl Connections {
    const fn new() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 (by prior knowledge) until `shutdown` is ready, then lets open
/// requests finish for `drain_timeout_ms` and cuts what is left.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &config::Http,
    shutdown: impl Future<Output = ()>,
) {
    let http = builder(limits);
    let patience = Patience {
        head: Duration::from_millis(limits.header_timeout_ms),
        idle: Duration::from_millis(limits.idle_timeout_ms),
        // A peer that takes nothing is no better than one that sends nothing.
        write: Duration::from_millis(limits.body_timeout_ms),
    };
    let graceful = GracefulShutdown::new();
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            stream = accept(&listener) => stream,
            Some(_) = open.join_next() => continue,
        };
        while open.try_join_next().is_some() {}
        if open.len() >= limits.connections_max {
            CONNECTIONS.refused.fetch_add(1, Relaxed);
            continue;
        }
        open.spawn(connection(stream, router.clone(), http.clone(), patience, graceful.watcher()));
    }
    drop(listener);
    let drained = async {
        graceful.shutdown().await;
        while open.join_next().await.is_some() {}
    };
    if tokio::time::timeout(Duration::from_millis(limits.drain_timeout_ms), drained).await.is_err()
    {
        tracing::warn!(connections = open.len(), "cut connections that did not finish in time");
        open.shutdown().await;
    }
}

fn builder(limits: &config::Http) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper starts this clock when the previous request ends, so it would cut idle
        // connections as well; `watch` starts it at the first byte.
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_max_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_max_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(STREAMS_RESET_MAX)
        .max_local_error_reset_streams(STREAMS_FAULTY_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// The next connection, however many attempts fail.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether a connection broke before it was accepted: nothing that a pause would mend.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Counts a connection for as long as it lives, however it ends.
struct Counted;

impl Counted {
    fn new() -> Self {
        CONNECTIONS.accepted.fetch_add(1, Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        CONNECTIONS.ended.fetch_add(1, Relaxed);
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    http: Builder<TokioExecutor>,
    patience: Patience,
    graceful: hyper_util::server::graceful::Watcher,
) {
    let _counted = Counted::new();
    // A receipt must not wait for an acknowledgement of the packet before it.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Watched::new(stream, patience, Arc::clone(&activity)));
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let handling = activity.begin();
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer = match answer.await {
                Ok(answer) => handling.answered(answer),
                Err(never) => match never {},
            };
            Ok::<hyper::Response<Watching>, Infallible>(answer)
        }
    });
    // Why a connection broke is the peer's matter; what we cut is counted where it is cut.
    let _ = graceful.watch(http.serve_connection(io, service).into_owned()).await;
}
