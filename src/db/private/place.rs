//! Where a private server lives, and as whom it runs.
//!
//! Owns the folder: who may enter it (its user alone), where the socket goes, and what a server
//! that is gone has left behind.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink,
};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups};
use sha2::{Digest as _, Sha256};

use super::PrivateError;

/// `sun_path` holds 108 bytes with the closing zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;
const SOCKET: &str = ".s.PGSQL.5432";

/// Stands in every folder that was ever used.
const LOCK: &str = "lock";

/// Where data goes when root works below a folder that nobody else may enter.
const ELSEWHERE: &str = "/var/lib/tillside";

/// As whom the server runs: as ourselves, or as `postgres` when we are root.
#[derive(Debug)]
pub(super) struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    drops_root: bool,
}

impl Identity {
    fn of_the_server() -> Result<Self, PrivateError> {
        if !geteuid().is_root() {
            let groups = getgroups().unwrap_or_default();
            return Ok(Self { uid: geteuid(), gid: getegid(), groups, drops_root: false });
        }
        let user = User::from_name("postgres").ok().flatten().ok_or(PrivateError::NoServerUser)?;
        let groups = getgrouplist(c"postgres", user.gid).unwrap_or_default();
        Ok(Self { uid: user.uid, gid: user.gid, groups, drops_root: true })
    }

    /// The user to become, as [`super::child`] takes it.
    pub(super) fn change_to(&self) -> &'static str {
        if self.drops_root { "postgres" } else { "-" }
    }

    /// The first folder on the way to `path` (itself not counted) that this user cannot enter.
    fn first_barrier(&self, path: &Path) -> Option<PathBuf> {
        if self.uid.is_root() {
            return None;
        }
        let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
        parents.reverse();
        let closed = |parent: &&Path| {
            fs::metadata(parent).is_ok_and(|folder| {
                let needed = if folder.uid() == self.uid.as_raw() {
                    0o100
                } else if self.groups.iter().chain([&self.gid]).any(|g| g.as_raw() == folder.gid())
                {
                    0o010
                } else {
                    0o001
                };
                folder.mode() & needed == 0
            })
        };
        parents.into_iter().find(closed).map(Path::to_owned)
    }
}

/// The folder of a private server.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) identity: Identity,
}

impl Place {
    /// Makes the folder, or checks the one that is there.
    pub(super) fn prepare(dir: &Path) -> Result<Self, PrivateError> {
        let identity = Identity::of_the_server()?;
        let wanted = std::path::absolute(dir).map_err(PrivateError::io("finding", dir))?;
        let will_not_do = |found: fs::Metadata| {
            let is_ours =
                found.uid() == identity.uid.as_raw() || identity.drops_root && found.uid() == 0;
            !is_ours || identity.first_barrier(&wanted).is_some()
        };
        // An empty folder that will not do where it is may as well be made again. One that will
        // do stays: another server that starts in the same moment may just have made it.
        if fs::symlink_metadata(&wanted).is_ok_and(will_not_do) {
            let _ = fs::remove_dir(&wanted);
        }
        if wanted.is_symlink() && !wanted.exists() {
            // The data that it led to was cleared away.
            fs::remove_file(&wanted).map_err(PrivateError::io("removing the link", &wanted))?;
        }
        if !wanted.exists() {
            make(&wanted, &identity)?;
        }
        let folder =
            wanted.canonicalize().map_err(PrivateError::io("following the link", &wanted))?;
        if let Some(blocking) = identity.first_barrier(&folder) {
            return Err(PrivateError::Unreachable { folder, blocking });
        }
        let owner = fs::metadata(&folder).map_err(PrivateError::io("looking at", &folder))?.uid();
        if owner == identity.uid.as_raw() && !is_empty(&folder) && !folder.join(LOCK).exists() {
            return Err(PrivateError::NotEmpty { folder });
        }
        close(&folder, &identity)?;
        let socket_dir = socket_dir(&folder, &identity)?;
        Ok(Self { folder, socket_dir, identity })
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.folder.join(LOCK)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    pub(super) fn has_data(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    /// The major version that made the data, if there is any.
    pub(super) fn data_version(&self) -> Result<Option<u32>, PrivateError> {
        if !self.has_data() {
            return Ok(None);
        }
        let path = self.data().join("PG_VERSION");
        let text = fs::read_to_string(&path).map_err(PrivateError::io("reading", &path))?;
        let version = text.trim().parse().map_err(io::Error::other);
        version.map(Some).map_err(PrivateError::io("understanding", &path))
    }

    /// Removes what a server that is gone has left. Only the holder of the lock may call it.
    pub(super) fn clear_stale(&self) -> Result<(), PrivateError> {
        let socket = self.socket();
        for path in [self.data().join("postmaster.pid"), socket.with_extension("5432.lock"), socket]
        {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(PrivateError::io("removing", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.socket_dir.join(SOCKET)
    }

    /// Whether a server runs on the data that did not take our lock: started by hand.
    pub(super) fn foreign_server(&self) -> bool {
        self.server_pid().is_some_and(|pid| {
            let works_in = fs::read_link(format!("/proc/{pid}/cwd"));
            works_in.is_ok_and(|folder| folder == self.data())
        })
    }

    pub(super) fn in_use(&self) -> PrivateError {
        let server = match self.server_pid() {
            Some(pid) => format!("its PostgreSQL is process {pid}"),
            None => "it is starting or stopping".to_owned(),
        };
        PrivateError::InUse { folder: self.folder.clone(), server }
    }

    fn server_pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }
}

/// Makes the folder, here or elsewhere with a link to it.
fn make(wanted: &Path, identity: &Identity) -> Result<(), PrivateError> {
    make_parents(wanted)?;
    let parent = wanted.parent().unwrap_or(Path::new("/"));
    let parent = parent.canonicalize().map_err(PrivateError::io("finding", parent))?;
    let name = wanted.file_name().unwrap_or(wanted.as_os_str());
    let here = parent.join(name);
    let Some(blocking) = identity.first_barrier(&here) else {
        return mkdir(&here, 0o700);
    };
    let elsewhere = Path::new(ELSEWHERE).join(fingerprint(&here));
    make_parents(&elsewhere)?;
    if identity.first_barrier(&elsewhere).is_some() {
        return Err(PrivateError::Unreachable { folder: here, blocking });
    }
    mkdir(&elsewhere, 0o700)?;
    tracing::info!(wanted = %here.display(), data = %elsewhere.display(),
        closed = %blocking.display(), "the private PostgreSQL keeps its data elsewhere");
    match symlink(&elsewhere, &here) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && here.is_symlink() => Ok(()),
        linked => linked.map_err(PrivateError::io("linking", &here)),
    }
}

/// Missing parents can be passed through by anybody and listed only by us, whatever the umask.
fn make_parents(path: &Path) -> Result<(), PrivateError> {
    let mut missing: Vec<&Path> = path.ancestors().skip(1).take_while(|p| !p.exists()).collect();
    missing.reverse();
    for parent in missing {
        mkdir(parent, 0o711)?;
        fs::set_permissions(parent, Permissions::from_mode(0o711))
            .map_err(PrivateError::io("opening", parent))?;
    }
    Ok(())
}

/// Makes a folder, unless another process that starts in the same moment was first.
fn mkdir(path: &Path, mode: u32) -> Result<(), PrivateError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(PrivateError::io("creating", path)),
    }
}

/// Gives the folder to the server's user alone.
fn close(folder: &Path, identity: &Identity) -> Result<(), PrivateError> {
    let found = fs::metadata(folder).map_err(PrivateError::io("looking at", folder))?;
    if found.uid() != identity.uid.as_raw() {
        let ours_to_give = identity.drops_root && found.uid() == 0 && is_empty(folder);
        let given_meanwhile =
            || fs::metadata(folder).is_ok_and(|now| now.uid() == identity.uid.as_raw());
        if !ours_to_give && !given_meanwhile() {
            let needed = if identity.drops_root { "postgres" } else { "you" }.to_owned();
            return Err(PrivateError::NotOurs { folder: folder.to_owned(), needed });
        }
        chown(folder, Some(identity.uid.as_raw()), Some(identity.gid.as_raw()))
            .map_err(PrivateError::io("giving to postgres", folder))?;
    }
    if found.mode() & 0o777 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700))
        .map_err(PrivateError::io("closing", folder))
}

/// The folder itself, or a short one when the path of the socket would not fit.
fn socket_dir(folder: &Path, identity: &Identity) -> Result<PathBuf, PrivateError> {
    let fits = |dir: &Path| dir.join(SOCKET).as_os_str().len() <= SOCKET_PATH_MAX_BYTES;
    if fits(folder) {
        return Ok(folder.to_owned());
    }
    let name = format!("tillside-{}", fingerprint(folder));
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp")].map(|temp| temp.join(&name));
    let short = candidates
        .into_iter()
        .find(|dir| fits(dir) && identity.first_barrier(dir).is_none())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))
        .map_err(PrivateError::io("placing the socket of", folder))?;
    match DirBuilder::new().mode(0o700).create(&short) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // The name can be guessed: what stands there must be a folder and the server's own.
            let found =
                fs::symlink_metadata(&short).map_err(PrivateError::io("reading", &short))?;
            if !found.is_dir() || ![0, identity.uid.as_raw()].contains(&found.uid()) {
                let needed = identity.change_to().to_owned();
                return Err(PrivateError::NotOurs { folder: short, needed });
            }
        }
        Err(error) => return Err(PrivateError::io("creating", &short)(error)),
    }
    close(&short, identity)?;
    Ok(short)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// A short name that stands for a path.
fn fingerprint(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let hash = Sha256::digest(path.as_os_str().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn servers_that_start_in_the_same_moment_prepare_the_same_folder() {
        let temporary = tempfile::tempdir().expect("a folder");
        let open = Permissions::from_mode(0o711);
        fs::set_permissions(temporary.path(), open).expect("it is ours");
        for round in 0..200 {
            let folder = temporary.path().join(round.to_string());
            let together = Barrier::new(8);
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        let place = Place::prepare(&folder);
                        let place = place.expect("one of them makes it, the others find it");
                        // What each does next.
                        fs::write(place.lock(), "").expect("it may");
                    });
                }
            });
        }
    }

    #[test]
    fn servers_that_start_in_the_same_moment_make_the_same_parents() {
        let temporary = tempfile::tempdir().expect("a folder");
        for round in 0..100 {
            let parent = temporary.path().join(round.to_string()).join("of").join("all");
            let together = Barrier::new(8);
            thread::scope(|scope| {
                for number in 0..8 {
                    let (parent, together) = (&parent, &together);
                    scope.spawn(move || {
                        together.wait();
                        make_parents(&parent.join(number.to_string())).expect("they are there");
                    });
                }
            });
            let mode = fs::metadata(&parent).expect("it is there").mode();
            assert_eq!(mode & 0o777, 0o711);
        }
    }
}
