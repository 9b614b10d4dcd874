//! HTTP requests and their answers, byte for byte.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

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
