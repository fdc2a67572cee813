//! Disks that fail below a running PostgreSQL: one that is full, and one that reports errors.
//!
//! Both need root and tools that not every machine has, so both can say in plain words why they
//! were not run; who uses them reports that and goes on. Neither may outlive its owner: the
//! small disk is unmounted when it is dropped, the errors end by themselves after a bounded time
//! whatever becomes of this process. All calls block for some tenths of a second.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Pid, geteuid};

/// How long errors are injected, in the words of `timeout`.
const INJECTED_FOR: &str = "20s";

/// What is made to fail.
const SYSCALLS: &str = "fdatasync,fsync,pwrite64";

/// What a disk hands out at least.
const BLOCK_BYTES: u64 = 4_096;

/// How often a disk is topped up while others free what is on it.
const FILLS_MAX: usize = 100;

/// Why a fault cannot be made on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not run: {0}")]
pub struct NotRun(pub String);

/// A small ext4 file system of its own, mounted from a file.
#[derive(Debug)]
pub struct SmallDisk {
    image: PathBuf,
    mount: PathBuf,
}

impl SmallDisk {
    /// Makes a disk of so many MiB in `folder`, which must be empty. A data folder of PostgreSQL
    /// needs 200 at least.
    ///
    /// # Errors
    /// [`NotRun`] when this machine or this user cannot mount one.
    pub fn create(folder: &Path, size_mib: u64) -> Result<Self, NotRun> {
        if !geteuid().is_root() {
            return Err(NotRun("mounting a small disk needs root".to_owned()));
        }
        let disk = Self { image: folder.join("disk.img"), mount: folder.join("disk") };
        let make = || -> io::Result<()> {
            fs::create_dir(&disk.mount)?;
            fs::File::create_new(&disk.image)?.set_len(size_mib * 1024 * 1024)
        };
        make().map_err(|error| NotRun(format!("no disk in {}: {error}", folder.display())))?;
        // No blocks are kept back for root, and the size of a block is that of large disks.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-b", "4096"]).arg(&disk.image))
            .and_then(|()| {
                run(Command::new("mount").args(["-o", "loop"]).arg(&disk.image).arg(&disk.mount))
            })
            .inspect_err(|_| drop(fs::remove_file(&disk.image)))
            .map(|()| disk)
    }

    /// The folder that is the disk. A private PostgreSQL takes a new folder below it.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Leaves no free block, until [`SmallDisk::free`]. Blocks are taken and not written, so a
    /// large disk is full as soon as a small one.
    ///
    /// # Errors
    /// When the disk fails otherwise, or what others free on it does not come to an end.
    pub fn fill(&self) -> io::Result<()> {
        let filler = OpenOptions::new().create(true).append(true).open(self.filler())?;
        for _ in 0..FILLS_MAX {
            let free = statvfs(&self.mount)?;
            let mut piece = free.blocks_available() * free.fragment_size();
            if piece == 0 {
                return Ok(());
            }
            // What is free is not all to be had: the file's own map of blocks takes some.
            while piece >= BLOCK_BYTES {
                let end = filler.metadata()?.len();
                let (from, length) = (i64::try_from(end), i64::try_from(piece));
                let (from, length) =
                    (from.map_err(io::Error::other)?, length.map_err(io::Error::other)?);
                match posix_fallocate(&filler, from, length) {
                    Ok(()) => {}
                    Err(Errno::ENOSPC) => piece /= 2,
                    Err(error) => return Err(error.into()),
                }
            }
            filler.sync_all()?;
        }
        Err(io::Error::other("the disk does not stay full: others free what is on it"))
    }

    /// Frees what [`SmallDisk::fill`] took.
    ///
    /// # Errors
    /// When the disk was not full.
    pub fn free(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server on it may need a moment more to end: then the disk goes with the server.
        if run(Command::new("umount").arg(&self.mount)).is_err() {
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount));
        }
        let _ = fs::remove_file(&self.image);
    }
}

/// Errors that are being injected, until it is dropped or 20 s have passed.
#[derive(Debug)]
pub struct Injection {
    tracer: Child,
    injected: Arc<AtomicU64>,
}

/// Makes the first fsync, fdatasync and pwrite64 of each process of a server fail with EIO.
///
/// `pid` is its postmaster: its children are traced as they are now, and what it starts later is
/// spared, so that it can recover. A process without children is traced itself.
///
/// # Errors
/// [`NotRun`] when this machine or this user cannot trace them.
pub fn inject_eio(pid: i32) -> Result<Injection, NotRun> {
    let mut traced = children_of(pid);
    if traced.is_empty() {
        traced.push(pid);
    }
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", INJECTED_FOR, "strace"]);
    command.args(["-e", &format!("trace={SYSCALLS}")]);
    command.args(["-e", &format!("inject={SYSCALLS}:error=EIO:when=1")]);
    for pid in &traced {
        command.args(["-p", &pid.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tracer = command.spawn().map_err(|error| NotRun(format!("`timeout`: {error}")))?;
    let stderr = tracer.stderr.take().expect("it is piped");
    let injected = Arc::new(AtomicU64::new(0));
    let injection = Injection { tracer, injected: Arc::clone(&injected) };
    let said = attached(stderr, traced.len())?;
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            if line.ends_with("(INJECTED)") {
                injected.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    Ok(injection)
}

impl Injection {
    /// How many errors have been injected.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // `timeout` passes it on, and strace lets go of what it traces.
        if let Ok(pid) = i32::try_from(self.tracer.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.tracer.wait();
    }
}

/// Waits until strace has said of each process whether it has it.
fn attached(stderr: ChildStderr, processes: usize) -> Result<BufReader<ChildStderr>, NotRun> {
    let mut said = BufReader::new(stderr);
    let (mut attached, mut failed, mut words) = (0, 0, String::new());
    while attached + failed < processes {
        let mut line = String::new();
        match said.read_line(&mut line) {
            Ok(1..) if line.trim_end().ends_with(" attached") => attached += 1,
            Ok(1..) if line.contains("(INJECTED)") => {}
            Ok(1..) => {
                failed += usize::from(line.contains("ptrace("));
                let _ = write!(words, " {}", line.trim());
            }
            _ => break,
        }
    }
    if attached > 0 {
        return Ok(said);
    }
    Err(NotRun(format!("strace cannot trace PostgreSQL here:{words}")))
}

fn children_of(parent: i32) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may contain anything: the state, then the parent.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// Runs a tool, and says in its words why it failed.
fn run(command: &mut Command) -> Result<(), NotRun> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NotRun(format!("`{name}` is not installed")),
        _ => NotRun(format!("`{name}`: {error}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(NotRun(format!("`{name}` cannot be used here: {}", words.trim())))
}
