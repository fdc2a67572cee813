//! Passes bytes. (Stands in for the fault proxy while that is being written.)

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Where somebody listens.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A port.
    Tcp(SocketAddr),
    /// A socket.
    Unix(PathBuf),
}

/// What is spoken.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// PostgreSQL's.
    Postgres,
}

/// Chances.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "stands in")]
pub struct Faults {
    pub cut_before_request: f64,
    pub cut_after_request: f64,
    pub black_hole: f64,
    pub slow: f64,
    pub reset: f64,
    pub duplicate: f64,
    pub delay_ms: u64,
}

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    listen: Endpoint,
    upstream: Arc<Mutex<Endpoint>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(
        listen: Endpoint,
        upstream: Endpoint,
        _protocol: Protocol,
        _seed: u64,
    ) -> io::Result<Self> {
        let Endpoint::Tcp(address) = listen else { return Err(io::ErrorKind::Unsupported.into()) };
        let listener = TcpListener::bind(address).await?;
        let listen = Endpoint::Tcp(listener.local_addr()?);
        let upstream = Arc::new(Mutex::new(upstream));
        let shared = Arc::clone(&upstream);
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut down, _)) = listener.accept().await else { continue };
                let to = shared.lock().expect("never poisoned").clone();
                tokio::spawn(async move {
                    match to {
                        Endpoint::Tcp(to) => {
                            let Ok(mut up) = TcpStream::connect(to).await else { return };
                            let _ = tokio::io::copy_bidirectional(&mut down, &mut up).await;
                        }
                        Endpoint::Unix(to) => {
                            let Ok(mut up) = UnixStream::connect(to).await else { return };
                            let _ = tokio::io::copy_bidirectional(&mut down, &mut up).await;
                        }
                    }
                });
            }
        });
        Ok(Self { listen, upstream, task })
    }

    /// Where it listens.
    pub fn address(&self) -> &Endpoint {
        &self.listen
    }

    /// Faults from now on.
    pub fn set_faults(&self, _faults: Faults) {}

    /// Another upstream.
    pub fn retarget(&self, upstream: Endpoint) {
        *self.upstream.lock().expect("never poisoned") = upstream;
    }

    /// What was done.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
