//! JSON and cursors that are made to hurt.

use serde_json::json;

use super::support::{Gateway, SECRET, Ws, get, jwt, post};
use super::{KEY, alice, open_ws};

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
