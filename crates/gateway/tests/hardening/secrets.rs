//! Secrets in requests, and the log.

use serde_json::{Value, json};

use super::KEY;
use super::support::{Program, SECRET, Sse, Ws, get_with, jwt, post, token};

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
