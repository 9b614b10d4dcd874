//! `POST /v1/leave`: a page says that it goes.

use serde_json::json;

use crate::support::{Answer, Gateway, Http, Sse, Ws, eventually, get, post, request, token};

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "*"]))
}

async fn leave(gateway: &Gateway, query: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    post(gateway.address, &format!("/v1/leave?{query}"), headers, body).await
}

async fn connections(gateway: &Gateway, expected: f64) {
    let metric = async || gateway.metric("throughline_connections").await == expected;
    eventually("the connections change", metric).await;
}

#[tokio::test]
async fn a_beacon_ends_the_connections_of_its_own_session_only() {
    let gateway = Gateway::serve(&["--allow-origin", "https://app.example"]).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    let session = ws.batch().await["hello"]["session"].as_str().unwrap().to_owned();
    let mut sse = Sse::open(gateway.address, &format!("{}&session=mine", alice())).await;
    sse.batch().await;
    let bobs = format!("token={}", token("bob", &[]));
    let mut bob = Ws::open(gateway.address, &format!("{bobs}&session=mine")).await;
    bob.batch().await;
    connections(&gateway, 3.0).await;

    // As a browser sends a beacon: text, a foreign origin, no header of its own.
    let beacon = [("Origin", "https://app.example"), ("Content-Type", "text/plain;charset=UTF-8")];
    let answer = leave(&gateway, &format!("{}&session={session}", alice()), &beacon, "bye").await;
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(ws.close_code().await, 1000);
    let answer = leave(&gateway, &format!("{}&session=mine", alice()), &[], "").await;
    assert_eq!(answer.status, 204);
    while sse.batch().await.is_some_and(|batch| batch.get("bye").is_none()) {}
    connections(&gateway, 1.0).await;
    // Another user's session of the same name stays, and nobody learns whether there is one.
    gateway.publish(json!({"topic": "user:bob", "type": "t", "data": 1})).await;
    assert_eq!(bob.events().await["events"][0]["data"], 1);
    assert_eq!(leave(&gateway, &format!("{}&session=nobodys", alice()), &[], "").await.status, 204);
}

#[tokio::test]
async fn a_poll_that_waits_ends_with_its_session() {
    let gateway = Gateway::serve(&[]).await;
    let poll = get(gateway.address, &format!("/v1/poll?{}&session=mine", alice())).await.json();
    let cursor = poll["cursor"].as_str().unwrap();
    let target = format!("/v1/poll?{}&session=mine&wait=60&after={cursor}", alice());
    let waiting = tokio::spawn({
        let address = gateway.address;
        async move {
            let mut socket = Http::open(address).await;
            let request = request("GET", &target, &[], "");
            socket.send(request.as_bytes()).await;
            socket.is_closed().await
        }
    });
    connections(&gateway, 1.0).await;
    assert_eq!(leave(&gateway, &format!("{}&session=mine", alice()), &[], "").await.status, 204);
    assert!(waiting.await.unwrap(), "without an answer: nobody is there to read it");
    assert_eq!(gateway.stats().await["totalClients"], 0, "it is not waited for");
}

#[tokio::test]
async fn whoever_leaves_is_authenticated() {
    let gateway = Gateway::serve(&[]).await;
    let query = format!("{}&session=mine", alice());
    assert_eq!(leave(&gateway, "session=mine", &[], "").await.status, 401);
    assert_eq!(leave(&gateway, &alice(), &[], "").await.status, 400, "which one?");
    assert_eq!(leave(&gateway, &format!("{}&session=a%20b", alice()), &[], "").await.status, 400);
    assert_eq!(leave(&gateway, &query, &[], &"x".repeat(2000)).await.status, 413);
    assert_eq!(get(gateway.address, &format!("/v1/leave?{query}")).await.status, 405);
    // A cookie is sent by the browser of every page, so a foreign page is refused.
    let cookie = format!("throughline_token={}", token("alice", &[]));
    let headers = [("Cookie", &*cookie), ("Origin", "https://evil.example")];
    assert_eq!(leave(&gateway, "session=mine", &headers, "").await.status, 403);
    let headers = [("Cookie", &*cookie)];
    assert_eq!(leave(&gateway, "session=mine", &headers, "").await.status, 204);
}
