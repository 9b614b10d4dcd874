//! A client of an event stream.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{PATIENCE, STREAM, request};

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

    /// The next batch and the id of its message; `None` at the end of the stream.
    pub async fn batch_with_id(&mut self) -> Option<(Value, String)> {
        let batch = self.batch().await?;
        let mut line = String::new();
        timeout(PATIENCE, self.reader.read_line(&mut line)).await.expect("an id").ok()?;
        let id = line.trim_end_matches('\n').strip_prefix("id: ").expect("the line of the id");
        Some((batch, id.to_owned()))
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
