//! Real servers on free ports, in directories of their own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

pub(crate) struct Server {
    port: u16,
    dir: PathBuf,
    options: Vec<String>,
    child: Child,
    /// Files beside the directory, gone with the server.
    kept: Vec<PathBuf>,
}

impl Server {
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::start_from(None, options).await
    }

    async fn start_from(file: Option<&std::path::Path>, options: &[&str]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("events-redis-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let port = free_port();
        let file = file.map(|file| file.to_str().unwrap());
        let options: Vec<String> = file.iter().chain(options).map(ToString::to_string).collect();
        let child = spawn(port, &dir, &options);
        let mut server = Self { port, dir, options, child, kept: Vec::new() };
        server.wait().await;
        server
    }

    /// A server that follows `master`, and has caught up.
    pub(crate) async fn replica_of(master: &Self, options: &[&str]) -> Self {
        let port = master.port.to_string();
        let server = Self::start(&[options, &["--replicaof", "127.0.0.1", &port]].concat()).await;
        for _ in 0..6_000 {
            if server.cli(&["INFO", "replication"]).contains("master_link_status:up") {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the replica never caught up");
    }

    /// A Sentinel that watches `master` under the name `main` and decides alone.
    pub(crate) async fn sentinel_of(master: &Self) -> Self {
        let name = ["main", "127.0.0.1", &master.port.to_string()].join(" ");
        let watch = [
            format!("sentinel monitor {name} 1"),
            "sentinel down-after-milliseconds main 500".to_owned(),
            "sentinel failover-timeout main 2000".to_owned(),
        ];
        // A Sentinel writes into its configuration.
        let file =
            std::env::temp_dir().join(format!("events-sentinel-{}-{}", std::process::id(), master.port));
        std::fs::write(&file, watch.join("\n")).unwrap();
        let mut server = Self::start_from(Some(&file), &["--sentinel"]).await;
        server.kept.push(file);
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks the server something by its own client.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) async fn start_again(&mut self) {
        self.start_again_with(&[]);
        self.wait().await;
    }

    /// Starts it again with further options, and waits for nothing.
    pub(crate) fn start_again_with(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(ToString::to_string));
        self.child = spawn(self.port, &self.dir, &self.options);
    }

    async fn wait(&mut self) {
        for _ in 0..6_000 {
            // Another may have the port, and would answer.
            let gone = self.child.try_wait().unwrap();
            assert!(gone.is_none(), "redis-server on port {} ended: {gone:?}", self.port);
            if self.cli(&["PING"]) == "PONG" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("redis-server does not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
        self.kept.iter().for_each(|file| drop(std::fs::remove_file(file)));
    }
}

/// A port that nobody has now, and that no outgoing connection gets by chance while a server is
/// down.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let process = std::process::id().wrapping_mul(2_654_435_761) % 10_000;
        let port = 10_000 + (process as u16 + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        // A member of a Cluster has another one, 10000 above.
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

fn spawn(port: u16, dir: &std::path::Path, options: &[String]) -> Child {
    // Killed with its test, however that one ends.
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/bound"));
    command.arg("redis-server");
    // A configuration file comes first.
    let (file, rest) =
        options.split_at(usize::from(options.first().is_some_and(|first| first.starts_with('/'))));
    command.args(file).args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir);
    if !options.iter().any(|option| option == "--sentinel") {
        command.args(["--save", "", "--repl-diskless-sync-delay", "0"]);
    }
    command.args(rest).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

/// A way to a server that can be cut without a word, as a network does, or lead to another server.
pub(crate) struct Path {
    port: u16,
    cut: Arc<AtomicBool>,
    to: Arc<AtomicU16>,
}

impl Path {
    pub(crate) async fn to(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let path = Self { port, cut: Arc::default(), to: Arc::new(AtomicU16::new(server.port)) };
        let (cut, to) = (Arc::clone(&path.cut), Arc::clone(&path.to));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, Arc::clone(&to), Arc::clone(&cut)));
            }
        });
        path
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::Release);
    }

    /// From the next request on another server answers, on the same connections.
    pub(crate) fn lead_to(&self, server: &Server) {
        self.to.store(server.port, Ordering::Release);
    }
}

/// Carries bytes; what comes while the path is cut ends the connection once it is mended.
async fn carry(near: TcpStream, to: Arc<AtomicU16>, cut: Arc<AtomicBool>) {
    let (mut asks, answers) = near.into_split();
    let answers = Arc::new(tokio::sync::Mutex::new(answers));
    let mut far: Option<(u16, OwnedWriteHalf)> = None;
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = asks.read(&mut bytes).await else { return };
        if was_cut(&cut).await {
            return;
        }
        let port = to.load(Ordering::Acquire);
        if far.as_ref().is_none_or(|(before, _)| *before != port) {
            let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let (mut said, ask) = stream.into_split();
            far = Some((port, ask));
            let (answers, cut, to) = (Arc::clone(&answers), Arc::clone(&cut), Arc::clone(&to));
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(read @ 1..) = said.read(&mut bytes).await {
                    if was_cut(&cut).await || answers.lock().await.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                }
                // Its end is the connection's, unless another has taken its place.
                if to.load(Ordering::Acquire) != port {
                    return;
                }
                let _ = answers.lock().await.shutdown().await;
            });
        }
        let Some((_, ask)) = &mut far else { return };
        if ask.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until the path is whole; says whether it was not.
async fn was_cut(cut: &AtomicBool) -> bool {
    let was_cut = cut.load(Ordering::Acquire);
    while cut.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    was_cut
}
