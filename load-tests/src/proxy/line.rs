//! One side of a proxied connection: a socket, and the bytes from it that no frame has used yet.
//! It knows no protocol, and reads no further than a bound ahead of what is asked for.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::Endpoint;

/// How far a client that sends before it is answered is read ahead.
const AHEAD_MAX_BYTES: usize = 1024 * 1024;

pub(super) struct Line {
    socket: Socket,
    unread: BytesMut,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Line {
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => Self::tcp(TcpStream::connect(address).await?),
            Endpoint::Unix(path) => Ok(Self::unix(UnixStream::connect(path).await?)),
        }
    }

    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        // The proxy's own latency must not be what is measured.
        stream.set_nodelay(true)?;
        Ok(Self { socket: Socket::Tcp(stream), unread: BytesMut::new() })
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), unread: BytesMut::new() }
    }

    /// The next frame; `length_of` tells the length of the one that its argument begins with,
    /// once all of it is there. `None` when the other side has closed. What was read stays here
    /// when the future is dropped.
    pub(super) async fn next(
        &mut self,
        length_of: impl Fn(&[u8]) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(length) = length_of(&self.unread)? {
                return Ok(Some(self.unread.split_to(length).freeze()));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whatever comes next, `None` when the other side has closed.
    pub(super) async fn anything(&mut self) -> io::Result<Option<Bytes>> {
        self.next(|bytes| Ok((!bytes.is_empty()).then_some(bytes.len()))).await
    }

    /// Returns when the other side has gone away. What it says meanwhile is kept; when it says
    /// too much, its going is no longer noticed.
    pub(super) async fn gone(&mut self) {
        while self.unread.len() < AHEAD_MAX_BYTES {
            if !self.read().await.is_ok_and(|bytes| bytes > 0) {
                return;
            }
        }
        std::future::pending().await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes).await,
            Socket::Unix(stream) => stream.write_all(bytes).await,
        }
    }

    /// Makes closing a TCP connection reset it.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.set_zero_linger(),
            Socket::Unix(_) => Ok(()),
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.read_buf(&mut self.unread).await,
            Socket::Unix(stream) => stream.read_buf(&mut self.unread).await,
        }
    }
}
