//! `POST /v1/publish` and `GET /v1/history`.

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Sse, get, get_with, post, seqs, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");

async fn publish(gateway: &Gateway, body: &Value) -> Answer {
    post(gateway.address, "/v1/publish", &[KEY], &body.to_string()).await
}

async fn history(gateway: &Gateway, query: &str) -> Value {
    let answer = get_with(gateway.address, &format!("/v1/history?{query}"), &[KEY]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[tokio::test]
async fn a_draft_becomes_an_event_with_everything_the_publisher_gave() {
    let gateway = Gateway::serve(&[]).await;
    let draft = json!({"topic": "room:1", "type": "message.new", "data": {"a": [1, null, "ü"]}, "key": "k", "id": "e-1"});
    let answer = publish(&gateway, &draft).await.json();
    assert_eq!((&answer["seq"], &answer["duplicate"]), (&json!(1), &json!(false)), "{answer}");
    let (epoch, seq) = answer["cursor"].as_str().unwrap().split_once('.').unwrap();
    assert!(!epoch.is_empty() && seq == "1");
    let batch = history(&gateway, "topic=room:1").await;
    assert_eq!(batch["cursor"], answer["cursor"]);
    let event = &batch["events"][0];
    for member in ["topic", "type", "data", "key", "id"] {
        assert_eq!(event[member], draft[member], "{member}");
    }
    let time = event["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    let plain = json!({"topic": "room:1", "type": "t", "data": null});
    publish(&gateway, &plain).await;
    let event = &history(&gateway, "topic=room:1").await["events"][1];
    assert!(event.get("key").is_none() && event.get("id").is_none() && event["data"].is_null(), "{event}");
}

#[tokio::test]
async fn malformed_drafts_name_what_is_wrong() {
    let gateway = Gateway::serve(&[]).await;
    let good = json!({"topic": "t", "type": "t", "data": 1});
    for (member, value, status) in [
        ("topic", json!("a b"), 400),
        ("topic", json!("t".repeat(129)), 400),
        ("topic", json!(""), 400),
        ("topic", json!(7), 400),
        ("topics", json!(["other"]), 400),
        ("type", json!(""), 400),
        ("type", json!("t".repeat(65)), 400),
        ("ttl_ms", json!(0), 400),
        ("ttl_ms", json!(-1), 400),
        ("ttl_ms", json!("1"), 400),
        ("expect", json!(-1), 400),
        ("expect", json!(9_007_199_254_740_992_u64), 400),
        ("ephemeral", json!("yes"), 400),
        ("wings", json!(2), 400),
        ("data", json!("x".repeat(10 * 1024)), 413),
    ] {
        let mut draft = good.clone();
        draft[member] = value.clone();
        let answer = publish(&gateway, &draft).await;
        assert_eq!(answer.status, status, "{member} = {value}: {}", answer.body);
    }
    for body in [
        "",
        "{",
        "7",
        "null",
        "{} {}",
        r#"{"topic":"t","type":"t"}"#,
        r#"{"type":"t","data":1}"#,
        "[{}",
        "\u{1}",
    ] {
        assert_eq!(post(gateway.address, "/v1/publish", &[KEY], body).await.status, 400, "{body:?}");
    }
    // The members of a draft in order, without their names.
    let positional = post(gateway.address, "/v1/publish", &[KEY], r#"[["t",null,"t",1]]"#).await;
    assert!(!positional.body.contains(r#""seq":"#), "{}", positional.body);
    for (topic, kind) in [("t".repeat(128), "t".repeat(64)), ("AZaz09_.:@/-".to_owned(), "t".to_owned())] {
        let draft = json!({"topic": topic, "type": kind, "data": "x".repeat(10 * 1024 - 2)});
        assert_eq!(publish(&gateway, &draft).await.status, 200, "exactly the limits");
    }
}

#[tokio::test]
async fn an_event_of_several_topics_is_delivered_once_to_each_session() {
    let gateway = Gateway::serve(&[]).await;
    let token = token("alice", &["--subscribe", "*"]);
    let mut both = Sse::open(gateway.address, &format!("token={token}&topics=a,b")).await;
    let mut one = Sse::open(gateway.address, &format!("token={token}&topics=b")).await;
    both.batch().await;
    one.batch().await;
    let first = gateway.publish(json!({"topics": ["b", "a", "user:alice"], "type": "t", "data": 1})).await;
    let last = gateway.publish(json!({"topic": "b", "type": "t", "data": 2})).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        seen.extend(seqs(&both.events().await));
    }
    assert_eq!(seen, [first, last]);
    let event = one.events().await["events"][0].clone();
    assert_eq!(event["seq"], first);
    assert!(
        ["user:alice", "b"].contains(&event["topic"].as_str().unwrap()),
        "a topic that the session has: {event}"
    );
    for topics in [json!([]), json!(["a b"]), json!("a")] {
        let answer = publish(&gateway, &json!({"topics": topics, "type": "t", "data": 1})).await;
        assert_eq!(answer.status, 400, "{topics}");
    }
}

#[tokio::test]
async fn of_events_with_a_key_only_the_latest_need_be_in_a_batch() {
    let gateway = Gateway::serve(&[]).await;
    for n in 0..5 {
        gateway.publish(json!({"topic": "t", "type": "p", "data": n, "key": "job"})).await;
        gateway.publish(json!({"topic": "t", "type": "p", "data": n})).await;
        gateway.publish(json!({"topic": "t", "type": "p", "data": n, "key": "other"})).await;
        gateway.publish(json!({"topic": "t", "type": "q", "data": n, "key": "job"})).await;
    }
    let batch = history(&gateway, "topic=t").await;
    let events = batch["events"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event.get("key").is_none()).count(), 5, "without a key: all");
    let keyed: Vec<_> = events.iter().filter(|event| event.get("key").is_some()).collect();
    assert_eq!(keyed.len(), 3, "one for each type and key: {keyed:?}");
    assert!(keyed.iter().all(|event| event["data"] == 4), "the latest: {keyed:?}");
}

#[tokio::test]
async fn an_event_past_its_time_to_live_is_not_replayed_and_that_is_no_reset() {
    let gateway = Gateway::serve(&[]).await;
    let start = history(&gateway, "topic=t&after=latest").await["cursor"].as_str().unwrap().to_owned();
    gateway.publish(json!({"topic": "t", "type": "t", "data": 1, "ttl_ms": 1})).await;
    let kept = gateway.publish(json!({"topic": "t", "type": "t", "data": 2, "ttl_ms": 600_000})).await;
    crate::support::eventually("the first is over", async || {
        let batch = history(&gateway, &format!("topic=t&after={start}")).await;
        assert!(batch.get("reset").is_none(), "{batch}");
        seqs(&batch) == [kept]
    })
    .await;
}

#[tokio::test]
async fn an_ephemeral_event_reaches_who_is_there_and_is_never_replayed() {
    let gateway = Gateway::serve(&[]).await;
    let query = format!("token={}&topics=t", token("alice", &["--subscribe", "t"]));
    let mut sse = Sse::open(gateway.address, &query).await;
    let cursor = sse.batch().await.unwrap()["cursor"].clone();
    let waiting = tokio::spawn({
        let target = format!("/v1/poll?{query}&after={}", cursor.as_str().unwrap());
        let address = gateway.address;
        async move { get(address, &target).await.json() }
    });
    crate::support::eventually("the poll waits", async || gateway.stats().await["byTransport"]["poll"] == 1)
        .await;
    let draft = json!({"topic": "t", "type": "cursor", "data": {"x": 1}, "ephemeral": true});
    let answer = publish(&gateway, &draft).await.json();
    assert!(answer.get("seq").is_none() && answer["cursor"] == cursor, "{answer}");
    for batch in [sse.events().await, waiting.await.unwrap()] {
        let event = &batch["events"][0];
        assert!(event.get("seq").is_none() && event["data"] == json!({"x": 1}), "{event}");
        assert_eq!(batch["cursor"], cursor, "it moves no cursor");
    }
    let replay = history(&gateway, "topic=t").await;
    assert_eq!(replay["events"], json!([]));
}

#[tokio::test]
async fn expect_appends_only_behind_the_event_that_it_names() {
    let gateway = Gateway::serve(&[]).await;
    let draft = |expect: u64| json!({"topic": "doc", "type": "op", "data": 1, "expect": expect});
    let first = gateway.publish(draft(0)).await;
    gateway.publish(json!({"topic": "other", "type": "op", "data": 1})).await;
    let answer = publish(&gateway, &draft(0)).await;
    assert_eq!(answer.status, 409);
    let problem = answer.json();
    assert_eq!((&problem["code"], &problem["seq"]), (&json!("conflict"), &json!(first)), "{problem}");
    let second = gateway.publish(draft(first)).await;
    let array = json!([draft(first), draft(second), draft(second)]);
    let results = publish(&gateway, &array).await.json();
    assert_eq!(results["results"][0]["error"]["code"], "conflict");
    assert_eq!(results["results"][0]["error"]["seq"], second);
    assert!(results["results"][1]["seq"].is_u64(), "{results}");
    assert_eq!(results["results"][2]["error"]["seq"], results["results"][1]["seq"]);
    let several = json!({"topics": ["a", "b"], "type": "op", "data": 1, "expect": 0});
    assert_eq!(publish(&gateway, &several).await.status, 400);
}

#[tokio::test]
async fn a_repeated_id_is_answered_with_the_first_result() {
    let gateway = Gateway::serve(&[]).await;
    let draft = json!({"topic": "t", "type": "t", "data": 1, "id": "once"});
    let first = publish(&gateway, &draft).await.json();
    let again = publish(&gateway, &draft).await.json();
    assert_eq!((&again["seq"], &again["cursor"]), (&first["seq"], &first["cursor"]));
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
    let plain = json!({"topic": "t", "type": "t", "data": 2}).to_string();
    let headers = [KEY, ("Idempotency-Key", "by-header")];
    let first = post(gateway.address, "/v1/publish", &headers, &plain).await.json();
    let again = post(gateway.address, "/v1/publish", &headers, &plain).await.json();
    assert_eq!((&again["seq"], &again["duplicate"]), (&first["seq"], &json!(true)));
    let results = publish(&gateway, &json!([draft, draft])).await.json();
    assert_eq!(
        (&results["results"][0]["duplicate"], &results["results"][1]["duplicate"]),
        (&json!(true), &json!(true))
    );
    // The ids of a user are the user's own: nobody can take another's away.
    let token = format!("Bearer {}", token("mallory", &["--publish", "t"]));
    let other =
        post(gateway.address, "/v1/publish", &[("Authorization", &token)], &draft.to_string()).await.json();
    assert_eq!(other["duplicate"], false, "{other}");
    assert_eq!(seqs(&history(&gateway, "topic=t").await).len(), 3);
}

#[tokio::test]
async fn racing_repeats_are_appended_once() {
    let gateway = Gateway::serve(&[]).await;
    let body = json!({"topic": "t", "type": "t", "data": 1, "id": "once"}).to_string();
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let (address, body) = (gateway.address, body.clone());
            tokio::spawn(async move { post(address, "/v1/publish", &[KEY], &body).await.json() })
        })
        .collect();
    let mut firsts = 0;
    for answer in racing {
        let answer = answer.await.unwrap();
        assert_eq!(answer["seq"], 1);
        firsts += u32::from(answer["duplicate"] == false);
    }
    assert_eq!(firsts, 1);
}

#[tokio::test]
async fn many_drafts_are_answered_each_in_its_place() {
    let gateway = Gateway::serve(&[]).await;
    let good = |n: u64| json!({"topic": "t", "type": "t", "data": n});
    let array = json!([good(1), {"topic": "t"}, 7, good(2), {"topic": "a b", "type": "t", "data": 1}]);
    let results = publish(&gateway, &array).await.json()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 5);
    assert_eq!((&results[0]["seq"], &results[3]["seq"]), (&json!(1), &json!(2)));
    for at in [1, 2, 4] {
        assert_eq!(results[at]["error"]["code"], "bad_request", "{results}");
        assert!(results[at]["error"]["message"].is_string());
    }
    let lines = format!("{}\r\n\n not json\n{}", good(3), good(4));
    let headers = [KEY, ("Content-Type", "application/x-ndjson; charset=utf-8")];
    let results = post(gateway.address, "/v1/publish", &headers, &lines).await.json()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 3, "empty lines are nothing: {results}");
    assert_eq!((&results[0]["seq"], &results[2]["seq"]), (&json!(3), &json!(4)));
    assert_eq!(results[1]["error"]["code"], "bad_request");
    let line = post(gateway.address, "/v1/publish", &headers, &good(5).to_string()).await.json();
    assert_eq!(line["results"][0]["seq"], 5, "one line is still an array of results");
    assert_eq!(publish(&gateway, &json!([])).await.json(), json!({"results": []}));
    let many: Vec<_> = (0..1001).map(good).collect();
    assert_eq!(publish(&gateway, &json!(many)).await.status, 413);
    let data: Vec<_> = history(&gateway, "topic=t").await["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["data"].clone())
        .collect();
    assert_eq!(json!(data), json!([1, 2, 3, 4, 5]));
}

#[tokio::test]
async fn a_token_publishes_where_its_grant_allows() {
    let gateway = Gateway::serve(&[]).await;
    let bearer = format!("Bearer {}", token("alice", &["--publish", "room:*"]));
    let with = [("Authorization", bearer.as_str())];
    let draft = |topic: &str| json!({"topic": topic, "type": "t", "data": 1}).to_string();
    let status = async |body: &str| post(gateway.address, "/v1/publish", &with, body).await.status;
    assert_eq!(status(&draft("room:1")).await, 200);
    assert_eq!(status(&draft("job:1")).await, 403);
    assert_eq!(status(&draft("user:alice")).await, 403, "not even to oneself without a grant");
    assert_eq!(
        status(&json!({"topics": ["room:1", "job:1"], "type": "t", "data": 1}).to_string()).await,
        403
    );
    let array =
        json!([{"topic": "job:1", "type": "t", "data": 1}, {"topic": "room:1", "type": "t", "data": 1}]);
    let results = post(gateway.address, "/v1/publish", &with, &array.to_string()).await.json();
    assert_eq!(results["results"][0]["error"]["code"], "forbidden");
    assert!(results["results"][1]["seq"].is_u64());
    for (headers, expected) in [
        (vec![], 401),
        (vec![("Authorization", "Bearer wrong")], 401),
        (vec![("Authorization", "Basic a2V5OmtleQ==")], 401),
        (vec![("Cookie", "throughline_token=key")], 401),
    ] {
        let answer = post(gateway.address, "/v1/publish", &headers, &draft("room:1")).await;
        assert_eq!(answer.status, expected, "{headers:?}");
    }
    assert_eq!(
        post(gateway.address, "/v1/publish?access_token=key", &[], &draft("t")).await.status,
        401,
        "no keys in URLs"
    );
}

#[tokio::test]
async fn history_pages_through_what_is_retained() {
    let gateway = Gateway::serve(&["--ring-events", "5"]).await;
    for n in 0..8 {
        gateway.publish(json!({"topic": "t", "type": "t", "data": n})).await;
    }
    let all = history(&gateway, "topic=t").await;
    assert_eq!(seqs(&all), [4, 5, 6, 7, 8], "left out: the earliest retained");
    assert!(all.get("reset").is_none());
    let page = history(&gateway, "topic=t&limit=2").await;
    assert_eq!((seqs(&page), &page["more"]), (vec![4, 5], &json!(true)));
    let next =
        history(&gateway, &format!("topic=t&limit=3&after={}", page["cursor"].as_str().unwrap())).await;
    assert_eq!((seqs(&next), next.get("more"), &next["after"]), (vec![6, 7, 8], None, &page["cursor"]));
    let epoch = all["cursor"].as_str().unwrap().split('.').next().unwrap();
    let old = history(&gateway, &format!("topic=t&after={epoch}.1")).await;
    assert_eq!(old["reset"]["reason"], "expired");
    assert_eq!((&old["reset"]["topics"], seqs(&old)), (&json!(["t"]), vec![4, 5, 6, 7, 8]));
    assert_eq!(old["after"], format!("{epoch}.1"));
    let get = async |query: &str, headers: &[(&str, &str)]| {
        get_with(gateway.address, &format!("/v1/history?{query}"), headers).await.status
    };
    assert_eq!(get("", &[KEY]).await, 400);
    assert_eq!(get("topic=a%20b", &[KEY]).await, 400);
    assert_eq!(get("topic=t&after=x", &[KEY]).await, 400);
    assert_eq!(get("topic=t", &[]).await, 401);
    let reads_t = format!("Bearer {}", token("alice", &["--subscribe", "t"]));
    assert_eq!(get("topic=t", &[("Authorization", &reads_t)]).await, 200);
    assert_eq!(get("topic=user:alice", &[("Authorization", &reads_t)]).await, 200);
    assert_eq!(get("topic=user:bob", &[("Authorization", &reads_t)]).await, 403);
}
