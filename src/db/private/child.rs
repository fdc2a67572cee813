//! The moment between our process and PostgreSQL: a hidden command of our own binary.
//!
//! A server must stop with its parent even when that crashes. Only the server itself can ask the
//! kernel for the signal (`PR_SET_PDEATHSIG`), after it has changed its user (which would clear
//! the wish) and before it becomes PostgreSQL (which keeps it). So `tillside __postgres-child`
//! does these things in this order and then becomes the program it was asked to run. It is needed
//! because the standard library can run no code between `fork` and `exec` without `unsafe`.
//!
//! As it changes the user itself, its own binary may lie where that user cannot read it.

use std::ffi::{CString, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, id};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, User, getppid, initgroups, setgid, setuid};

use super::place::Identity;

/// The hidden command. Its arguments: parent's process id, user (`-` for no change), program,
/// and the program's own.
const COMMAND: &str = "__postgres-child";

/// To be asked first by `main`: runs the hidden command, if that is what the process was started
/// for. Returns only to say that it was not, or that it failed.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let error = become_program(arguments).map_or_else(|error| error, |never| match never {});
    // Standard error is the log of the private server.
    let _ = writeln!(io::stderr(), "tillside {COMMAND}: {error}");
    Some(ExitCode::FAILURE)
}

/// A command that becomes `program` as `identity`, gone when the spawning thread is gone.
pub(super) fn command(launcher: &Path, identity: &Identity, program: &Path) -> Command {
    let mut command = Command::new(launcher);
    command.arg(COMMAND).arg(id().to_string()).arg(identity.change_to()).arg(program);
    // A group of its own: Ctrl-C is for us, who stop the server when the last swipe is answered.
    command.process_group(0).current_dir("/");
    // PostgreSQL must not take settings, a language or a time zone from whoever starts it.
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
    command
}

fn become_program(
    mut arguments: impl Iterator<Item = OsString>,
) -> io::Result<std::convert::Infallible> {
    let mut next = || {
        arguments.next().ok_or_else(|| io::Error::other("is for internal use: see `tillside demo`"))
    };
    let (parent, user, program) = (next()?, next()?, next()?);
    let parent = parent.to_string_lossy().parse().map_err(io::Error::other)?;
    if user != "-" {
        let name = CString::new(user.into_vec())?;
        let user = User::from_name(&name.to_string_lossy())?
            .ok_or_else(|| io::Error::other("the user of the server does not exist"))?;
        initgroups(&name, user.gid)?;
        setgid(user.gid)?;
        setuid(user.uid)?;
    }
    // Fast shutdown: open transactions are rolled back and a checkpoint is written, so that the
    // next start has nothing to recover.
    set_pdeathsig(Signal::SIGINT)?;
    // The parent may have died before the wish was made: then nobody will ever tell us.
    if getppid() != Pid::from_raw(parent) {
        return Err(io::Error::other("the process that wanted a server is gone"));
    }
    Err(Command::new(program).args(arguments).exec())
}
