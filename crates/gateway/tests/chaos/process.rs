//! Gateways as processes of their own, one of them perhaps behind a network that can be cut.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::support::bound;

pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// Starts a gateway on Redis; in a namespace of the network, if there is one, and with a wall clock of its own.
    pub(crate) fn start(redis: &str, within: Option<&Namespace>, wall_clock: &WallClock) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("gateway-chaos-{}-{number}.log", std::process::id()));
        let program = env!("CARGO_BIN_EXE_gateway");
        let mut command = match within {
            Some(namespace) => {
                let mut command = bound("ip");
                command.args(["netns", "exec", &namespace.name, program]);
                command
            }
            None => bound(program),
        };
        let listen = within.map_or("127.0.0.1:0".to_owned(), |namespace| format!("{}:0", namespace.inside()));
        command.args(["serve", "--listen", &listen, "--jwt-secret", super::support::SECRET]);
        command.args(["--publish-key", "key", "--store", "redis", "--redis-url", redis, "--log-name", "log"]);
        command.args(["--ring-events", "1000000", "--drain-seconds", "1"]);
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        wall_clock.set(&mut command);
        let mut child = command.spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|at| at.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{line:?} {:?}", std::fs::read_to_string(&log)));
        Self { child, address, log, _stdout: stdout }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}

/// By how much the wall clock of a process is wrong.
pub(crate) struct WallClock {
    minutes: i32,
    /// The library that lies to the process about the time. `None`: the clock is right.
    library: Option<PathBuf>,
}

impl WallClock {
    pub(crate) fn right() -> Self {
        Self { minutes: 0, library: None }
    }

    /// Minutes ahead, or behind if negative.
    ///
    /// # Errors
    /// libfaketime is not installed.
    pub(crate) fn wrong_by(minutes: i32) -> Result<Self, String> {
        let places = std::fs::read_dir("/usr/lib").map_err(|error| error.to_string())?;
        let places = places.flatten().map(|place| place.path()).chain([PathBuf::from("/usr/lib")]);
        let library =
            places.map(|place| place.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
        let library = library.ok_or("libfaketime is not installed")?;
        Ok(Self { minutes, library: Some(library) })
    }

    pub(crate) fn minutes(&self) -> i32 {
        self.minutes
    }

    fn set(&self, command: &mut Command) {
        if let Some(library) = &self.library {
            let offset = format!("{:+}m", self.minutes);
            // Only the wall clock is wrong: no system steps the monotonic one.
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME", offset)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
    }
}

/// A network of its own, with a cable to this one.
pub(crate) struct Namespace {
    name: String,
    /// The third byte of its addresses.
    net: u8,
}

fn ip(command: &str) -> Result<(), String> {
    let output = Command::new("ip").args(command.split(' ')).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

impl Namespace {
    /// A new one. `Err`: this user or this machine cannot have any.
    pub(crate) fn new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let net = ((std::process::id() * 2 + number) % 250) as u8 + 1;
        let name = format!("tl-{}-{number}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name, net };
        let (name, here) = (&namespace.name, format!("tl{net}"));
        ip(&format!("link add {here} type veth peer name inside netns {name}"))?;
        ip(&format!("addr add {}/24 dev {here}", namespace.redis()))?;
        ip(&format!("addr add {}/24 dev {here}", namespace.clients()))?;
        ip(&format!("link set {here} up"))?;
        ip(&format!("-n {name} addr add {}/24 dev inside", namespace.inside()))?;
        ip(&format!("-n {name} link set inside up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(namespace)
    }

    /// Where Redis is, seen from inside.
    pub(crate) fn redis(&self) -> IpAddr {
        [10, 213, self.net, 1].into()
    }

    /// Where clients come from.
    pub(crate) fn clients(&self) -> IpAddr {
        [10, 213, self.net, 2].into()
    }

    /// Where a gateway inside listens.
    pub(crate) fn inside(&self) -> IpAddr {
        [10, 213, self.net, 3].into()
    }

    /// From now on nothing from inside reaches Redis, without a word to anyone.
    pub(crate) fn cut(&self) {
        ip(&format!("-n {} route add blackhole {}/32", self.name, self.redis())).unwrap();
    }

    pub(crate) fn mend(&self) {
        ip(&format!("-n {} route del blackhole {}/32", self.name, self.redis())).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(ip(&format!("netns del {}", self.name)));
    }
}
