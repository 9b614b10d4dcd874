//! Connections that say nothing, are too many, or come and go.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::support::{Gateway, Http, PATIENCE, Program, Ws, eventually, get, parse, token};
use super::{alice, connections_of};

#[tokio::test]
async fn silent_connections_of_one_address_take_no_place_from_others() {
    let options =
        ["--max-connections", "50", "--max-connections-per-ip", "5", "--head-timeout-seconds", "60"];
    let gateway = Gateway::serve(&options).await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(Http::open(gateway.address).await);
    }
    eventually("the address has used its allowance", async || {
        let from = TcpSocket::new_v4().unwrap();
        from.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let mut other =
            Http { socket: tokio::io::BufReader::new(from.connect(gateway.address).await.unwrap()) };
        // The first that are turned away are told why; this one comes from elsewhere and is let in.
        let metrics = other.get("/metrics").await;
        assert_eq!(metrics.status, 200, "another address");
        metrics.body.lines().any(|line| {
            line.starts_with("throughline_rate_limited_total{kind=\"connections_address\"}")
                && !line.ends_with(" 0")
        })
    })
    .await;
    let refused = get(gateway.address, "/health").await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (429, true), "{}", refused.body);
    drop(silent);
    eventually("it may come again", async || get(gateway.address, "/health").await.status == 200).await;
    // Sessions are not strangers: as many as the cap are let in beside the allowance.
    let mut sessions = Vec::new();
    for n in 0..5 {
        let query = format!("token={}", token(&format!("u{n}"), &[]));
        let mut ws = Ws::open(gateway.address, &query).await;
        ws.batch().await;
        sessions.push(ws);
    }
    assert_eq!(get(gateway.address, "/health").await.status, 200);
}

#[tokio::test]
async fn clients_that_come_and_go_leave_nothing_behind() {
    let program = Program::serve(&["--max-connections-per-user", "0"]);
    let address = program.address;
    get(address, "/health").await;
    let files = program.files();
    let tail =
        get(address, &format!("/v1/poll?{}", alice())).await.json()["cursor"].as_str().unwrap().to_owned();
    for round in 0..4 {
        let mut open = Vec::new();
        for n in 0..60 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let request = match n % 3 {
                0 => format!(
                    "GET /v1/poll?{}&after={tail}&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    alice()
                ),
                1 => format!("GET /v1/sse?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", alice()),
                _ => {
                    "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                        .to_owned()
                }
            };
            socket.write_all(request.as_bytes()).await.unwrap();
            if round % 2 == 1 {
                // Half-closed: it says nothing more, and is as good as gone.
                socket.shutdown().await.unwrap();
            }
            open.push(socket);
        }
        if round % 2 == 0 {
            eventually("they are there", async || connections_of(address).await == 40).await;
            open.clear();
        }
        eventually("they are gone", async || connections_of(address).await == 0).await;
        eventually("their sockets too", async || program.files() <= files + 1).await;
    }
    let memory = program.memory_kib();
    assert!(memory < 200 << 10, "{memory} KiB");
}

#[tokio::test]
async fn a_flood_of_connections_above_the_cap_is_turned_away() {
    let gateway = Gateway::serve(&["--max-connections", "20", "--head-timeout-seconds", "3"]).await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let mut refused = 0;
    for socket in &mut flood[20..] {
        let mut received = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut received)).await.expect("an answer").ok();
        let answer = parse(&received);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("unavailable")));
        assert!(answer.header("retry-after").is_some());
        refused += 1;
    }
    assert_eq!(refused, 180);
    drop(flood);
    eventually("there is room again", async || get(gateway.address, "/health").await.status == 200).await;
    gateway.comes_to_rest().await;
}
