//! Runs one library: `driver TRANSPORT DRIVER [WORD ...]`. Each line of standard input, `URL TOKEN`, opens it.

#[cfg(feature = "all")]
mod sse;
mod ws;

use std::fmt::Display;
use std::io::{BufRead, stdin};
use std::panic::catch_unwind;

use serde_json::json;

/// Why a library ended and will not go on by itself.
pub type End = Box<dyn std::error::Error + Send + Sync>;

pub fn opened() {
    println!("{}", json!({ "saw": "open" }));
}

pub fn message(data: &str, id: Option<&str>) {
    println!("{}", json!({ "saw": "message", "data": data, "id": id }));
}

pub fn failed(error: impl Display) {
    println!("{}", json!({ "saw": "error", "text": error.to_string() }));
}

pub fn protocols(token: &str) -> String {
    format!("throughline.v1, bearer.{token}")
}

async fn run(transport: &str, driver: &str, url: &str, token: &str) -> Result<(), End> {
    match (transport, driver) {
        ("ws", "tokio-tungstenite") => ws::tokio_tungstenite(url, token).await,
        #[cfg(feature = "all")]
        ("ws", "tokio-websockets") => ws::tokio_websockets(url, token).await,
        #[cfg(feature = "all")]
        ("ws", "fastwebsockets") => ws::fastwebsockets(url, token).await,
        #[cfg(feature = "all")]
        ("sse", driver) => sse::run(driver, url).await,
        _ => Err(format!("no driver {transport} {driver}").into()),
    }
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Handle::current();
    let lines = tokio::task::spawn_blocking(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            let (url, token) = line.split_once(' ').expect("URL TOKEN");
            let (url, token, words, runtime) =
                (url.to_owned(), token.to_owned(), words.clone(), runtime.clone());
            // A thread for each, because not every library's stream may move between threads.
            std::thread::spawn(move || {
                let end = catch_unwind(|| runtime.block_on(run(&words[0], &words[1], &url, &token)));
                let text = match end {
                    Ok(Ok(())) => "returned".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "panicked".to_owned(),
                };
                println!("{}", json!({ "saw": "end", "text": text }));
            });
        }
    });
    lines.await.expect("the lines are read");
}
