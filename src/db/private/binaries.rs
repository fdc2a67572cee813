//! Where the server binaries are: a setting, Debian's folders, `pg_config`, in this order.
//!
//! The version of the data decides which binaries may run on it; without data the newest.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PrivateError;
use super::place::Place;

/// The oldest version that the schema is made for and tested on.
const VERSION_MIN: u32 = 15;

/// Debian and its children keep every major version in a folder of its own.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A folder with `postgres` and `initdb` of one version.
#[derive(Debug)]
pub(super) struct Binaries(PathBuf);

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.0.join("initdb")
    }

    /// Searches for what can run on the data of `place`.
    pub(super) fn find(setting: Option<&Path>, place: &Place) -> Result<Self, PrivateError> {
        let made_by = place.data_version()?;
        if let Some(bin_dir) = setting {
            return Self::named(bin_dir, made_by, place);
        }
        let fits = |version: u32| made_by.map_or(version >= VERSION_MIN, |made| made == version);
        let debian = debian_folders().into_iter().filter(|(version, _)| fits(*version)).max();
        let found = debian.map(|(_, folder)| folder).or_else(|| {
            let folder = pg_config_folder()?;
            fits(version_in(&folder)?).then_some(folder)
        });
        let searched = format!("under {DEBIAN} or by pg_config");
        found.map(Self).ok_or_else(|| missing(made_by, searched))
    }

    fn named(bin_dir: &Path, made_by: Option<u32>, place: &Place) -> Result<Self, PrivateError> {
        let found = version_in(bin_dir).filter(|version| *version >= VERSION_MIN);
        let found = found.ok_or_else(|| missing(made_by, format!("in {}", bin_dir.display())))?;
        match made_by {
            Some(made_by) if made_by != found => Err(PrivateError::OtherVersion {
                data: place.data(),
                made_by,
                bin_dir: bin_dir.to_owned(),
                found,
            }),
            _ => Ok(Self(bin_dir.to_owned())),
        }
    }
}

fn missing(made_by: Option<u32>, searched: String) -> PrivateError {
    let (needed, package) = match made_by {
        Some(made_by) => {
            (format!("{made_by} (which made the data)"), format!("postgresql-{made_by}"))
        }
        None => (format!("{VERSION_MIN} or newer"), "postgresql".to_owned()),
    };
    PrivateError::NoBinaries { needed, searched, package }
}

fn debian_folders() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(DEBIAN) else { return Vec::new() };
    let folders = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let version = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path().join("bin");
        complete(&folder).then_some((version, folder))
    });
    folders.collect()
}

fn pg_config_folder() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// The major version, as `postgres --version` tells: "postgres (PostgreSQL) 15.18 (Debian …)".
fn version_in(folder: &Path) -> Option<u32> {
    if !complete(folder) {
        return None;
    }
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number =
        text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let digits = number?.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn complete(folder: &Path) -> bool {
    folder.join("postgres").is_file() && folder.join("initdb").is_file()
}
