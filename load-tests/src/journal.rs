//! What the tills know, in a file that survives every crash: what they sent, and what they were
//! answered.
//!
//! A till goes on only when its line is on the disk, so whatever a line says has happened before
//! anything that the till did next. It must never say that something was answered which was not.
//!
//! One thread writes. It takes all lines that wait, writes them in one piece and flushes once, so
//! that hundreds of tills share a flush. The order of lines is the order of events: what stands
//! before a line was known when that line was written.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

/// Lines that may wait for the disk. Each till waits for its own, so there are seldom more than
/// there are tills.
const QUEUE: usize = 4_096;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// About to be sent for the first time.
    Sent(Sent),
    /// Answered with an answer that says what became of it.
    Acked(Acked),
}

/// A request, before any attempt to send it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Sent {
    /// Number of the request within the run.
    pub id: u64,
    /// The name of its transaction; of an enrolment the card, of an adjustment its id.
    pub name: String,
    /// What it asks for.
    pub asked: Asked,
    /// What the request said; every attempt says the same.
    pub body: Hash,
}

/// What a request asks for, with what follows from it by the rules that customers are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// To record a transaction.
    Sale {
        /// Whose points it changes; none without a card and in training.
        card: Option<String>,
        /// By how much: earned, less taken back for returns, less spent.
        points: i64,
        /// Its total.
        total_minor: i64,
        /// Whether it is so old that its points have run out since.
        has_run_out: bool,
    },
    /// To undo a transaction.
    Void,
    /// To record another content under the name of a recorded transaction: must be refused.
    Reuse,
    /// To enrol a card.
    Enrol {
        /// A card of the account that it shall belong to.
        link_to: Option<String>,
    },
    /// To correct points, by a command.
    Adjust {
        /// Whose.
        card: String,
        /// By how much.
        points: i64,
        /// Whether it is asked again until it is answered. Otherwise nobody may ever know.
        insists: bool,
    },
}

/// An answer that is not "perhaps" nor "not now".
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Acked {
    /// Which request.
    pub id: u64,
    /// 2xx: done. 4xx: not done. 404 is the answer to a question about an outcome.
    pub status: u16,
    /// The body of the answer; of a batch the receipt of the item.
    pub body: Hash,
}

/// The first half of a SHA-256: as good as the bytes, and shorter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(u128);

impl Hash {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let (half, _) = digest.split_first_chunk().expect("32 bytes hold 16");
        Self(u128::from_be_bytes(*half))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The pen. Cheap to share.
#[derive(Debug)]
pub struct Journal(mpsc::Sender<Waiting>);

#[derive(Debug)]
struct Waiting {
    text: Vec<u8>,
    written: oneshot::Sender<()>,
}

impl Journal {
    /// Begins a journal.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        thread::Builder::new().name("journal".to_owned()).spawn(move || write(file, receiver))?;
        Ok(Self(sender))
    }

    /// Writes a line and returns when it is on the disk.
    ///
    /// # Panics
    /// When the disk does not take it: without its journal a run cannot be judged.
    pub async fn write(&self, line: &Line) {
        let mut text = serde_json::to_vec(line).expect("texts and numbers are always JSON");
        text.push(b'\n');
        let (written, done) = oneshot::channel();
        let sent = self.0.send(Waiting { text, written }).await;
        sent.expect("the journal is written for as long as it is held");
        done.await.expect("the disk takes the journal");
    }
}

fn write(mut file: File, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    let mut text = Vec::new();
    while queue.blocking_recv_many(&mut waiting, QUEUE) > 0 {
        text.clear();
        waiting.iter().for_each(|line| text.extend_from_slice(&line.text));
        file.write_all(&text).expect("the disk takes the journal");
        file.sync_data().expect("the disk keeps the journal");
        for line in waiting.drain(..) {
            // A till that was ended meanwhile does not need to know.
            let _ = line.written.send(());
        }
    }
}

/// Reads a journal from its beginning. A last line that was torn by a crash was never relied on
/// by anybody, and is left out.
///
/// # Errors
/// When the file cannot be read, or a line that is not the last is damaged.
pub fn read(path: &Path, mut line: impl FnMut(Line)) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut text, mut number) = (Vec::new(), 0_u64);
    loop {
        text.clear();
        number += 1;
        if file.read_until(b'\n', &mut text)? == 0 || text.last() != Some(&b'\n') {
            return Ok(());
        }
        let read = serde_json::from_slice(&text).map_err(|error| {
            let what = format!("line {number} of {}: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        line(read);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::sync::Arc;

    use super::*;

    fn acked(id: u64) -> Line {
        Line::Acked(Acked { id, status: 201, body: Hash::of(b"{}") })
    }

    #[tokio::test]
    async fn what_was_written_is_read_back_and_a_torn_end_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let journal = Arc::new(Journal::create(&path).expect("a new file"));
        let card = Some("2990000000019".into());
        let asked = Asked::Sale { card, points: -3, total_minor: 9, has_run_out: false };
        let sent = Sent { id: 0, name: "1/2/2026-03-14/5".into(), asked, body: Hash::of(b"x") };
        journal.write(&Line::Sent(sent.clone())).await;
        let writers: Vec<_> = (1..=100)
            .map(|id| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move { journal.write(&acked(id)).await })
            })
            .collect();
        for writer in writers {
            writer.await.expect("written");
        }
        let mut file = OpenOptions::new().append(true).open(&path).expect("it is there");
        file.write_all(br#"{"acked":{"id":101,"sta"#).expect("written");
        let mut lines = Vec::new();
        read(&path, |line| lines.push(line)).expect("readable");
        assert_eq!(lines[0], Line::Sent(sent));
        assert_eq!(lines.len(), 101);
        assert!((1..=100).all(|id| lines.contains(&acked(id))));
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        std::fs::write(&path, "{\"acked\n{}\n").expect("written");
        let error = read(&path, |_| {}).expect_err("damaged");
        assert!(error.to_string().contains("line 1 of"), "{error}");
    }
}
