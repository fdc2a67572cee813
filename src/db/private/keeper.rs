//! A thread that spawns a child process, waits for it and reaps it.
//!
//! Owns the process id: a signal is sent only while the child has not been reaped, so it can
//! never reach a stranger that got the same number. See the parent module for why the thread
//! that spawns must live as long as the child.

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// A child process and the thread that keeps it.
#[derive(Debug)]
pub(super) struct Keeper {
    /// `None` once the child has ended.
    pid: Arc<Mutex<Option<Pid>>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Keeper {
    /// Spawns the command on a thread of its own.
    pub(super) async fn spawn(mut command: Command) -> io::Result<Self> {
        let pid = Arc::new(Mutex::new(None));
        let (spawned, outcome) = oneshot::channel();
        let (ended, status) = watch::channel(None);
        let shared = Arc::clone(&pid);
        thread::Builder::new().name("postgres-keeper".to_owned()).spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(spawned.send(Err(error))),
            };
            // The command holds copies of the lock and the log; the child has its own by now.
            drop(command);
            let number = i32::try_from(child.id()).expect("Linux numbers processes below 2^22");
            let number = Pid::from_raw(number);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
            // Nobody listens any more when start was cancelled: then nobody wants the server.
            if spawned.send(Ok(())).is_err() {
                let _ = kill(number, Signal::SIGQUIT);
            }
            // Ended but not reaped: the number is still the child's.
            let leave = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(number), leave) == Err(Errno::EINTR) {}
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let status = child.wait().unwrap_or_default();
            ended.send_replace(Some(status));
        })?;
        outcome.await.map_err(io::Error::other)??;
        Ok(Self { pid, status })
    }

    /// Sends a signal, unless the child has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.pid.lock().unwrap_or_else(PoisonError::into_inner) {
            // It fails only for a process that is ending by itself.
            let _ = kill(pid, signal);
        }
    }

    /// How the child ended, if it has.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Waits until the child has ended.
    pub(super) async fn ended(&self) -> ExitStatus {
        let mut status = self.status.clone();
        // The sender outlives the child; a keeper that is gone cannot have left one behind.
        status.wait_for(Option::is_some).await.ok().and_then(|status| *status).unwrap_or_default()
    }
}
