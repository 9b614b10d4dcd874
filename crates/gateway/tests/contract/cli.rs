//! The program as operators run it: what it prints, how it is stopped.

use std::process::Command;

use crate::support::{Gateway, Program, SECRET, Sse, get, get_with, post};

#[tokio::test]
async fn serve_says_where_it_listens_and_nothing_else_on_standard_output() {
    let program = Program::serve(&["--admin-listen", "127.0.0.1:0"]);
    assert_eq!(get(program.address, "/ready").await.status, 200);
    let admin = program.admin.unwrap();
    assert_eq!(get_with(admin, "/v1/stats", &[("Authorization", "Bearer key")]).await.status, 200);
    program.signal("TERM");
    let (code, out, _) = program.end().await;
    assert_eq!((code, out.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn dev_runs_with_its_documented_keys() {
    let program = Program::start(&["dev", "--listen", "127.0.0.1:0"]);
    let draft = r#"{"topic":"user:alice","type":"t","data":1}"#;
    assert_eq!(
        post(program.address, "/v1/publish", &[("Authorization", "Bearer dev")], draft).await.status,
        200
    );
    let batch = get(program.address, "/v1/poll?user=alice&after=earliest").await.json();
    assert_eq!(crate::support::seqs(&batch), [1]);
    let page = get(program.address, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let address = program.address;
    program.signal("INT");
    let (code, out, _) = program.end().await;
    assert_eq!(code, Some(0));
    assert!(out.contains(&format!("http://{address}/")) && out.contains("curl"), "{out}");
}

#[tokio::test]
async fn a_first_signal_drains_and_a_second_one_ends_at_once() {
    for (signals, expected) in [(&["TERM"][..], Some(0)), (&["TERM", "INT"], Some(1))] {
        let program = Program::serve(&["--drain-seconds", "30"]);
        let query = format!("token={}", crate::support::token("alice", &[]));
        let mut sse = Sse::open(program.address, &query).await;
        sse.batch().await;
        // A connection in the middle of its request outlives the goodbye of the stream.
        let mut slow = tokio::net::TcpStream::connect(program.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut slow, b"GET / HTTP/1.1\r\n").await.unwrap();
        program.signal(signals[0]);
        let mut last = None;
        while let Some(batch) = sse.batch().await {
            last = Some(batch);
        }
        assert_eq!(last.unwrap()["bye"]["reason"], "drain");
        match signals.get(1) {
            Some(second) => program.signal(second),
            None => drop(slow),
        }
        let started = std::time::Instant::now();
        assert_eq!(program.end().await.0, expected, "{signals:?}");
        assert!(started.elapsed().as_secs() < 9, "{signals:?}: not the drain's patience, nor the head's");
    }
}

#[tokio::test]
async fn a_drain_that_is_over_cuts_who_is_left() {
    let program = Program::serve(&["--drain-seconds", "1"]);
    let mut slow = tokio::net::TcpStream::connect(program.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut slow, b"GET / HTTP/1.1\r\n").await.unwrap();
    get(program.address, "/health").await;
    program.signal("TERM");
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test]
async fn a_printed_token_is_a_token_of_the_gateway() {
    let gateway = Gateway::serve(&[]).await;
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["token", "--user", "alice", "--subscribe", "room:*", "--jwt-secret", SECRET])
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().count() == 1, "{text}");
    let answer = get(gateway.address, &format!("/v1/poll?token={}&topics=room:1", text.trim())).await;
    assert_eq!(answer.json()["hello"]["user"], "alice");
}

#[test]
fn an_address_that_is_taken_is_one_line_and_exit_code_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["serve", "--listen", &address, "--publish-key", "key"])
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.lines().count() == 1 && text.contains(&address), "{text}");
    assert!(output.stdout.is_empty());
}
