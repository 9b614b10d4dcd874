//! A client that goes from gateway to gateway and from transport to transport, and writes down what it is given.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::given::Given;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Sse,
    Ws,
    Poll,
}

pub(crate) struct Client {
    pub(crate) topics: Vec<&'static str>,
    pub(crate) token: String,
    pub(crate) cursor: String,
    pub(crate) given: Vec<Vec<Given>>,
    /// The words of the resets.
    pub(crate) reasons: Vec<String>,
}

/// How long a gateway that hangs is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// From an address of its own, so that a network that is cut between a gateway and Redis is not cut here.
pub(crate) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from.filter(|_| !to.ip().is_loopback()) {
        socket.bind((from, 0).into())?;
    }
    timeout(ANSWER, socket.connect(to)).await?
}

/// One request and its whole answer: the status and the body.
pub(crate) async fn ask(to: SocketAddr, from: Option<IpAddr>, request: &str) -> io::Result<(u16, String)> {
    let mut socket = connect(to, from).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    timeout(ANSWER * 4, socket.read_to_end(&mut bytes)).await??;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

impl Client {
    pub(crate) fn new(topics: &[&'static str], token: String, cursor: String) -> Self {
        let given = vec![Vec::new(); topics.len()];
        Self { topics: topics.to_vec(), token, cursor, given, reasons: Vec::new() }
    }

    fn target(&self, path: &str, more: &str) -> String {
        let topics = self.topics.join(",");
        format!("/v1/{path}?topics={topics}&access_token={}&after={}{more}", self.token, self.cursor)
    }

    /// Stays for a while. Whether there was anything to read.
    pub(crate) async fn visit(
        &mut self,
        way: Way,
        to: SocketAddr,
        from: Option<IpAddr>,
        stay: Duration,
    ) -> io::Result<()> {
        let until = Instant::now() + stay;
        match way {
            Way::Poll => {
                while Instant::now() < until {
                    let request = format!(
                        "GET {} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                        self.target("poll", "&wait=1")
                    );
                    let (status, body) = ask(to, from, &request).await?;
                    if status != 200 {
                        return Err(io::Error::other(body));
                    }
                    self.take(&serde_json::from_str(&body)?);
                }
                Ok(())
            }
            Way::Sse => {
                let mut socket = connect(to, from).await?;
                let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", self.target("sse", ""));
                socket.write_all(request.as_bytes()).await?;
                let mut reader = BufReader::new(socket);
                let mut first = String::new();
                timeout(ANSWER * 4, reader.read_line(&mut first)).await??;
                if !first.contains(" 200 ") {
                    return Err(io::Error::other(first));
                }
                loop {
                    let mut line = String::new();
                    match timeout_at(until, reader.read_line(&mut line)).await {
                        Err(_) => return Ok(()),
                        Ok(Ok(0)) => return Ok(()),
                        Ok(Err(error)) => return Err(error),
                        Ok(Ok(_)) => {}
                    }
                    if let Some(batch) = line.strip_prefix("data: ") {
                        self.take(&serde_json::from_str(batch)?);
                    }
                }
            }
            Way::Ws => {
                let mut socket = connect(to, from).await?;
                let request = format!(
                    "GET {} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    self.target("ws", "")
                );
                socket.write_all(request.as_bytes()).await?;
                let mut reader = BufReader::new(socket);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(timeout(ANSWER * 4, reader.read_u8()).await??);
                }
                let head = String::from_utf8_lossy(&head);
                if !head.starts_with("HTTP/1.1 101 ") {
                    return Err(io::Error::other(head.into_owned()));
                }
                loop {
                    let Ok(frame) = timeout_at(until, frame(&mut reader)).await else { return Ok(()) };
                    match frame? {
                        Some(batch) => self.take(&batch),
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    fn take(&mut self, batch: &Value) {
        if let Some(topics) = batch["reset"]["topics"].as_array() {
            self.reasons.push(format!("{} at {}", batch["reset"]["reason"], batch["cursor"]));
            for topic in topics {
                if let Some(at) = self.topics.iter().position(|known| *known == topic) {
                    self.given[at].push(Given::Reset);
                }
            }
        }
        for event in batch["events"].as_array().into_iter().flatten() {
            if let Some(at) = self.topics.iter().position(|known| *known == event["topic"]) {
                self.given[at].push(Given::Event(event["data"].as_u64().unwrap_or_default()));
            }
        }
        if let Some(cursor) = batch["cursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
    }
}

/// The next batch; `None`: the gateway closes.
async fn frame(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Value>> {
    loop {
        let first = reader.read_u8().await?;
        let len = match reader.read_u8().await? {
            126 => u64::from(reader.read_u16().await?),
            127 => reader.read_u64().await?,
            len => u64::from(len),
        };
        let mut payload = vec![0; len as usize];
        reader.read_exact(&mut payload).await?;
        match first {
            0x81 => return Ok(Some(serde_json::from_slice(&payload)?)),
            0x88 => return Ok(None),
            0x89 => reader.get_mut().write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await?,
            _ => {}
        }
    }
}
