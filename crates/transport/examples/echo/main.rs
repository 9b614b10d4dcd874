//! A WebSocket echo server for protocol suites, on the frame code of the gateway:
//! `cargo run -p transport --example echo -- 127.0.0.1:9001`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

mod connection;

use std::future::pending;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use transport::{Answer, HttpLimits, Served, serve, write_ws_accept, ws};

#[tokio::main]
async fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            return ExitCode::from(2);
        }
    };
    println!("echo on ws://{address}");
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(run(socket));
        }
    }
}

async fn run(socket: TcpStream) -> std::io::Result<()> {
    let limits = HttpLimits {
        head_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(10),
        head_bytes_max: 16 << 10,
        headers_max: 100,
        write_timeout: Duration::from_secs(15),
    };
    let refuse =
        |_| Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let served = serve(socket, Bytes::new(), &limits, pending(), refuse, |request, _| async move {
        accept(request.headers()).map_or_else(|| Answer::Response(refusal()), Answer::Detach)
    });
    let Served::Detached { mut socket, received, plan } = served.await else { return Ok(()) };
    socket.write_all(&plan).await?;
    connection::echo(socket, &received).await
}

/// The answer to a handshake, if this is one.
fn accept(headers: &HeaderMap) -> Option<Vec<u8>> {
    let key = headers.get("sec-websocket-key")?.to_str().ok()?;
    let mut accept = Vec::new();
    write_ws_accept(&ws::accept_key(key), None, "", &mut accept);
    Some(accept)
}

fn refusal() -> Response<String> {
    let mut response = Response::new("connect with a WebSocket\n".to_owned());
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response
}
