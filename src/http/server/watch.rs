//! How long a connection may keep us waiting: between requests, within a request's head,
//! when it does not take the answer, and when it is being closed.
//!
//! One timer per connection, moved only when something stands still, so that a request that
//! arrives in one piece costs none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::Response;
use ::http::header::CONNECTION;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::CONNECTIONS;

const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_TIMEOUT_ANSWER: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How long, and how much, is read after a connection was closed over an unread body. Without
/// it the peer's kernel would throw our answer away.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// How long is waited for a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of an HTTP/1.1 request until its head is complete.
    pub(super) head: Duration,
    /// While no request is being handled.
    pub(super) idle: Duration,
    /// While it takes nothing of what we have to send.
    pub(super) write: Duration,
}

/// What the requests of a connection are doing; shared with the socket below them.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests whose handler is at work.
    handling: AtomicUsize,
    /// Requests ever begun.
    begun: AtomicUsize,
    /// When a request or a piece of an answer was last seen, in milliseconds after `opened`.
    last_ms: AtomicU64,
    /// Whether an answer said that the connection will be closed.
    closing: AtomicBool,
}

/// One request in the hands of its handler.
pub(super) struct Handling(Arc<Activity>);

/// The body of an answer, whose progress keeps its connection alive.
pub(super) struct Watching {
    body: Body,
    activity: Arc<Activity>,
}

/// A socket that gives up on a peer that keeps it waiting.
pub(super) struct Watched {
    stream: TcpStream,
    patience: Patience,
    activity: Arc<Activity>,
    timer: Pin<Box<Sleep>>,
    /// How many requests had begun when `head_since` was noted.
    begun: usize,
    /// When the first byte of the next request came.
    head_since: Option<Instant>,
    /// How much of the HTTP/2 preface has been seen; `None` once it was something else.
    preface: Option<usize>,
    write_timer: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            handling: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// Notes that a request has begun.
    pub(super) fn begin(self: &Arc<Self>) -> Handling {
        self.handling.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        Handling(Arc::clone(self))
    }

    fn touch(&self) {
        let elapsed_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed_ms, Relaxed);
    }

    fn last(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_ms.load(Relaxed))
    }
}

impl Handling {
    /// Notes that the handler is done, and watches over the body of its answer.
    pub(super) fn answered(self, answer: Response<Body>) -> Response<Watching> {
        if answer.headers().contains_key(CONNECTION) {
            self.0.closing.store(true, Relaxed);
        }
        answer.map(|body| Watching { body, activity: Arc::clone(&self.0) })
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.touch();
        self.0.handling.fetch_sub(1, Relaxed);
    }
}

impl hyper::body::Body for Watching {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.activity.touch();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Watched {
    pub(super) fn new(stream: TcpStream, patience: Patience, activity: Arc<Activity>) -> Self {
        let timer = Box::pin(sleep_until(activity.opened + patience.idle));
        Self {
            stream,
            patience,
            activity,
            timer,
            begun: 0,
            head_since: None,
            preface: Some(0),
            write_timer: None,
            linger: None,
        }
    }

    fn is_http_2(&self) -> bool {
        self.preface == Some(HTTP_2_PREFACE.len())
    }

    /// Forgets the first byte of a request that has come and gone.
    fn forget_what_has_begun(&mut self) {
        let begun = self.activity.begun.load(Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.head_since = None;
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        if let Some(seen) = self.preface
            && seen < HTTP_2_PREFACE.len()
        {
            let rest = &HTTP_2_PREFACE[seen..];
            let length = bytes.len().min(rest.len());
            self.preface = (bytes[..length] == rest[..length]).then_some(seen + length);
        }
        if self.activity.handling.load(Relaxed) == 0 {
            self.forget_what_has_begun();
            self.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// Nothing came: until when is that all right? `None` while a handler is at work, which
    /// has limits of its own.
    fn deadline(&mut self) -> Option<Instant> {
        self.forget_what_has_begun();
        if self.activity.handling.load(Relaxed) > 0 {
            return None;
        }
        // On HTTP/2 bytes between requests are housekeeping as often as a head.
        match self.head_since {
            Some(since) if !self.is_http_2() => Some(since + self.patience.head),
            _ => Some(self.activity.last() + self.patience.idle),
        }
    }

    /// Sets the timer for when this wait is to be looked at again; gives up when it is over.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let now = Instant::now();
            let deadline = self.deadline();
            if deadline.is_some_and(|deadline| deadline <= now) {
                if self.head_since.is_some() && !self.is_http_2() {
                    // Best effort: whoever is this slow may not be listening either.
                    let _ = self.stream.try_write(HEAD_TIMEOUT_ANSWER);
                }
                return Poll::Ready(too_slow());
            }
            // A timer that is early is left alone: when it fires, this is looked at again.
            let look_again = deadline.unwrap_or(now + self.patience.idle);
            if self.timer.is_elapsed() || self.timer.deadline() > look_again {
                self.timer.as_mut().reset(look_again);
            }
            ready!(self.timer.as_mut().poll(cx));
        }
    }

    /// Bounds the time for which a write makes no progress.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let end = Instant::now() + self.patience.write;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(too_slow()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > before {
                self.note(&buffer.filled()[before..]);
            }
            return Poll::Ready(result);
        }
        self.poll_patience(cx).map(Err)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has nothing to flush, so this says nothing about the peer.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if !this.activity.closing.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let end = Instant::now() + LINGER;
        let (timer, left_bytes) =
            this.linger.get_or_insert_with(|| (Box::pin(sleep_until(end)), LINGER_BYTES));
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, &mut buffer) else {
                return timer.as_mut().poll(cx).map(Ok);
            };
            let length = buffer.filled().len();
            *left_bytes = left_bytes.saturating_sub(length);
            if result.is_err() || length == 0 || *left_bytes == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn too_slow() -> io::Error {
    CONNECTIONS.timed_out.fetch_add(1, Relaxed);
    io::ErrorKind::TimedOut.into()
}
