//! A real gateway on a free port, and clients that speak its wire protocol and nothing else.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use gateway::config::{self, Command};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long anything that must come may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long one stream may go on: a test that waits for what never comes fails in spite of the heartbeats.
const STREAM: Duration = Duration::from_secs(40);

/// A running gateway, in this process.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<()>,
}

impl Gateway {
    /// `gateway dev` on a free port.
    pub async fn dev() -> Self {
        Self::start(&["dev", "--listen", "127.0.0.1:0"]).await
    }

    /// `gateway serve` on a free port, with a JWT secret and the publish key `key`.
    pub async fn serve(options: &[&str]) -> Self {
        Self::start(&serving(options)).await
    }

    pub async fn start(arguments: &[&str]) -> Self {
        let arguments = ["gateway"].iter().chain(arguments).copied();
        let Ok(Command::Run(config)) = config::read(arguments) else { panic!("the options are wrong") };
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, is_bound) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            gateway::run(*config, |at| bound.send(at).unwrap(), shutdown).await.unwrap();
        });
        let bound = is_bound.await.unwrap();
        Self { address: bound.clients, admin: bound.admin, stop: Some(stop), task }
    }

    /// Asks it to drain; `self.task` ends with it.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Publishes one draft and gives its seq.
    pub async fn publish(&self, draft: Value) -> u64 {
        let answer =
            post(self.address, "/v1/publish", &[("Authorization", self.key())], &draft.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["seq"].as_u64().unwrap_or(0)
    }

    /// What operators see.
    pub async fn stats(&self) -> Value {
        let address = self.admin.unwrap_or(self.address);
        get_with(address, "/v1/stats", &[("Authorization", self.key())]).await.json()
    }

    /// A metric's value, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = get(self.admin.unwrap_or(self.address), "/metrics").await.body;
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        let values: Vec<f64> = text.lines().filter(of_name).map(value).collect();
        assert!(!values.is_empty(), "no metric {name}");
        values.iter().sum()
    }

    /// Waits until no connection is left in the table of sessions and in the metrics.
    pub async fn comes_to_rest(&self) {
        eventually("the last connection is gone", async || {
            let stats = self.stats().await;
            let left =
                ["ws", "sse", "poll"].map(|transport| stats["byTransport"][transport].as_u64().unwrap());
            let connections = self.metric("throughline_connections").await;
            // The request that asks is itself a connection.
            left == [0; 3] && connections == 0.0 && self.metric("throughline_tcp_connections").await <= 1.0
        })
        .await;
    }

    /// The publish key, as a header.
    pub fn key(&self) -> &'static str {
        "Bearer key"
    }
}

/// The arguments of `gateway serve` on a free port, with a JWT secret and the publish key `key`.
pub fn serving<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut arguments =
        vec!["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET, "--publish-key", "key"];
    arguments.extend(options);
    arguments
}

/// The JWT secret of [`serving`].
pub const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

/// A token signed with [`SECRET`].
pub fn token(user: &str, options: &[&str]) -> String {
    let mut arguments = vec!["gateway", "token", "--user", user, "--jwt-secret", SECRET];
    arguments.extend(options);
    let Ok(Command::Token(request)) = config::read(arguments) else { panic!("the options are wrong") };
    request.sign(&events::Clock::system()).unwrap()
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE * 2;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A token with these claims, signed with HS256 and this secret whatever its header says.
pub fn jwt(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let signed =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("{signed}.{}", encode(ring::hmac::sign(&key, signed.as_bytes()).as_ref()))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub async fn get(address: SocketAddr, target: &str) -> Answer {
    get_with(address, target, &[]).await
}

pub async fn get_with(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    raw(address, request("GET", target, headers, "").as_bytes()).await
}

pub async fn post(address: SocketAddr, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    raw(address, request("POST", target, headers, body).as_bytes()).await
}

/// A request that closes the connection behind it.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text + "\r\n" + body
}

/// Sends bytes and reads everything until the gateway closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    timeout(PATIENCE * 4, socket.read_to_end(&mut received))
        .await
        .expect("the gateway answers and closes")
        .ok();
    parse(&received)
}

pub fn parse(received: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(received).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// One connection that carries several requests.
pub struct Http {
    pub socket: BufReader<TcpStream>,
}

impl Http {
    pub async fn open(address: SocketAddr) -> Self {
        Self { socket: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        self.answer().await
    }

    pub async fn post(&mut self, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let text = request("POST", target, headers, body).replace("Connection: close\r\n", "");
        self.send(text.as_bytes()).await;
        self.answer().await
    }

    /// The next answer, by its length. Status 0: the gateway closed instead.
    pub async fn answer(&mut self) -> Answer {
        timeout(PATIENCE * 3, self.read_answer()).await.expect("an answer").unwrap_or_else(|_| parse(b""))
    }

    async fn read_answer(&mut self) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.socket.read_u8().await?);
        }
        let mut answer = parse(&head);
        let len = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
        let mut body = vec![0; len];
        self.socket.read_exact(&mut body).await?;
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }

    /// Whether the gateway closed.
    pub async fn is_closed(&mut self) -> bool {
        matches!(timeout(PATIENCE * 2, self.socket.read_u8()).await, Ok(Err(_)))
    }
}

/// A place for a directory of its own, gone with the test.
pub struct Directory(pub std::path::PathBuf);

impl Directory {
    /// `name` tells it from others of the same process; nothing is there yet.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("throughline-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The program itself, as a process of its own. Killed when dropped.
pub struct Program {
    child: std::process::Child,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    stdout: Option<std::io::BufReader<std::process::ChildStdout>>,
}

/// A program that is killed with the thread that starts it, also where that thread cannot end it itself.
pub fn bound(program: &str) -> std::process::Command {
    let mut command = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/bound"));
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
        use std::io::BufRead as _;
        let mut child = bound(env!("CARGO_BIN_EXE_gateway"))
            .args(arguments)
            .env_clear()
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        };
        let first = line();
        let at = |line: &str, before: &str| {
            let address = line.trim_end().strip_prefix(before)?;
            Some(address.parse::<SocketAddr>().unwrap())
        };
        let address = at(&first, "listening on http://").unwrap_or_else(|| {
            // It has ended: why, it said on the other stream.
            let said = child.stderr.take().map(|stderr| std::io::read_to_string(stderr).unwrap());
            panic!("{first:?} {said:?}")
        });
        let has_admin = arguments.contains(&"--admin-listen");
        let admin = has_admin.then(|| at(&line(), "admin on http://").expect("the second line"));
        Self { child, address, admin, stdout: Some(stdout) }
    }

    /// Reads its log away, which would else fill the pipe and stop it, and counts the lines.
    pub fn read_log(&mut self) -> std::sync::Arc<std::sync::atomic::AtomicU64> {
        use std::io::BufRead as _;
        let lines = std::sync::Arc::<std::sync::atomic::AtomicU64>::default();
        let (count, log) = (std::sync::Arc::clone(&lines), self.child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for _ in std::io::BufReader::new(log).lines() {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        lines
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
        let status = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end: the exit code, the rest of standard output, and standard error.
    pub async fn end(mut self) -> (Option<i32>, String, String) {
        use std::io::Read as _;
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

/// A server-sent event stream.
pub struct Sse {
    reader: BufReader<TcpStream>,
    pub head: String,
    until: Instant,
}

impl Sse {
    pub async fn open(address: SocketAddr, query: &str) -> Self {
        Self::open_with(address, query, &[]).await
    }

    pub async fn open_with(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = request("GET", &format!("/v1/sse?{query}"), headers, "");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(PATIENCE, reader.read_line(&mut head)).await.expect("a response").unwrap();
            assert_ne!(read, 0, "the gateway closed: {head}");
        }
        Self { reader, head, until: Instant::now() + STREAM }
    }

    /// The next batch; `None` at the end of the stream.
    pub async fn batch(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            let until = self.until.min(Instant::now() + PATIENCE * 2);
            let read =
                timeout_at(until, self.reader.read_line(&mut line)).await.expect("a batch").unwrap_or(0);
            if read == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next batch with an event.
    pub async fn events(&mut self) -> Value {
        loop {
            let batch = self.batch().await.expect("a batch");
            if !batch["events"].as_array().unwrap().is_empty() {
                return batch;
            }
        }
    }
}

/// What a WebSocket gave.
#[derive(Debug, PartialEq)]
pub enum Frame {
    Text(Value),
    Pong(Vec<u8>),
    Close(u16, String),
    /// The connection ended without a close frame.
    End,
}

/// A WebSocket client that sends exactly the bytes it is told to.
pub struct Ws {
    pub socket: TcpStream,
    pub head: String,
    until: Instant,
}

impl Ws {
    pub async fn open(address: SocketAddr, query: &str) -> Self {
        Self::open_with(address, query, &[]).await
    }

    /// As a browser opens it: with the gateway's own origin, unless `headers` have another.
    pub async fn open_with(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let own = [("Origin", "http://localhost")];
        let has_origin = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("origin"));
        let headers = own.iter().filter(|_| !has_origin).chain(headers);
        let mut text = format!(
            "GET /v1/ws?{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        socket.write_all((text + "\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, socket.read_u8()).await.expect("a response").expect("a whole head"));
        }
        Self { socket, head: String::from_utf8(head).unwrap(), until: Instant::now() + STREAM }
    }

    /// A masked frame with this first byte.
    pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let mask = [7, 11, 13, 17];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub async fn command(&mut self, command: Value) {
        self.send(&Self::frame(0x81, command.to_string().as_bytes())).await;
    }

    /// The next frame from the gateway.
    pub async fn next(&mut self) -> Frame {
        let until = self.until.min(Instant::now() + PATIENCE * 2);
        timeout_at(until, self.read_frame()).await.expect("a frame").unwrap_or(Frame::End)
    }

    /// Pings are answered, as libraries do.
    async fn read_frame(&mut self) -> std::io::Result<Frame> {
        let (first, payload) = loop {
            let first = self.socket.read_u8().await?;
            let len = match self.socket.read_u8().await? {
                126 => usize::from(self.socket.read_u16().await?),
                127 => self.socket.read_u64().await? as usize,
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            self.socket.read_exact(&mut payload).await?;
            if first != 0x89 {
                break (first, payload);
            }
            self.socket.write_all(&Self::frame(0x8a, &payload)).await?;
        };
        let len = payload.len();
        Ok(match first {
            0x81 => Frame::Text(serde_json::from_slice(&payload).unwrap()),
            0x88 if len >= 2 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Frame::Close(code, String::from_utf8(payload[2..].to_vec()).unwrap())
            }
            0x88 => Frame::Close(1005, String::new()),
            0x8a => Frame::Pong(payload),
            other => panic!("an unexpected frame {other:#x}"),
        })
    }

    /// The next batch. Replies are skipped.
    pub async fn batch(&mut self) -> Value {
        loop {
            match self.next().await {
                Frame::Text(text) if text.get("reply").is_none() => return text,
                Frame::Text(_) => {}
                other => panic!("instead of a batch: {other:?}"),
            }
        }
    }

    /// The next batch with an event.
    pub async fn events(&mut self) -> Value {
        loop {
            let batch = self.batch().await;
            if !batch["events"].as_array().unwrap().is_empty() {
                return batch;
            }
        }
    }

    /// The next reply. Batches are skipped.
    pub async fn reply(&mut self) -> Value {
        loop {
            match self.next().await {
                Frame::Text(text) if text.get("reply").is_some() => return text,
                Frame::Text(_) => {}
                other => panic!("instead of a reply: {other:?}"),
            }
        }
    }

    /// The close code that comes next, batches skipped.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Frame::Close(code, _) => return code,
                Frame::End => return 1006,
                Frame::Text(_) | Frame::Pong(_) => {}
            }
        }
    }
}

/// The seqs of a batch's events.
pub fn seqs(batch: &Value) -> Vec<u64> {
    batch["events"].as_array().unwrap().iter().filter_map(|event| event["seq"].as_u64()).collect()
}
