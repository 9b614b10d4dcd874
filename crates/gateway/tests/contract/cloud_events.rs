//! `POST /v1/publish` with CloudEvents 1.0: structured, batched, and in binary mode.

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, get_with, post, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");
const STRUCTURED: (&str, &str) = ("Content-Type", "application/cloudevents+json; charset=UTF-8");
const BATCH: (&str, &str) = ("Content-Type", "application/cloudevents-batch+json");

async fn structured(gateway: &Gateway, event: &Value) -> Answer {
    post(gateway.address, "/v1/publish", &[KEY, STRUCTURED], &event.to_string()).await
}

async fn binary(gateway: &Gateway, headers: &[(&str, &str)], data: &str) -> Answer {
    post(gateway.address, "/v1/publish", &[&[KEY], headers].concat(), data).await
}

/// The events of a topic as text, so that bytes can be compared.
async fn history(gateway: &Gateway, topic: &str) -> String {
    get_with(gateway.address, &format!("/v1/history?topic={topic}"), &[KEY]).await.body
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/s", "type": "order.paid", "subject": "room:1"})
}

#[tokio::test]
async fn a_structured_event_is_published_with_its_data_byte_for_byte() {
    let gateway = Gateway::serve(&[]).await;
    let text = r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","subject":"not a topic",
        "topic":"room:1","time":"2026-11-20T03:30:12Z","more":{"a":1},"data": {"b":1.0,"a":"\u00e9"}}"#;
    let answer = post(gateway.address, "/v1/publish", &[KEY, STRUCTURED], text).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((&answer.json()["seq"], &answer.json()["duplicate"]), (&json!(1), &json!(false)));
    let published = history(&gateway, "room:1").await;
    assert!(published.contains(r#""data":{"b":1.0,"a":"\u00e9"}"#), "{published}");
    let published: Value = serde_json::from_str(&published).unwrap();
    assert_eq!((&published["events"][0]["type"], &published["events"][0]["id"]), (&json!("t"), &json!("7")));
}

#[tokio::test]
async fn a_repeat_has_the_same_source_and_id_whatever_its_mode() {
    let gateway = Gateway::serve(&[]).await;
    assert_eq!(structured(&gateway, &event("7")).await.json()["duplicate"], false);
    assert_eq!(structured(&gateway, &event("7")).await.json()["duplicate"], true);
    let mut headers = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/s"),
        ("ce-type", "order.paid"),
        ("ce-subject", "room:1"),
    ];
    assert_eq!(binary(&gateway, &headers, "").await.json()["duplicate"], true);
    headers[2].1 = "/other";
    assert_eq!(binary(&gateway, &headers, "").await.json()["duplicate"], false, "another source's 7");
    let batch = json!([event("7"), event("8")]).to_string();
    let results = post(gateway.address, "/v1/publish", &[KEY, BATCH], &batch).await.json();
    assert_eq!(
        (&results["results"][0]["duplicate"], &results["results"][1]["seq"]),
        (&json!(true), &json!(3))
    );
    // A draft with the same id is the same publisher's, but no CloudEvent.
    let draft = json!({"topic": "room:1", "type": "t", "data": 1, "event_id": "7"}).to_string();
    let answer = post(gateway.address, "/v1/publish", &[KEY], &draft).await;
    assert_eq!(answer.json()["duplicate"], false, "{}", answer.body);
}

#[tokio::test]
async fn a_batch_answers_each_event_in_its_place() {
    let gateway = Gateway::serve(&[]).await;
    let mut bad = event("2");
    bad["specversion"] = json!("0.3");
    let batch = json!([event("1"), bad, 7, event("3")]).to_string();
    let answer = post(gateway.address, "/v1/publish", &[KEY, BATCH], &batch).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let results = answer.json()["results"].clone();
    assert_eq!((&results[0]["seq"], &results[3]["seq"]), (&json!(1), &json!(2)));
    for at in [1, 2] {
        assert_eq!(results[at]["error"]["code"], "bad_request", "{results}");
    }
    assert_eq!(
        post(gateway.address, "/v1/publish", &[KEY, BATCH], "[]").await.json(),
        json!({"results": []})
    );
    for body in ["", "{}", "[", "7"] {
        assert_eq!(post(gateway.address, "/v1/publish", &[KEY, BATCH], body).await.status, 400, "{body}");
    }
    let many = json!(vec![event("1"); 1001]).to_string();
    assert_eq!(post(gateway.address, "/v1/publish", &[KEY, BATCH], &many).await.status, 413);
    let headers = [KEY, BATCH, ("Idempotency-Key", "k")];
    assert_eq!(post(gateway.address, "/v1/publish", &headers, &batch).await.status, 400);
}

#[tokio::test]
async fn a_binary_event_has_its_attributes_in_headers() {
    let gateway = Gateway::serve(&[]).await;
    let headers = [
        ("Content-Type", "application/json"),
        ("CE-SpecVersion", "1.0"),
        ("ce-id", "Euro%20%E2%82%AC"),
        ("ce-source", "/s"),
        ("ce-type", "\"order.paid\""),
        ("ce-topic", "room:1"),
        ("ce-subject", "not a topic"),
        ("ce-more", "x"),
    ];
    let answer = binary(&gateway, &headers, r#"{"b":1.0,"a":"\u00e9"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let published = history(&gateway, "room:1").await;
    assert!(published.contains(r#""data":{"b":1.0,"a":"\u00e9"}"#), "{published}");
    let published: Value = serde_json::from_str(&published).unwrap();
    let (kind, id) = (&published["events"][0]["type"], &published["events"][0]["id"]);
    assert_eq!((kind, id), (&json!("order.paid"), &json!("Euro €")));
    for (n, (content_type, body, data)) in [
        ("text/plain; charset=utf-8", "a \"b\"", json!("a \"b\"")),
        ("application/xml", "<a/>", json!("<a/>")),
        ("application/octet-stream", "\u{1}\u{2}", json!("AQI=")),
        ("application/x-ndjson", "1\n2", json!("MQoy")),
        ("application/x-www-form-urlencoded", "[1]", json!([1])),
        ("application/json", "", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, topic) = (n.to_string(), format!("data:{n}"));
        let headers = [
            ("Content-Type", content_type),
            ("ce-specversion", "1.0"),
            ("ce-id", &id),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-topic", &topic),
        ];
        let answer = binary(&gateway, &headers, body).await;
        assert_eq!(answer.status, 200, "{content_type}: {}", answer.body);
        let published: Value = serde_json::from_str(&history(&gateway, &topic).await).unwrap();
        assert_eq!(published["events"][0]["data"], data, "{content_type}");
    }
}

#[tokio::test]
async fn what_is_no_event_says_what_is_wrong() {
    let gateway = Gateway::serve(&["--max-data-bytes", "100"]).await;
    let cases = [
        ("specversion", json!("0.3"), "1.0"),
        ("specversion", Value::Null, "null"),
        ("id", json!(""), "id"),
        ("id", json!("x".repeat(129)), "id"),
        ("source", json!(7), "string"),
        ("source", json!("x".repeat(1025)), "source"),
        ("type", json!("a,b"), "type"),
        ("type", json!("presence.join"), "type"),
        ("subject", Value::Null, "topic"),
        ("subject", json!("a b"), "topic"),
        ("data_base64", json!("?"), "Base64"),
    ];
    for (member, value, says) in cases {
        let mut event = event("1");
        event[member] = value;
        let answer = structured(&gateway, &event).await;
        assert_eq!(answer.status, 400, "{event}: {}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{event}: {}", answer.body);
    }
    let mut both = event("1");
    (both["data"], both["data_base64"]) = (json!(1), json!("AQI="));
    assert_eq!(structured(&gateway, &both).await.status, 400);
    assert_eq!(structured(&gateway, &json!(["1.0", "1", "/s", "t", "room:1"])).await.status, 400, "an array");
    let mut large = event("1");
    large["data"] = json!("x".repeat(100));
    assert_eq!(structured(&gateway, &large).await.status, 413);
    // Another format must not be taken for the data of an event in binary mode.
    for kind in
        ["application/cloudevents", "application/cloudevents+avro", "Application/CloudEvents-batch+xml"]
    {
        let headers = [("Content-Type", kind), ("ce-specversion", "1.0"), ("ce-id", "1")];
        let answer = binary(&gateway, &headers, "{}").await;
        assert_eq!(answer.status, 400, "{kind}");
        assert!(answer.body.contains("application/cloudevents+json"), "{}", answer.body);
    }
    let twice = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-id", "2")];
    assert!(binary(&gateway, &twice, "1").await.body.contains("ce-id: given more than once"));
}

#[tokio::test]
async fn a_user_publishes_events_only_where_the_token_allows() {
    let gateway = Gateway::serve(&[]).await;
    let bearer = format!("Bearer {}", token("alice", &["--publish", "room:1"]));
    let headers = [("Authorization", &*bearer), STRUCTURED];
    let allowed = post(gateway.address, "/v1/publish", &headers, &event("1").to_string()).await;
    assert_eq!(allowed.status, 200, "{}", allowed.body);
    let mut other = event("2");
    other["topic"] = json!("room:2");
    assert_eq!(post(gateway.address, "/v1/publish", &headers, &other.to_string()).await.status, 403);
}
