//! `demo.json`: where a demo is and what it holds, for programs. Written by `demo`, read by
//! `demo` again and by `swipe`; `sign` and `replay` read their own parts of it.
//!
//! It holds the secrets of terminals and tokens: only its owner may read it, and no error may
//! quote it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Secret;
use crate::office::Role;

/// The name of the file in the folder of a demo.
pub(super) const NAME: &str = "demo.json";

/// What stands in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DemoFile {
    pub(super) base_url: String,
    /// One for each role of the back office.
    #[serde(default)]
    pub(super) tokens: Vec<DemoToken>,
    pub(super) terminals: Vec<DemoTerminal>,
    pub(super) cards: Vec<String>,
    pub(super) skus: Vec<DemoSku>,
    pub(super) currency: String,
    /// For commands that work on the database, such as `tillside replay --prepare`.
    pub(super) database_url: Secret,
    pub(super) key_encryption_key_file: PathBuf,
}

/// A terminal and what it signs with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DemoTerminal {
    pub(super) store_id: String,
    pub(super) workstation_id: String,
    pub(super) keyid: String,
    pub(super) secret_base64: Secret,
}

/// A bearer token of the back office.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DemoToken {
    pub(super) role: Role,
    pub(super) token: Secret,
}

/// An article and its shelf price.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DemoSku {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) price_minor: i64,
}

impl DemoFile {
    /// Reads the file of a demo's folder.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(folder.join(NAME))?;
        // The error of the parser could quote the file, and with it a secret.
        serde_json::from_str(&text).map_err(|_| io::Error::other("it is not a demo.json"))
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        write_private(&folder.join(NAME), text.as_bytes())
    }
}

/// Writes a file that only its owner may read, beside its place first, so that nobody ever
/// sees half of it.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}
