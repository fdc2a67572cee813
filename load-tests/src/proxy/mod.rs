//! A proxy that harms what passes: between tills and the service, or between the service and
//! PostgreSQL.
//!
//! It knows where a request begins and ends (see [`framing`]), so each fault is one that a
//! network can really do to a request, at a moment that is known. What it harms is drawn from a
//! seed, each fault is counted when it has happened, and what fails on one connection never
//! touches another. It must never invent a byte that upstream did not say (but for refusing
//! encryption to a PostgreSQL client, as every server without TLS does), and never hold more than
//! a few frames per connection.

mod framing;
mod line;
mod relay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

use line::Line;
use relay::{Fault, Relay};

/// Further connections wait in the listener's backlog until one ends.
const CONNECTIONS_MAX: usize = 4_096;

/// After a failed accept (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What is spoken on the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with Content-Length. A request is a request.
    Http,
    /// PostgreSQL's protocol 3. A request is what ends with Sync, or a simple query; the startup
    /// exchange is one as well.
    Postgres,
}

/// The chance of each fault, per request. At most one of them befalls a request, so their sum
/// must not exceed 1; a delay comes on top. The default harms nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Both connections end before upstream has seen the request.
    pub cut_before_request: f64,
    /// Both connections end once upstream has the request: at random at once, or when its whole
    /// answer has been heard and thrown away, so that whatever it does is done.
    pub cut_after_request: f64,
    /// The request is swallowed and the connection stays open, silent, for three seconds.
    pub black_hole: f64,
    /// The answer comes in pieces, over at most half a second.
    pub slow: f64,
    /// The client's connection is reset, at random before or after upstream has the request. On
    /// a unix socket, which knows no reset, it is closed.
    pub reset: f64,
    /// HTTP only: the request is sent on a second connection at the same time. The client gets
    /// the first answer; that both say the same is checked.
    pub duplicate: f64,
    /// Each request waits for so long before upstream gets it.
    pub delay_ms: u64,
}

/// A running proxy. It ends, with all its connections, when it is dropped.
pub struct Proxy {
    address: Endpoint,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What all connections of a proxy share.
struct Shared {
    protocol: Protocol,
    state: Mutex<State>,
}

struct State {
    upstream: Endpoint,
    faults: Faults,
    counts: BTreeMap<&'static str, u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn count(&self, what: &'static str) {
        *self.lock().counts.entry(what).or_default() += 1;
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Line> {
        match self {
            Self::Tcp(listener) => Line::tcp(listener.accept().await?.0),
            Self::Unix(listener) => Ok(Line::unix(listener.accept().await?.0)),
        }
    }
}

impl Proxy {
    /// Listens at `listen` (port 0 chooses one) and passes every connection on to `upstream`,
    /// which need not be there yet: a connection that finds nobody is closed.
    ///
    /// # Errors
    /// When it cannot listen there. The file of a unix socket must not exist.
    pub async fn start(
        listen: Endpoint,
        upstream: Endpoint,
        protocol: Protocol,
        seed: u64,
    ) -> io::Result<Self> {
        let (listener, address) = match listen {
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = Endpoint::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
            Endpoint::Unix(path) => {
                (Listener::Unix(UnixListener::bind(&path)?), Endpoint::Unix(path))
            }
        };
        let counts = Fault::NAMES
            .into_iter()
            .filter(|name| protocol == Protocol::Http || !name.starts_with("duplicate"))
            .map(|name| (name, 0))
            .collect();
        let state = Mutex::new(State { upstream, faults: Faults::default(), counts });
        let shared = Arc::new(Shared { protocol, state });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), seed));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Sets what befalls every request from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// Passes new connections on to another place; those that are open stay where they are.
    pub fn retarget(&self, upstream: Endpoint) {
        self.shared.lock().upstream = upstream;
    }

    /// How often each fault has happened since the start, those that never did included.
    /// `cut_after_answer` are those cuts after a request that heard the answer out, and
    /// `duplicate_differs` the duplicates of writes whose two good answers were not the same.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.lock().counts.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Endpoint::Unix(path) = &self.address {
            // Whoever cleans the folder up may have been faster.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Accepts until it is aborted; the connections end with it, because they are in its set.
async fn accept(listener: Listener, shared: Arc<Shared>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // What happened to a connection is known to its two ends.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let Ok(client) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let (shared, rng) = (Arc::clone(&shared), rng.fork());
                connections.spawn(async move {
                    let upstream = shared.lock().upstream.clone();
                    let server = Line::connect(&upstream).await?;
                    Relay::new(client, server, upstream, shared, rng).run().await
                });
            }
        }
    }
}
