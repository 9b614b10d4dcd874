//! A client of a WebSocket.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{PATIENCE, STREAM};

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
