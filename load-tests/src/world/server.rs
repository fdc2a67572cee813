//! One replica of the service: a process that is killed, stopped, told to end, and started again.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::error::HarnessError;

/// A service that does not become ready within this time has failed.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The benchmark times the start by this.
const READY_INTERVAL: Duration = Duration::from_millis(2);
/// One question whether it is ready; the database may be black-holed.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// A running `tillside serve`.
pub struct Server {
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    admin: SocketAddr,
    sabotage: Option<&'static str>,
    child: Child,
}

impl Server {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; its log says why.
    pub async fn start(
        binary: &Path,
        config: &Path,
        log: &Path,
        admin: SocketAddr,
        sabotage: Option<&'static str>,
    ) -> Result<Self, HarnessError> {
        let child = spawn(binary, config, log, sabotage)?;
        let (binary, config, log) = (binary.to_owned(), config.to_owned(), log.to_owned());
        let mut server = Self { binary, config, log, admin, sabotage, child };
        server.become_ready().await?;
        Ok(server)
    }

    /// The number of its process, unless it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it; nothing of it gets to finish anything.
    pub async fn kill(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.child.kill().await;
    }

    /// Starts it again after it has ended, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; its log says why.
    pub async fn restart(&mut self) -> Result<(), HarnessError> {
        self.child = spawn(&self.binary, &self.config, &self.log, self.sabotage)?;
        self.become_ready().await
    }

    /// Tells it to end and waits until it has.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, HarnessError> {
        self.signal(Signal::SIGTERM);
        let ended = timeout(patience, self.child.wait()).await;
        let ended = ended.map_err(HarnessError::doing("waiting for a service told to end"))?;
        ended.map_err(HarnessError::doing("waiting for a service told to end"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(number) = self.child.id() {
            let number = i32::try_from(number).expect("Linux numbers processes below 2^22");
            // It has not been reaped, so the number is still its own.
            let _ = kill(Pid::from_raw(number), signal);
        }
    }

    /// Ready means that `/readyz` says so. A service that finds its database away when it starts
    /// ends, and is started again, as a service manager would.
    async fn become_ready(&mut self) -> Result<(), HarnessError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if matches!(timeout(READY_TIMEOUT, self.is_ready()).await, Ok(Ok(true))) {
                return Ok(());
            }
            let ended = self.child.try_wait();
            if ended.map_err(HarnessError::doing("looking at a service"))?.is_some() {
                self.child = spawn(&self.binary, &self.config, &self.log, self.sabotage)?;
            }
            sleep(READY_INTERVAL).await;
        }
        let what = format!("waiting for a service to become ready (see {})", self.log.display());
        Err(HarnessError::doing(what)("it took more than 30 seconds"))
    }

    async fn is_ready(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let ask =
            format!("GET /readyz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.1 200 "))
    }
}

fn spawn(
    binary: &Path,
    config: &Path,
    log: &Path,
    sabotage: Option<&str>,
) -> Result<Child, HarnessError> {
    let open = |log: &Path| -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(log)
    };
    let log = open(log).map_err(HarnessError::doing("opening the log of a service"))?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(config).arg("serve");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.envs(sabotage.map(|fault| ("TILLSIDE_SABOTAGE", fault)));
    command.kill_on_drop(true);
    command.spawn().map_err(HarnessError::doing(format!("running {}", binary.display())))
}
