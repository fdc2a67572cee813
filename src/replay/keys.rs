//! The terminals' keys that a replay signs with, and the file that they stand in. A file of keys
//! is as secret as the keys: only its owner may read it.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::Secret;

/// A terminal and what it signs with.
#[derive(Clone)]
pub struct Terminal {
    /// Its store.
    pub store_id: String,
    /// Its workstation.
    pub workstation_id: String,
    /// The name of its key.
    pub keyid: String,
    /// The key.
    pub secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Terminal({}, secret)", self.keyid)
    }
}

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold keys.
    #[error(
        "{path}: {problem}; the file must be a demo.json, or have one JSON object in each line \
         with store_id, workstation_id, keyid and secret_base64 (32 bytes)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Terminals, one for each store.
#[derive(Clone, Debug, Default)]
pub struct TerminalFile(HashMap<String, Terminal>);

/// A terminal as it stands in a file.
#[derive(Deserialize, Serialize)]
struct Entry {
    store_id: String,
    workstation_id: String,
    keyid: String,
    secret_base64: Secret,
}

/// The part of a `demo.json` that matters here.
#[derive(Deserialize)]
struct Demo {
    terminals: Vec<Entry>,
}

impl TerminalFile {
    /// Reads keys of the workstation `workstation_id`; those of others are passed over.
    ///
    /// # Errors
    /// [`KeysError::Io`] and [`KeysError::Malformed`].
    pub fn read(path: &Path, workstation_id: &str) -> Result<Self, KeysError> {
        let text = fs::read_to_string(path)
            .map_err(|source| KeysError::Io { path: path.to_owned(), source })?;
        Self::parse(&Zeroizing::new(text), workstation_id)
            .map_err(|problem| KeysError::Malformed { path: path.to_owned(), problem })
    }

    /// Writes the keys, readable by the owner only.
    ///
    /// # Errors
    /// [`KeysError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), KeysError> {
        let mut terminals: Vec<&Terminal> = self.0.values().collect();
        terminals.sort_by(|a, b| a.store_id.cmp(&b.store_id));
        let mut text = Zeroizing::new(String::new());
        for terminal in terminals {
            let entry = Entry {
                store_id: terminal.store_id.clone(),
                workstation_id: terminal.workstation_id.clone(),
                keyid: terminal.keyid.clone(),
                secret_base64: Secret::new(STANDARD.encode(*terminal.secret)),
            };
            text.push_str(&serde_json::to_string(&entry).expect("strings are always JSON"));
            text.push('\n');
        }
        let write = || {
            // Written beside the file and renamed, so that a crash leaves no half of it.
            let fresh = path.with_extension("new");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&fresh)?.write_all(text.as_bytes())?;
            fs::rename(&fresh, path)
        };
        write().map_err(|source| KeysError::Io { path: path.to_owned(), source })
    }

    /// Adds a terminal; it takes the place of the one that its store had.
    pub fn add(&mut self, terminal: Terminal) {
        self.0.insert(terminal.store_id.clone(), terminal);
    }

    /// Whether a store has a terminal.
    pub fn has(&self, store_id: &str) -> bool {
        self.0.contains_key(store_id)
    }

    /// The terminal of each store.
    pub fn into_terminals(self) -> HashMap<String, Terminal> {
        self.0
    }

    fn parse(text: &str, workstation_id: &str) -> Result<Self, String> {
        let entries = match serde_json::from_str::<Demo>(text) {
            Ok(demo) => demo.terminals,
            Err(_) => (1..)
                .zip(text.lines())
                .filter(|(_, line)| !line.trim().is_empty())
                .map(|(number, line)| {
                    // The error of the parser could quote the line, and with it the secret.
                    serde_json::from_str(line).map_err(|_| format!("line {number} is no key"))
                })
                .collect::<Result<Vec<Entry>, String>>()?,
        };
        let mut file = Self::default();
        for entry in entries.into_iter().filter(|entry| entry.workstation_id == workstation_id) {
            let mut secret = Zeroizing::new([0; 32]);
            let decoded = STANDARD.decode(entry.secret_base64.reveal()).map(Zeroizing::new);
            let decoded = decoded.ok().filter(|bytes| bytes.len() == secret.len());
            let decoded = decoded.ok_or_else(|| {
                format!("the secret of {} is not 32 bytes in base64", entry.keyid)
            })?;
            secret.copy_from_slice(&decoded);
            file.add(Terminal {
                store_id: entry.store_id,
                workstation_id: entry.workstation_id,
                keyid: entry.keyid,
                secret,
            });
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn written_keys_read_back_and_are_private() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys.jsonl");
        let terminal = |store_id: &str, keyid: &str| Terminal {
            store_id: store_id.to_owned(),
            workstation_id: "01".to_owned(),
            keyid: keyid.to_owned(),
            secret: Zeroizing::new([7; 32]),
        };
        let mut file = TerminalFile::default();
        file.add(terminal("0367", "0367/01.1"));
        file.add(terminal("0002", "0002/01.3"));
        file.write(&path).expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let back = TerminalFile::read(&path, "01").expect("readable").into_terminals();
        assert_eq!(back["0002"].keyid, "0002/01.3");
        assert_eq!(back["0367"].secret, file.0["0367"].secret);
        assert!(TerminalFile::read(&path, "02").expect("readable").0.is_empty());
    }

    #[test]
    fn a_demo_file_is_understood_and_errors_quote_no_secret() {
        let secret = STANDARD.encode([7; 32]);
        let demo = format!(
            r#"{{"base_url":"http://127.0.0.1:8080","cards":["2990000000019"],"terminals":[
               {{"store_id":"0367","workstation_id":"01","keyid":"0367/01.1",
                 "secret_base64":"{secret}"}}]}}"#
        );
        let file = TerminalFile::parse(&demo, "01").expect("understood");
        assert!(file.has("0367") && !file.has("0368"));
        for text in [format!("{{\"keyid\": \"{secret}\"}}"), demo.replace(&secret, "AAAA")] {
            let problem = TerminalFile::parse(&text, "01").expect_err("refused");
            assert!(!problem.contains(&secret), "{problem}");
        }
    }
}
