//! A topic that may not be had does not cost the others: it is named, and the session goes on.

use serde_json::{Value, json};

use crate::support::{Gateway, Sse, Ws, get, post, seqs, token};

fn forbidden(topic: &str) -> Value {
    json!({"topic": topic, "code": "forbidden"})
}

/// The first batch over each transport: of the streams and of a poll without a cursor.
async fn hellos(gateway: &Gateway, query: &str) -> [Value; 3] {
    let ws = Ws::open(gateway.address, query).await.batch().await;
    let sse = Sse::open(gateway.address, query).await.batch().await.unwrap();
    let poll = get(gateway.address, &format!("/v1/poll?{query}")).await.json();
    [ws, sse, poll].map(|batch| batch["hello"].clone())
}

#[tokio::test]
async fn a_session_goes_on_with_the_topics_that_it_may_have() {
    let gateway = Gateway::serve(&[]).await;
    let query =
        format!("token={}&topics=room:b,room:a,job:1,all", token("alice", &["--subscribe", "room:a"]));
    for hello in hellos(&gateway, &query).await {
        assert_eq!(hello["topics"], json!(["user:alice", "all", "room:a"]), "{hello}");
        assert_eq!(hello["refused"], json!([forbidden("room:b"), forbidden("job:1")]), "{hello}");
    }
    let mut ws = Ws::open(gateway.address, &query).await;
    ws.batch().await;
    gateway.publish(json!({"topic": "room:b", "type": "t", "data": "secret"})).await;
    let seq = gateway.publish(json!({"topic": "room:a", "type": "t", "data": 1})).await;
    assert_eq!(seqs(&ws.events().await), [seq]);
}

#[tokio::test]
async fn a_client_whose_every_topic_is_refused_still_has_its_own() {
    let gateway = Gateway::serve(&[]).await;
    let query = format!("token={}&topics=user:bob,room:1", token("alice", &[]));
    for hello in hellos(&gateway, &query).await {
        assert_eq!(hello["topics"], json!(["user:alice", "all"]));
        assert_eq!(hello["refused"], json!([forbidden("user:bob"), forbidden("room:1")]));
    }
    let mut ws = Ws::open(gateway.address, "topics=room:1").await;
    ws.command(json!({"id": 1, "op": "auth", "token": token("alice", &[])})).await;
    assert_eq!(ws.reply().await["ok"]["user"], "alice");
    assert_eq!(ws.batch().await["hello"]["refused"], json!([forbidden("room:1")]), "after `auth` too");
}

#[tokio::test]
async fn nothing_is_said_where_nothing_is_refused() {
    let gateway = Gateway::serve(&[]).await;
    let query = format!("token={}&topics=room:1,all,user:alice", token("alice", &["--subscribe", "room:*"]));
    for hello in hellos(&gateway, &query).await {
        assert_eq!(hello.get("refused"), None, "{hello}");
    }
}

#[tokio::test]
async fn a_poll_with_a_cursor_says_it_in_its_answer() {
    let gateway = Gateway::serve(&[]).await;
    let alice = format!("token={}", token("alice", &["--subscribe", "room:a"]));
    let cursor = get(gateway.address, &format!("/v1/poll?{alice}")).await.json()["cursor"].clone();
    let query = format!("{alice}&topics=room:a,room:b&after={}", cursor.as_str().unwrap());
    let empty = get(gateway.address, &format!("/v1/poll?{query}&wait=0")).await.json();
    assert_eq!((&empty["refused"], empty.get("hello")), (&json!([forbidden("room:b")]), None), "{empty}");
    let seq = gateway.publish(json!({"topics": ["room:a", "room:b"], "type": "t", "data": 1})).await;
    for query in [query.clone(), query.replace(cursor.as_str().unwrap(), "earliest")] {
        let answer = get(gateway.address, &format!("/v1/poll?{query}")).await.json();
        assert_eq!(
            (&answer["refused"], seqs(&answer)),
            (&json!([forbidden("room:b")]), vec![seq]),
            "{answer}"
        );
        assert_eq!(answer["events"][0]["topic"], "room:a");
    }
}

#[tokio::test]
async fn topics_beyond_the_limit_are_named_and_the_limit_is_the_configured_one() {
    for (options, max) in [(&[][..], 64), (&["--max-topics-per-session", "200"][..], 200)] {
        let options: Vec<&str> = options.iter().copied().chain(["--max-connections-per-user", "0"]).collect();
        let gateway = Gateway::serve(&options).await;
        let alice = token("alice", &["--subscribe", "room:*"]);
        let names: Vec<String> = (0..max).map(|n| format!("room:{n}")).collect();
        let (fit, over) = names.split_at(max - 2);
        for hello in hellos(&gateway, &format!("token={alice}&topics={}", fit.join(","))).await {
            assert_eq!((hello["topics"].as_array().unwrap().len(), hello.get("refused")), (max, None));
        }
        let too_many: Vec<Value> =
            over.iter().map(|topic| json!({"topic": topic, "code": "too_many_topics"})).collect();
        for hello in hellos(&gateway, &format!("token={alice}&topics={}", names.join(","))).await {
            assert_eq!(hello["topics"].as_array().unwrap().len(), max);
            assert_eq!(hello["refused"], json!(too_many), "{hello}");
        }
        // By command, and then back with all of them.
        let mut ws = Ws::open(gateway.address, &format!("token={alice}")).await;
        let session = ws.batch().await["hello"]["session"].as_str().unwrap().to_owned();
        ws.command(json!({"id": 1, "op": "subscribe", "topics": fit})).await;
        assert_eq!(ws.reply().await["ok"]["topics"].as_array().unwrap().len(), max);
        ws.command(json!({"id": 2, "op": "subscribe", "topics": over})).await;
        assert_eq!(ws.reply().await["error"]["code"], "bad_request");
        let back = format!("token={alice}&session={session}&topics={}", fit.join(","));
        let mut back = Ws::open(gateway.address, &back).await;
        assert_eq!(back.batch().await["hello"]["topics"].as_array().unwrap().len(), max);
    }
}

#[tokio::test]
async fn a_posted_poll_has_room_for_as_many_topics_as_a_session() {
    let gateway = Gateway::serve(&["--max-topics-per-session", "300"]).await;
    let alice = token("alice", &["--subscribe", "*"]);
    let names: Vec<String> = (0..298).map(|n| format!("{n:0>128}")).collect();
    let form = format!("token={alice}&topics={}", names.join(","));
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = post(gateway.address, "/v1/poll", &headers, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["hello"]["topics"].as_array().unwrap().len(), 300);
}

#[tokio::test]
async fn a_renewed_token_with_fewer_topics_survives_a_change_of_transport() {
    let gateway = Gateway::serve(&[]).await;
    let large = token("alice", &["--subscribe", "room:*"]);
    let small = token("alice", &["--subscribe", "room:a"]);
    let mut ws = Ws::open(gateway.address, &format!("token={large}&topics=room:a,room:b")).await;
    let hello = ws.batch().await;
    ws.command(json!({"id": 1, "op": "auth", "token": small})).await;
    ws.reply().await;
    let (session, cursor) = (&hello["hello"]["session"], &hello["cursor"]);
    let query = format!(
        "token={small}&topics=room:a,room:b&session={}&after={}",
        session.as_str().unwrap(),
        cursor.as_str().unwrap()
    );
    drop(ws);
    let seq = gateway.publish(json!({"topic": "room:a", "type": "t", "data": 1})).await;
    let mut sse = Sse::open(gateway.address, &query).await;
    assert_eq!(sse.batch().await.unwrap()["hello"]["refused"], json!([forbidden("room:b")]));
    assert_eq!(seqs(&sse.events().await), [seq]);
}
