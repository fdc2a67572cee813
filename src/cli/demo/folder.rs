//! The folder of a demo: who works in it, the key-encryption key, and how far the demo data
//! has come. The database has a folder of its own inside.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::cli::demo_file::write_private;
use crate::sealing::Sealer;

/// A demo's folder that is ours until this is dropped.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, and takes it.
    pub(super) fn open(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let path = std::path::absolute(dir)?;
        make(&path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The key-encryption key, made when it is missing. Says whether it was.
    pub(super) fn key_file(&self) -> io::Result<(PathBuf, bool)> {
        let path = self.path.join("key-encryption-key");
        let is_new = !path.exists();
        if is_new {
            write_private(&path, format!("{}\n", *Sealer::generate_key()).as_bytes())?;
        }
        Ok((path, is_new))
    }

    /// The day for which seeding was begun and not finished.
    pub(super) fn unfinished_seed(&self) -> Option<Date> {
        fs::read_to_string(self.seed_mark()).ok()?.trim().parse().ok()
    }

    /// Notes that seeding for a day begins.
    pub(super) fn begin_seed(&self, today: Date) -> io::Result<()> {
        write_private(&self.seed_mark(), format!("{today}\n").as_bytes())
    }

    /// Notes that it is complete.
    pub(super) fn end_seed(&self) -> io::Result<()> {
        fs::remove_file(self.seed_mark())
    }

    fn seed_mark(&self) -> PathBuf {
        self.path.join("seeding-for")
    }
}

/// Folders that others may pass through and not list: the database below may have to run as
/// another user.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        DirBuilder::new().mode(0o700).create(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// Two demos in one folder would write each other's files. The lock goes with the process.
fn lock(folder: &Path) -> Result<File, Box<dyn Error>> {
    let path = folder.join("lock");
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder)?;
            let holder = holder.trim();
            return Err(format!(
                "a demo is running in {folder} already (process {holder}): use that one (its \
                 address stands in demo.json there), end it with `kill {holder}`, or choose \
                 another folder with --dir",
                folder = folder.display(),
            )
            .into());
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}
