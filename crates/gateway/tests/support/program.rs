//! The gateway as a process of its own.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::timeout;

use super::{PATIENCE, serving};

/// The program itself, as a process of its own. Killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    stdout: Option<BufReader<ChildStdout>>,
}

/// A program that is killed with the thread that starts it, also where that thread cannot end it itself.
pub fn bound(program: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/bound"));
    command.arg(program);
    command
}

impl Program {
    /// Starts it with the arguments of [`serving`].
    pub fn serve(options: &[&str]) -> Self {
        Self::start(&serving(options))
    }

    /// Starts the program and waits until it says where it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = bound(env!("CARGO_BIN_EXE_gateway"))
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        };
        let first = line();
        let at = |line: &str, before: &str| {
            let (_, address) = line.trim_end().strip_prefix(before)?.split_once("://")?;
            Some(address.parse::<SocketAddr>().unwrap())
        };
        let address = at(&first, "listening on ").unwrap_or_else(|| {
            // It has ended: why, it said on the other stream.
            let said = child.stderr.take().map(|stderr| std::io::read_to_string(stderr).unwrap());
            panic!("{first:?} {said:?}")
        });
        let has_admin = arguments.contains(&"--admin-listen");
        let admin = has_admin.then(|| at(&line(), "admin on ").expect("the second line"));
        Self { child, address, admin, stdout: Some(stdout) }
    }

    /// Reads its log away, which would else fill the pipe and stop it, and counts the lines.
    pub fn read_log(&mut self) -> Arc<AtomicU64> {
        let lines = Arc::<AtomicU64>::default();
        let count = Arc::clone(&lines);
        self.on_log_lines(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        lines
    }

    /// Reads its log away, and keeps the last lines for the message of a test that fails.
    pub fn keep_log(&mut self) -> LogTail {
        const LINES: usize = 60;
        let tail = LogTail::default();
        let kept = tail.clone();
        self.on_log_lines(move |line| {
            let mut lines = kept.0.lock().unwrap();
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        });
        tail
    }

    fn on_log_lines(&mut self, mut each: impl FnMut(String) + Send + 'static) {
        let log = self.child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines() {
                each(line.unwrap_or_default());
            }
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kilobytes of memory that it has.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files it has open.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end: the exit code, the rest of standard output, and standard error.
    pub async fn end(mut self) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (self.stdout.take().unwrap(), self.child.stderr.take().unwrap());
        let read = tokio::task::spawn_blocking(move || {
            let (mut out, mut err) = (String::new(), String::new());
            stdout.read_to_string(&mut out).unwrap();
            stderr.read_to_string(&mut err).unwrap();
            (out, err)
        });
        let (out, err) = timeout(PATIENCE * 3, read).await.expect("the program ends").unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The last lines of a program's log.
#[derive(Clone, Default)]
pub struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lock().unwrap().iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}
