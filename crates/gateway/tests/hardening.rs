//! One test for each abuse: what it meets, and that nothing of it stays behind.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    Answer, Gateway, Http, PATIENCE, Program, SECRET, Sse, Ws, eventually, get, get_with, jwt, post, raw,
    token,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const KEY: (&str, &str) = ("Authorization", "Bearer key");

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "*"]))
}

async fn connections_of(address: SocketAddr) -> u64 {
    let stats = get_with(address, "/v1/stats", &[KEY]).await.json();
    stats["byTransport"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// Writes until the gateway does not take any more, and gives what it said.
async fn pour(address: SocketAddr, start: &[u8], endless: &[u8], bytes_max: usize) -> (usize, Answer) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let (start, endless) = (start.to_vec(), endless.to_vec());
    let writing = tokio::spawn(async move {
        let mut written = start.len();
        if write.write_all(&start).await.is_err() {
            return written;
        }
        while written < bytes_max && write.write_all(&endless).await.is_ok() {
            written += endless.len();
        }
        written
    });
    let mut received = Vec::new();
    timeout(PATIENCE * 2, read.read_to_end(&mut received)).await.expect("the gateway closes").ok();
    drop(read);
    (writing.await.unwrap(), support::parse(&received))
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let gateway = Gateway::serve(&["--head-timeout-seconds", "1"]).await;
    let started = Instant::now();
    let mut silent = Http::open(gateway.address).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    while socket.write_all(b"X: y\r\n").await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "it may trickle for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(silent.is_closed().await, "nor may it stay silent");
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_cut_off() {
    let gateway = Gateway::serve(&["--body-timeout-seconds", "1"]).await;
    let mut http = Http::open(gateway.address).await;
    http.send(b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\nContent-Length: 1000\r\n\r\n{").await;
    assert_eq!(http.answer().await.status, 400);
    assert!(http.is_closed().await);
    gateway.comes_to_rest().await;
}

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
async fn a_head_without_end_is_refused() {
    let gateway = Gateway::serve(&[]).await;
    let start = b"GET /health HTTP/1.1\r\nHost: localhost\r\n";
    // What comes after the answer is dropped, and not for ever.
    let fields = b"X-Y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n".repeat(1000);
    let (written, answer) = pour(gateway.address, start, &fields, 512 << 20).await;
    assert!(matches!(answer.status, 413 | 0), "{}", answer.head);
    assert!(written < 256 << 20, "{written} bytes were taken");
    let (written, answer) = pour(gateway.address, b"GET /", &[b'a'; 65_536], 512 << 20).await;
    assert!(matches!(answer.status, 413 | 0), "{}", answer.head);
    assert!(written < 256 << 20, "{written} bytes were taken");
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let request = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    is_problem(&raw(gateway.address, request.as_bytes()).await, 413, "too_large");
    assert_eq!(get(gateway.address, "/health").await.status, 200);
}

fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{} {}", answer.head, answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.head);
    assert_eq!((&answer.json()["code"], &answer.json()["status"]), (&json!(code), &json!(status)));
}

#[tokio::test]
async fn what_is_no_request_is_told_so_and_is_the_end() {
    let gateway = Gateway::serve(&[]).await;
    let health = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    for nonsense in [
        "nonsense\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /health HTTP/7.1\r\nHost: a\r\n\r\n",
        "GET \u{1}/health HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ] {
        is_problem(&raw(gateway.address, nonsense.as_bytes()).await, 400, "bad_request");
        // Behind answers, too: of this service, in its own words, and with a `100 Continue` before one.
        let mut http = Http::open(gateway.address).await;
        http.send(health.as_bytes()).await;
        assert_eq!(http.answer().await.status, 200);
        http.send(
            b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key\r\nExpect: 100-continue\r\n\
            Content-Length: 2\r\n\r\n",
        )
        .await;
        assert_eq!(http.answer().await.status, 100);
        http.send(b"17").await;
        let answer = http.answer().await;
        is_problem(&answer, 400, "bad_request");
        assert!(!answer.body.contains("no HTTP/1.1 request"), "{}", answer.body);
        http.send(health.as_bytes()).await;
        assert_eq!(http.answer().await.status, 200);
        http.send(nonsense.as_bytes()).await;
        let answer = http.answer().await;
        is_problem(&answer, 400, "bad_request");
        assert!(answer.body.contains("no HTTP/1.1 request"), "{}", answer.body);
        assert!(http.is_closed().await);
    }
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn heads_that_two_readers_could_understand_differently_are_400_and_the_end() {
    let gateway = Gateway::serve(&[]).await;
    let behind = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (what, head) in [
        (
            "CL, TE",
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        (
            "TE, CL",
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}"
            ),
        ),
        (
            "CL twice",
            "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        (
            "two CL",
            "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
                .to_owned(),
        ),
        ("CL list", "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na".to_owned()),
        ("CL sign", "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na".to_owned()),
        (
            "TE twice",
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: identity\r\n\r\n{chunks}"
            ),
        ),
        ("CL space", "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na".to_owned()),
        ("bare LF", "GET /health HTTP/1.1\nHost: a\n\n".to_owned()),
        ("one bare LF", "GET /health HTTP/1.1\r\nHost: a\n\r\n".to_owned()),
        ("folded", "GET /health HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n".to_owned()),
        ("two Host", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        ("Host twice", "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned()),
        ("no Host", "GET /health HTTP/1.1\r\n\r\n".to_owned()),
        ("NUL", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".to_owned()),
        (
            "SSE: CL, TE",
            format!(
                "GET /v1/sse?{} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
                alice()
            ),
        ),
        ("SSE: bare LF", format!("GET /v1/sse?{} HTTP/1.1\nHost: a\n\n", alice())),
        (
            "poll: body",
            format!("GET /v1/poll?{} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", alice()),
        ),
        (
            "poll: chunks",
            format!(
                "GET /v1/poll?{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
                alice()
            ),
        ),
    ] {
        let mut http = Http::open(gateway.address).await;
        http.send((head + behind).as_bytes()).await;
        let answer = http.answer().await;
        assert_eq!(answer.status, 400, "{what}: {} {}", answer.head, answer.body);
        assert!(http.is_closed().await, "{what}: what follows is nobody's request");
    }
    assert_eq!(get(gateway.address, "/health").await.status, 200);
    gateway.comes_to_rest().await;
}

async fn open_ws(gateway: &Gateway) -> Ws {
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    ws
}

#[tokio::test]
async fn broken_frames_close_with_the_code_of_the_rfc() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "0"]).await;
    for (what, frames, code) in [
        ("unmasked", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("reserved bit", Ws::frame(0xc1, b"{}"), 1002),
        ("unknown opcode", Ws::frame(0x83, b""), 1002),
        ("fragmented ping", Ws::frame(0x09, b""), 1002),
        ("long ping", Ws::frame(0x89, &[0; 126]), 1002),
        ("nothing to continue", Ws::frame(0x80, b"x"), 1002),
        ("text inside text", [Ws::frame(0x01, b"x"), Ws::frame(0x81, b"y")].concat(), 1002),
        ("half a close code", Ws::frame(0x88, b"\x03"), 1002),
        ("a code that is never sent", Ws::frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("no UTF-8", Ws::frame(0x81, b"\xff"), 1007),
        ("no UTF-8 across fragments", [Ws::frame(0x01, b"\xc3"), Ws::frame(0x80, b"\x28")].concat(), 1007),
        ("cut UTF-8", Ws::frame(0x81, b"\xe2\x82"), 1007),
        ("too long", Ws::frame(0x81, &[b'x'; 16 * 1024 + 1]), 1009),
        ("a length of 2^63", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
        (
            "fragments without end",
            [Ws::frame(0x01, &[b'x'; 8000]), Ws::frame(0x00, &[b'x'; 8000]), Ws::frame(0x00, &[b'x'; 8000])]
                .concat(),
            1009,
        ),
    ] {
        let mut ws = open_ws(&gateway).await;
        ws.send(&frames).await;
        assert_eq!(ws.close_code().await, code, "{what}");
    }
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_flood_of_control_frames_or_of_messages_that_are_none_is_4429() {
    let gateway = Gateway::serve(&[]).await;
    for frame in [Ws::frame(0x89, b"!"), Ws::frame(0x8a, b""), Ws::frame(0x82, b"?")] {
        let mut ws = open_ws(&gateway).await;
        ws.send(&frame.repeat(1000)).await;
        assert_eq!(ws.close_code().await, 4429, "{frame:x?}");
    }
    gateway.comes_to_rest().await;
}

/// Sends small frames as fast as they are taken, reading all that comes back, and gives the most memory it cost.
async fn memory_under_a_flood(program: &Program, query: &str, frame: &[u8]) -> u64 {
    let before = program.memory_kib();
    let ws = Ws::open(program.address, query).await;
    let (mut read, mut write) = ws.socket.into_split();
    let reading = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    let burst = frame.repeat((1 << 20) / frame.len());
    let mut most = 0;
    let pouring = async {
        while write.write_all(&burst).await.is_ok() {
            most = most.max(program.memory_kib().saturating_sub(before));
        }
    };
    // As much as it takes in this time; the gateway may well take it all and close.
    timeout(Duration::from_secs(2), pouring).await.ok();
    reading.abort();
    most.max(program.memory_kib().saturating_sub(before))
}

#[tokio::test]
async fn frames_that_come_faster_than_they_are_handled_stay_with_the_client() {
    let program = Program::serve(&["--commands-per-minute", "0"]);
    for (what, query, frame) in [
        ("commands", alice(), Ws::frame(0x81, b"{}")),
        ("refused", "token=nonsense".to_owned(), Ws::frame(0x8a, b"")),
    ] {
        let cost = memory_under_a_flood(&program, &query, &frame).await;
        assert!(cost < 24 << 10, "{what}: {cost} KiB");
    }
}

#[tokio::test]
async fn deep_json_is_no_way_to_the_end_of_the_stack() {
    let gateway = Gateway::serve(&[]).await;
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    // What is accepted is delivered, and many a client's parser stops at about 128.
    for (depth, status) in [(64, 200), (65, 400), (5000, 400)] {
        let draft = format!(r#"{{"topic":"user:alice","type":"t","data":{}}}"#, nested(depth));
        let answer = post(gateway.address, "/v1/publish", &[KEY], &draft).await;
        assert_eq!(answer.status, status, "{depth}: {}", answer.body);
    }
    let flat =
        format!(r#"{{"topic":"t","type":"t","data":["{}",{}[]]}}"#, "[\\\"[".repeat(500), "[],".repeat(500));
    assert_eq!(post(gateway.address, "/v1/publish", &[KEY], &flat).await.status, 200, "wide, not deep");
    let batch = get(gateway.address, &format!("/v1/poll?{}&after=earliest", alice())).await.json();
    assert_eq!(batch["events"][0]["seq"], 1);
    for body in [nested(400_000), "{\"a\":".repeat(150_000), nested(400_000).replace('1', "")] {
        for target in ["/v1/publish", "/v1/disconnect"] {
            assert_eq!(post(gateway.address, target, &[KEY], &body).await.status % 100, 0, "{target}");
        }
    }
    let mut ws = open_ws(&gateway).await;
    for command in
        [nested(8000), "{\"op\":".repeat(2500), format!(r#"{{"id":1,"op":"ping","x":{}}}"#, nested(7000))]
    {
        ws.send(&Ws::frame(0x81, command.as_bytes())).await;
        ws.reply().await;
    }
    let token = jwt(&json!({"alg": "HS256"}), &json!({"sub": "a", "info": 1}), SECRET);
    let payload =
        data_encoding::BASE64URL_NOPAD.encode(format!(r#"{{"sub":"a","info":{}}}"#, nested(2000)).as_bytes());
    let deep = format!("{}.{payload}.x", token.split('.').next().unwrap());
    assert_eq!(get(gateway.address, &format!("/v1/poll?token={deep}")).await.status, 401);
    assert_eq!(get(gateway.address, "/health").await.status, 200);
}

#[tokio::test]
async fn bad_cursors_are_400() {
    let gateway = Gateway::serve(&[]).await;
    let tail = get(gateway.address, &format!("/v1/poll?{}", alice())).await.json();
    let epoch = tail["cursor"].as_str().unwrap().split('.').next().unwrap().to_owned();
    for cursor in [
        "x",
        ".",
        "..",
        "1",
        ".1",
        "a.",
        "a.b",
        "a.-1",
        "a.%2B1",
        "a.1.2",
        "a.01",
        "a.1%20",
        "%20a.1",
        "a.1%00",
        "a.9007199254740993",
        "a.18446744073709551616",
        "a.1e3",
        "a.0x1",
        "%C3%BC.1",
        "Latest",
        "earliest.",
    ] {
        let answer = get(gateway.address, &format!("/v1/poll?{}&after={cursor}", alice())).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("bad_request")), "{cursor}");
    }
    let long = format!("{}.1", "a".repeat(5000));
    assert_eq!(get(gateway.address, &format!("/v1/poll?{}&after={long}", alice())).await.status, 400);
    for cursor in [format!("{epoch}.0"), format!("{epoch}.9007199254740991"), "zzz.7".to_owned()] {
        let answer = get(gateway.address, &format!("/v1/poll?{}&after={cursor}&wait=0", alice())).await;
        assert_eq!(answer.status, 200, "{cursor}: {}", answer.body);
    }
}

/// Publishes `count` events of `bytes` bytes to a user.
async fn publish_many(address: SocketAddr, user: &str, count: usize, bytes: usize) {
    let mut http = Http::open(address).await;
    let draft = json!({"topic": format!("user:{user}"), "type": "t", "data": "x".repeat(bytes)});
    // A request holds 1 MiB.
    let at_once = 50;
    let body = json!(vec![draft; at_once]).to_string();
    for _ in 0..count / at_once {
        assert_eq!(http.post("/v1/publish", &[KEY], &body).await.status, 200);
    }
}

#[tokio::test]
async fn a_reader_that_never_reads_costs_little_and_is_let_go() {
    let program = Program::serve(&["--write-timeout-seconds", "1"]);
    let small_socket = async |request: String| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(program.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    };
    let sse = small_socket(format!("GET /v1/sse?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", alice())).await;
    let ws = small_socket(format!(
        "GET /v1/ws?{} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        alice()
    ))
    .await;
    eventually("both are there", async || connections_of(program.address).await == 2).await;
    publish_many(program.address, "warm-up", 10_000, 2000).await;
    let before = program.memory_kib();
    publish_many(program.address, "alice", 10_000, 2000).await;
    let cost = program.memory_kib().saturating_sub(before);
    assert!(cost < 16 << 10, "{cost} KiB for 20 MB that two clients do not read");
    eventually("both are let go", async || connections_of(program.address).await == 0).await;
    let slow = get(program.address, "/metrics").await.body;
    let slow: f64 = slow
        .lines()
        .filter(|line| line.starts_with("throughline_slow_readers_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(slow, 2.0);
    drop((sse, ws));
}

#[tokio::test]
async fn a_slow_reader_that_comes_back_to_life_is_told() {
    let gateway = Gateway::serve(&["--write-timeout-seconds", "1", "--ring-events", "2000"]).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    publish_many(gateway.address, "alice", 10_000, 5000).await;
    eventually("it was noticed", async || gateway.metric("throughline_slow_readers_total").await == 1.0)
        .await;
    let mut cursor = None;
    let code = loop {
        match ws.next().await {
            support::Frame::Text(batch) => {
                let is_next = cursor.as_ref().is_none_or(|cursor| batch["after"] == *cursor);
                assert!(is_next || batch.get("reset").is_some(), "no hole passes unnoticed");
                cursor = Some(batch["cursor"].clone());
            }
            support::Frame::Close(code, _) => break code,
            // Cut, if the last words did not fit any more.
            support::Frame::End => break 4408,
            support::Frame::Pong(_) => {}
        }
    };
    assert_eq!(code, 4408);
    gateway.comes_to_rest().await;
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
        let answer = support::parse(&received);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("unavailable")));
        assert!(answer.header("retry-after").is_some());
        refused += 1;
    }
    assert_eq!(refused, 180);
    drop(flood);
    eventually("there is room again", async || get(gateway.address, "/health").await.status == 200).await;
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn secrets_never_reach_the_logs() {
    let program = Program::serve(&["--log", "trace", "--log-format", "json"]);
    let address = program.address;
    let good = token("alice", &["--subscribe", "*"]);
    let foreign =
        jwt(&json!({"alg": "HS256"}), &json!({"sub": "mallory"}), "another-secret-of-thirty-two-bytes");
    for token in [&good, &foreign] {
        let bearer = format!("Bearer {token}");
        let cookie = format!("throughline_token={token}");
        let offer = format!("throughline.v1, bearer.{token}");
        for (target, headers) in [
            (format!("/v1/poll?access_token={token}"), vec![]),
            (format!("/v1/poll?token={token}&after=nonsense"), vec![]),
            (format!("/v1/poll?%74oken={token}"), vec![]),
            (format!("/v1/nothing?token={token}#{token}"), vec![]),
            (format!("/v1/history?topic=t&token={token}"), vec![]),
            ("/v1/poll".to_owned(), vec![("Authorization", bearer.as_str())]),
            ("/v1/poll".to_owned(), vec![("Cookie", cookie.as_str()), ("Origin", "https://evil.example")]),
            ("/v1/stats".to_owned(), vec![("Authorization", bearer.as_str())]),
        ] {
            get_with(address, &target, &headers).await;
        }
        let mut ws = Ws::open_with(address, "", &[("Sec-WebSocket-Protocol", &offer)]).await;
        ws.command(json!({"id": 1, "op": "auth", "token": token})).await;
        ws.next().await;
        let mut ws = Ws::open(address, "").await;
        ws.command(json!({"id": 1, "op": "auth", "token": token})).await;
        ws.next().await;
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        post(address, "/v1/poll", &form, &format!("token={token}&after=x")).await;
        let mut sse = Sse::open(address, &format!("token={good}")).await;
        sse.batch().await;
    }
    post(address, "/v1/publish", &[("Authorization", "Bearer key-of-nobody-0123")], "{}").await;
    post(address, "/v1/publish", &[KEY], r#"{"topic":"t","type":"t","data":"private-words"}"#).await;
    program.signal("TERM");
    let (code, out, log) = program.end().await;
    assert_eq!(code, Some(0));
    assert!(log.lines().count() > 10, "debug lines are there: {log}");
    for line in log.lines() {
        let _: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in [&signature(&good), &signature(&foreign), SECRET, "key-of-nobody-0123", "private-words"] {
        assert!(!log.contains(secret) && !out.contains(secret), "{secret} is in {log}");
    }
}
