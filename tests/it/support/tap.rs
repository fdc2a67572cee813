//! Stands between the service and PostgreSQL: writes down which statements are sent, and can cut
//! the line after one has taken effect and before its answer is told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;
use tillside::config::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// The name of the socket in the folder that is a connection string's `host`.
const SOCKET: &str = ".s.PGSQL.5432";

/// The line between a replica and its database.
pub(crate) struct Tap {
    folder: TempDir,
    rest_of_url: String,
    state: Arc<Mutex<State>>,
}

/// How a line ends after a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is closed when the server has answered.
    Cut,
    /// It stays open, and nothing is heard on it any more.
    Mute,
}

#[derive(Default)]
struct State {
    sent: Vec<String>,
    cut_after: Option<String>,
    cuts: usize,
    mute_after: Option<String>,
    hold: Option<String>,
    held: Option<Arc<Notify>>,
}

impl Tap {
    /// Opens a line to the database of a connection string.
    pub(crate) fn open(url: &Secret) -> Self {
        let (host, rest) = url
            .reveal()
            .strip_prefix("host='")
            .and_then(|url| url.split_once('\''))
            .expect("private servers have this form of URL");
        let server = PathBuf::from(host).join(SOCKET);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("it is empty");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.expect("the server is up");
                tokio::spawn(relay(client, server, Arc::clone(&shared)));
            }
        });
        Self { folder, rest_of_url: rest.to_owned(), state }
    }

    /// For `database.url`.
    pub(crate) fn url(&self) -> Secret {
        Secret::new(format!("host='{}'{}", self.folder.path().display(), self.rest_of_url))
    }

    /// Statements by name that were sent since the last call, those of `prefix` only.
    pub(crate) fn take(&self, prefix: &str) -> Vec<String> {
        let sent = std::mem::take(&mut self.lock().sent);
        sent.into_iter().filter(|name| name.starts_with(prefix)).collect()
    }

    /// Cuts the line after the next statement of this name, its answer untold.
    pub(crate) fn cut_after(&self, name: &str) {
        self.lock().cut_after = Some(name.to_owned());
    }

    /// Keeps the line open after the next statement of this name, and passes on no answer.
    pub(crate) fn mute_after(&self, name: &str) {
        self.lock().mute_after = Some(name.to_owned());
    }

    /// Keeps the next statement of this name back until it is let go, and all that follows it.
    pub(crate) fn hold(&self, name: &str) {
        self.lock().hold = Some(name.to_owned());
    }

    /// Whether a statement is kept back.
    pub(crate) fn is_holding(&self) -> bool {
        self.lock().held.is_some()
    }

    /// Passes on what is kept back.
    pub(crate) fn let_go(&self) {
        self.lock().held.take().expect("a statement is held").notify_one();
    }

    /// How often the line was cut.
    pub(crate) fn cuts(&self) -> usize {
        self.lock().cuts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

async fn relay(client: UnixStream, server: UnixStream, state: Arc<Mutex<State>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let armed = Arc::new(Mutex::new(None));
    let up = upstream(from_client, to_server, Arc::clone(&state), Arc::clone(&armed));
    let down = downstream(from_server, to_client, state, armed);
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

/// Passes on what the service says, and writes down which statements it executes.
async fn upstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<Mutex<State>>,
    armed: Arc<Mutex<Option<Ending>>>,
) -> std::io::Result<()> {
    // The first message has no type.
    let length = from.read_u32().await?;
    to.write_u32(length).await?;
    pass_on(&mut from, &mut to, length).await?;
    let mut prepared: HashMap<Vec<u8>, String> = HashMap::new();
    loop {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        let mut body = vec![0; usize::try_from(length).expect("small") - 4];
        from.read_exact(&mut body).await?;
        let mut texts = body.split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        let executed = match kind {
            b'P' => {
                let name = text().to_vec();
                prepared.insert(name, name_of(text()));
                None
            }
            b'B' => {
                text();
                Some(prepared.get(text()).cloned().unwrap_or_default())
            }
            b'Q' => Some(name_of(text())),
            _ => None,
        };
        let mut held = None;
        if let Some(name) = executed {
            let mut state = state.lock().expect("nobody panics with it");
            if state.cut_after.as_deref() == Some(&name) {
                state.cut_after = None;
                *armed.lock().expect("nobody panics with it") = Some(Ending::Cut);
            }
            if state.mute_after.as_deref() == Some(&name) {
                state.mute_after = None;
                *armed.lock().expect("nobody panics with it") = Some(Ending::Mute);
            }
            if state.hold.as_deref() == Some(&name) {
                state.hold = None;
                held = Some(Arc::<Notify>::default());
                state.held.clone_from(&held);
            }
            state.sent.push(name);
        }
        if let Some(held) = held {
            held.notified().await;
        }
        to.write_u8(kind).await?;
        to.write_u32(length).await?;
        to.write_all(&body).await?;
    }
}

/// Passes on what the server says, until a cut is due: then it hears the server out and ends.
async fn downstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<Mutex<State>>,
    armed: Arc<Mutex<Option<Ending>>>,
) -> std::io::Result<()> {
    loop {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        let mut body = vec![0; usize::try_from(length).expect("small") - 4];
        from.read_exact(&mut body).await?;
        let ending = *armed.lock().expect("nobody panics with it");
        if let Some(ending) = ending {
            // Ready for the next query: what was sent is committed.
            if kind == b'Z' && ending == Ending::Cut {
                state.lock().expect("nobody panics with it").cuts += 1;
                return Ok(());
            }
            continue;
        }
        to.write_u8(kind).await?;
        to.write_u32(length).await?;
        to.write_all(&body).await?;
    }
}

async fn pass_on(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    length: u32,
) -> std::io::Result<()> {
    let mut body = vec![0; usize::try_from(length).expect("small") - 4];
    from.read_exact(&mut body).await?;
    to.write_all(&body).await
}

/// The name in a statement's first comment, else its first word.
fn name_of(sql: &[u8]) -> String {
    let sql = String::from_utf8_lossy(sql);
    let sql = sql.trim_start();
    match sql.strip_prefix("-- ") {
        Some(rest) => rest.lines().next().unwrap_or_default().trim().to_owned(),
        None => sql.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}
