//! Real PostgreSQL servers and PgBouncers on free ports, each in a directory of its own and gone with its test.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::support::Directory;
use crate::support::certificates::certify;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// A PostgreSQL server with a database and a superuser `postgres`, without a password.
pub struct Postgres {
    pub port: u16,
    dir: Directory,
    options: Vec<String>,
    child: Child,
}

impl Postgres {
    /// A new server with these settings, such as `max_connections=20`.
    pub async fn start(settings: &[&str]) -> Self {
        let dir = fresh_directory("postgres");
        copy(template(), &dir.0);
        Self::start_in(dir, settings).await
    }

    /// A hot standby of `primary`, which has caught up.
    pub async fn standby_of(primary: &Self) -> Self {
        let dir = fresh_directory("standby");
        let port = primary.port.to_string();
        let backup = as_postgres("pg_basebackup")
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-X", "stream", "--no-sync"])
            .args(["-c", "fast", "-D"])
            .arg(&dir.0)
            .status();
        assert!(backup.expect("pg_basebackup").success());
        Self::start_in(dir, &[]).await
    }

    async fn start_in(dir: Directory, settings: &[&str]) -> Self {
        let port = free_port();
        let mut options = vec!["-p".to_owned(), port.to_string(), "-k".to_owned(), String::new()];
        for setting in
            [&["fsync=off", "listen_addresses=127.0.0.1", "log_min_messages=log"], settings].concat()
        {
            options.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let child = serve(&dir.0, &options);
        let mut server = Self { port, dir, options, child };
        assert!(server.wait().await, "postgres on port {port} ended:\n{}", server.log());
        server
    }

    /// Its URL for a gateway.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// A connection, closed when the client is dropped.
    pub async fn client(&self) -> Client {
        connect(self.port).await.expect("a connection")
    }

    /// Runs statements on a connection of their own.
    pub async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of the only row, as text.
    pub async fn ask(&self, sql: &str) -> String {
        ask(&self.client().await, sql).await
    }

    /// What the server has written into its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.0.join("log")).unwrap_or_default()
    }

    /// Ends it at once, as a power cut does to its clients.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Postgres::kill`].
    pub async fn start_again(&mut self) {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            self.child = serve(&self.dir.0, &self.options);
            if self.wait().await {
                return;
            }
            // Its former processes have not all noticed yet that the first one is gone.
            assert!(tokio::time::Instant::now() < deadline, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) {
        self.run("select pg_promote()").await;
    }

    /// From now on every connection needs this password.
    pub async fn ask_for_passwords(&self, password: &str) {
        self.run(&format!("alter role postgres password '{password}'")).await;
        std::fs::write(self.dir.0.join("pg_hba.conf"), "host all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        self.reload();
        while connect(self.port).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From now on it takes TLS, with a certificate for `localhost`. Gives the file of the authority.
    pub async fn use_tls(&self) -> PathBuf {
        let dir = &self.dir.0;
        let authority = certify(dir, "server");
        own(dir);
        self.run("alter system set ssl = on").await;
        self.reload();
        while self.ask("show ssl").await != "on" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        authority
    }

    /// Has the server read its files again.
    fn reload(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    }

    /// Waits until it accepts connections. `false`: it has ended instead.
    async fn wait(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            match connect(self.port).await {
                Ok(_) => return true,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A PgBouncer in front of a server.
pub struct PgBouncer {
    pub port: u16,
    _dir: Directory,
    child: Child,
}

impl PgBouncer {
    /// In `session`, `transaction` or `statement` mode, with a pool of this many connections.
    pub async fn start(server: &Postgres, mode: &str, pool: usize) -> Self {
        let (dir, port) = (fresh_directory("pgbouncer"), free_port());
        let file = dir.0.join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\ndefault_pool_size = {pool}\nmax_client_conn = 100\n",
            server.port
        );
        std::fs::write(&file, settings).unwrap();
        let child = as_postgres("pgbouncer")
            .arg("-q")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer starts");
        let deadline = tokio::time::Instant::now() + START;
        while let Err(error) = connect(port).await {
            assert!(tokio::time::Instant::now() < deadline, "pgbouncer: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { port, _dir: dir, child }
    }

    /// Its URL for a gateway.
    pub fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first column of the only row, as text.
pub async fn ask(client: &Client, sql: &str) -> String {
    let answers = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = answers.iter().find_map(|answer| match answer {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    row.unwrap_or_else(|| panic!("{sql}: no row"))
}

fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// A connection, closed when the client is dropped.
pub async fn connect(port: u16) -> Result<Client, tokio_postgres::Error> {
    connect_to(port, "postgres").await
}

/// A connection to a database, closed when the client is dropped.
pub async fn connect_to(port: u16, database: &str) -> Result<Client, tokio_postgres::Error> {
    let url = format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// A program of PostgreSQL's, killed with the thread that starts it. As root it runs as the user `postgres`, because
/// the server refuses root. A signal at the parent's death is set last: a change of user takes it away.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::getuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(path_of(program)).current_dir("/");
    command
}

/// Debian has the server's programs in a directory of their version, outside the search path.
fn path_of(program: &str) -> PathBuf {
    let in_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join(program))
        .find(|path| path.exists());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let in_version = || {
        versions.map(|version| version.path().join("bin").join(program)).filter(|path| path.exists()).max()
    };
    in_path.or_else(in_version).unwrap_or_else(|| panic!("{program} is missing: run `make setup`"))
}

fn serve(dir: &Path, options: &[String]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    as_postgres("postgres")
        .arg("-D")
        .arg(dir)
        .args(options)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("postgres starts")
}

/// A directory that belongs to the user who runs the server.
fn fresh_directory(name: &str) -> Directory {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let dir = Directory::new(&format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&dir.0).unwrap();
    own(&dir.0);
    dir
}

fn own(path: &Path) {
    if rustix::process::getuid().is_root() {
        assert!(Command::new("chown").args(["-R", "postgres"]).arg(path).status().unwrap().success());
    }
    assert!(Command::new("chmod").arg("700").arg(path).status().unwrap().success());
}

/// A directory as initdb leaves it, made once for all servers of the process.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<Directory> = OnceLock::new();
    let directory = TEMPLATE.get_or_init(|| {
        let dir = fresh_directory("template");
        let status = as_postgres("initdb")
            .args([
                "--auth",
                "trust",
                "-U",
                "postgres",
                "--no-sync",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "-D",
            ])
            .arg(&dir.0)
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("initdb").success());
        dir
    });
    &directory.0
}

fn copy(from: &Path, to: &Path) {
    let from = from.join(".");
    assert!(Command::new("cp").arg("-a").args([&from, to]).status().unwrap().success());
}

/// A port that nobody has now, and that no outgoing connection gets by chance while a server is down.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let process = std::process::id().wrapping_mul(2_654_435_761) % 3_000;
        let port = 6_500 + (process as u16 + NEXT.fetch_add(1, Ordering::Relaxed)) % 3_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
