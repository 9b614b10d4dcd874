//! Servers under test, started as children of this process and ended with it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::measure::process::Group;

/// How long a server may take until it says that it listens.
const START_MAX: Duration = Duration::from_secs(20);
/// How long it may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A running server.
pub(crate) struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its processes.
    pub group: Group,
    child: Child,
    /// What it was configured with on disk; removed with it.
    folder: Option<PathBuf>,
}

impl Server {
    /// Starts `command` and waits for the line `… listening on http://ADDR` on its standard output.
    pub(crate) fn start_announcing(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            // Reads on after the announcement, so that the server never blocks on a full pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let address = line
                        .split("listening on http://")
                        .nth(1)
                        .map(|rest| rest.trim_end_matches('/').to_owned());
                    if let Some(address) = address {
                        let _ = sender.send(address);
                    }
                }
            });
        }
        let mut server = Self::of(child, SocketAddr::from(([127, 0, 0, 1], 0)), None);
        let address =
            receiver.recv_timeout(START_MAX).map_err(|_| anyhow!("{name} did not say that it listens"))?;
        server.address = address.parse().with_context(|| format!("{name} listens on {address}"))?;
        Ok(server)
    }

    /// Starts `command`, which will listen on `address`, and waits until it accepts connections.
    pub(crate) fn start_at(
        mut command: Command,
        address: SocketAddr,
        folder: Option<PathBuf>,
    ) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        let mut server = Self::of(child, address, folder);
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended at once: {status}");
            }
            if start.elapsed() > START_MAX {
                bail!("{name} does not accept connections");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    fn of(child: Child, address: SocketAddr, folder: Option<PathBuf>) -> Self {
        Self { address, group: Group::new(child.id()), child, folder }
    }
}

impl Drop for Server {
    /// Asks it to end, and ends every process of it that is still there after two seconds. There is nobody left to tell about errors.
    fn drop(&mut self) {
        // Taken now: the children of a process that has ended are nobody's.
        let members = self.group.members();
        let signal = |id: u32, signal| {
            if let Some(pid) = Pid::from_raw(id as i32) {
                let _ = kill_process(pid, signal);
            }
        };
        signal(self.child.id(), Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < STOP_MAX && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            members.into_iter().for_each(|id| signal(id, Signal::KILL));
        }
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
