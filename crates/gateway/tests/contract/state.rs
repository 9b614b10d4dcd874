//! States of topics: `GET /v1/state`, and `state=1` on streams and polls.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Gateway, Sse, Ws, get, get_with, post, token};

/// How many batches a test waits for at most.
const BATCHES_MAX: usize = 5_000;

fn query(topics: &str) -> String {
    format!("token={}&topics={topics}&state=1", token("alice", &["--subscribe", "job:*"]))
}

async fn set(gateway: &Gateway, topic: &str, key: &str, data: Value) -> u64 {
    gateway.publish(json!({"topic": topic, "type": "progress", "key": key, "data": data})).await
}

async fn state(gateway: &Gateway, more: &str) -> Value {
    let target = format!("/v1/state?{}&{more}", query(""));
    let answer = get(gateway.address, &target).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// A client's view: the latest data of each key, from parts and events, each of them once.
#[derive(Default)]
struct Mirror {
    keys: BTreeMap<String, Value>,
    seen: Vec<u64>,
    /// The first part has come, and the last has.
    parts: usize,
    is_whole: bool,
    is_partial: bool,
}

impl Mirror {
    fn take(&mut self, batch: &Value) {
        for part in batch["state"].as_array().into_iter().flatten() {
            self.parts += 1;
            self.is_whole = part.get("next").is_none();
            self.is_partial |= part["partial"] == true;
            self.take_events(&part["events"]);
        }
        self.take_events(&batch["events"]);
    }

    fn take_events(&mut self, events: &Value) {
        for event in events.as_array().unwrap() {
            let seq = event["seq"].as_u64().unwrap();
            assert!(!self.seen.contains(&seq), "{event} came twice");
            self.seen.push(seq);
            let key = event["key"].as_str().unwrap().to_owned();
            if event["data"].is_null() {
                self.keys.remove(&key);
            } else {
                self.keys.insert(key, event["data"].clone());
            }
        }
    }

    fn has(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }
}

#[tokio::test]
async fn who_comes_late_sees_where_things_stand_and_then_follows() {
    let gateway = Gateway::serve(&["--state", "job:*", "--ring-events", "1"]).await;
    for (key, data) in
        [("a", json!(1)), ("b", json!(2)), ("c", json!(3)), ("b", json!(null)), ("a", json!(4))]
    {
        set(&gateway, "job:1", key, data).await;
    }
    let expected = json!({"a": 4, "c": 3});

    let mut ws = Ws::open(gateway.address, &query("job:1,job:2")).await;
    let hello = ws.batch().await;
    assert_eq!(hello["hello"]["state"], json!(["job:1", "job:2"]), "{hello}");
    let told = ws.batch().await;
    assert_eq!((&told["after"], &told["cursor"]), (&hello["cursor"], &hello["cursor"]));
    assert_eq!(told["state"][1], json!({"topic": "job:2", "cursor": hello["cursor"], "events": []}));
    let mut mirror = Mirror::default();
    mirror.take(&told);
    assert_eq!(json!(mirror.keys), expected);

    let mut sse = Sse::open(gateway.address, &query("job:1")).await;
    let mut late = Mirror::default();
    for _ in 0..2 {
        late.take(&sse.batch().await.unwrap());
    }
    assert_eq!((json!(late.keys), late.parts, late.is_whole), (expected.clone(), 1, true));

    let polled = get(gateway.address, &format!("/v1/poll?{}", query("job:1"))).await.json();
    let mut polls = Mirror::default();
    polls.take(&polled);
    assert_eq!((json!(polls.keys), polls.is_whole), (expected.clone(), true), "{polled}");

    set(&gateway, "job:1", "c", json!(5)).await;
    for (mirror, batch) in [(&mut mirror, ws.events().await), (&mut late, sse.events().await)] {
        mirror.take(&batch);
        assert_eq!(mirror.has("c"), Some(&json!(5)));
    }
    let after = polled["cursor"].as_str().unwrap();
    let batch = get(gateway.address, &format!("/v1/poll?{}&after={after}", query("job:1"))).await.json();
    polls.take(&batch);
    assert_eq!((polls.has("c"), batch.get("state")), (Some(&json!(5)), None));
}

#[tokio::test]
async fn a_state_can_be_asked_for_and_followed_from_its_cursor() {
    let gateway = Gateway::serve(&["--state", "job:*"]).await;
    for key in ["a", "b", "c", "d", "e"] {
        set(&gateway, "job:1", key, json!(key)).await;
    }
    let mut mirror = Mirror::default();
    let first = state(&gateway, "topic=job:1&limit=2").await;
    let cursor = first["cursor"].clone();
    // What changes in between is in no later page: it follows.
    set(&gateway, "job:1", "e", json!("E")).await;
    set(&gateway, "job:1", "a", json!(null)).await;
    let next = first["next"].as_str().unwrap();
    let second = state(&gateway, &format!("topic=job:1&limit=2&next={next}")).await;
    assert_eq!((&second["cursor"], second.get("next")), (&cursor, None), "`e` has changed: {second}");
    mirror.take(&json!({"state": [first, second], "events": []}));
    assert_eq!(mirror.keys.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let after = cursor.as_str().unwrap();
    let batch = get(gateway.address, &format!("/v1/poll?{}&after={after}", query("job:1"))).await.json();
    mirror.take(&batch);
    assert_eq!(json!(mirror.keys), json!({"b": "b", "c": "c", "d": "d", "e": "E"}));

    let unknown = state(&gateway, "topic=job:1&next=zzzz.7.3").await;
    assert_eq!(unknown["events"].as_array().unwrap().len(), 4, "a page of another history begins anew");
    assert_ne!(unknown["cursor"], cursor);
}

#[tokio::test]
async fn a_state_that_is_not_there_is_said_in_one_clear_answer() {
    let gateway = Gateway::serve(&["--state", "job:*"]).await;
    let ask = async |target: &str| get(gateway.address, &format!("/v1/state?{}&{target}", query(""))).await;
    let none = ask("topic=user:alice").await;
    assert_eq!((none.status, &none.json()["code"]), (404, &json!("not_found")));
    assert!(none.json()["detail"].as_str().unwrap().contains("--state"), "{}", none.body);
    assert_eq!(ask("topic=user:bob").await.status, 403);
    assert_eq!(get(gateway.address, "/v1/state?topic=job:1").await.status, 401);
    assert_eq!(ask("").await.status, 400);
    assert_eq!(ask("topic=job:1&next=x").await.status, 400);
    assert_eq!(ask("topic=job:1&limit=x").await.status, 400);
    let empty = ask("topic=job:1").await.json();
    assert_eq!(empty, json!({"topic": "job:1", "cursor": empty["cursor"], "events": []}));
    let key = [("authorization", gateway.key())];
    assert_eq!(get_with(gateway.address, "/v1/state?topic=job:1", &key).await.status, 200);
}

#[tokio::test]
async fn a_state_that_has_not_changed_is_not_sent_again() {
    let gateway = Gateway::serve(&["--state", "job:*", "--state-keys", "2", "--ring-events", "2"]).await;
    let target = format!("/v1/state?{}&topic=job:1", query(""));
    let ask = async |tag: &str| get_with(gateway.address, &target, &[("if-none-match", tag)]).await;
    set(&gateway, "job:1", "a", json!(1)).await;
    let first = get(gateway.address, &target).await;
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("W/\"{}\"", first.json()["cursor"].as_str().unwrap()));
    set(&gateway, "job:2", "a", json!(1)).await;
    let same = ask(&tag).await;
    assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", Some(&*tag)));
    assert_eq!(ask("\"zzzz.1\"").await.status, 200);
    set(&gateway, "job:1", "a", json!(null)).await;
    let gone = ask(&tag).await;
    assert_eq!((gone.status, &gone.json()["events"]), (200, &json!([])), "a tombstone is a change");
    for key in ["a", "b", "c"] {
        set(&gateway, "job:1", key, json!(1)).await;
    }
    let partial = ask(gone.header("etag").unwrap()).await.json();
    assert_eq!((&partial["partial"], partial["events"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(gateway.metric("throughline_state_keys_evicted_total").await, 1.0);
    assert_eq!(gateway.metric("throughline_state_keys").await, 3.0);
}

#[tokio::test]
async fn a_user_takes_no_key_of_another_publisher_out_of_a_state() {
    let gateway = Gateway::serve(&["--state", "job:*", "--ring-events", "1"]).await;
    let publish = async |user: &str, data: Value| {
        let bearer = format!("Bearer {}", token(user, &["--publish", "job:*"]));
        let draft = json!({"topic": "job:1", "type": "progress", "key": "scan", "data": data});
        let headers = [("authorization", &*bearer)];
        assert_eq!(
            post(gateway.address, "/v1/publish", &headers, &draft.to_string()).await.status,
            200,
            "{user}"
        );
    };
    let data = async || {
        let events = state(&gateway, "topic=job:1").await["events"].take();
        events.as_array().unwrap().iter().map(|event| event["data"].clone()).collect::<Vec<_>>()
    };
    set(&gateway, "job:1", "scan", json!("backend")).await;
    publish("alice", json!("alice")).await;
    publish("bob", json!("bob")).await;
    publish("bob", json!(null)).await;
    assert_eq!(data().await, ["backend", "alice"]);
    publish("alice", json!("alice again")).await;
    set(&gateway, "job:1", "scan", json!(null)).await;
    assert_eq!(data().await, ["alice again"]);
}

#[tokio::test]
async fn a_state_of_which_something_is_hidden_is_never_taken_for_the_same() {
    let gateway = Gateway::serve(&["--state", "job:*", "--redact", "job:*=/cost,staff"]).await;
    let data = json!({"n": 1, "cost": 7});
    gateway.publish(json!({"topic": "job:1", "type": "progress", "key": "a", "data": data})).await;
    let staff = token("alice", &["--subscribe", "job:*", "--scope", "staff"]);
    let ask = async |token: &str, tag: &str| {
        let headers = [("authorization", &*format!("Bearer {token}")), ("if-none-match", tag)];
        get_with(gateway.address, "/v1/state?topic=job:1", &headers).await
    };
    let whole = ask(&staff, "\"zzzz.1\"").await;
    assert_eq!((whole.status, &whole.json()["events"][0]["data"]), (200, &data));
    let tag = whole.header("etag").unwrap();
    assert_eq!(ask(&staff, tag).await.status, 304);
    let other = token("alice", &["--subscribe", "job:*"]);
    let hidden = ask(&other, tag).await;
    assert_eq!((hidden.status, hidden.header("etag")), (200, None), "the scope is gone");
    assert_eq!(hidden.json()["events"][0]["data"], json!({"n": 1}));
}

#[tokio::test]
async fn a_large_state_comes_in_parts_between_the_changes_that_go_on() {
    const KEYS: usize = 400;
    let gateway = Gateway::serve(&["--state", "job:*", "--ring-events", "10000"]).await;
    for at in 0..KEYS {
        set(&gateway, "job:1", &format!("k{at}"), json!(["x".repeat(100), 0])).await;
    }
    let changing = async |gateway: &Gateway, round: usize| {
        set(gateway, "job:1", &format!("k{}", (round * 37) % KEYS), json!(round)).await;
    };
    let mut ws = Ws::open(gateway.address, &format!("{}&batch=4096", query("job:1"))).await;
    let mut mirror = Mirror::default();
    let mut rounds = 0;
    for _ in 0..BATCHES_MAX {
        let batch = ws.batch().await;
        assert!(batch.to_string().len() <= 4096, "{}", batch.to_string().len());
        mirror.take(&batch);
        if mirror.is_whole {
            break;
        }
        rounds += 1;
        changing(&gateway, rounds).await;
    }
    assert!(mirror.is_whole && mirror.parts > 10, "{} parts", mirror.parts);
    let last = set(&gateway, "job:1", "last", json!("last")).await;
    for _ in 0..BATCHES_MAX {
        if mirror.seen.contains(&last) {
            break;
        }
        mirror.take(&ws.batch().await);
    }
    let truth = state(&gateway, "topic=job:1").await;
    assert_eq!(truth.get("next"), None);
    let mut expected = Mirror::default();
    expected.take(&json!({"state": [truth], "events": []}));
    assert_eq!((mirror.keys.len(), mirror.keys), (KEYS + 1, expected.keys));
}

#[tokio::test]
async fn a_reset_brings_the_states_of_its_topics_with_it() {
    let gateway = Gateway::serve(&["--state", "job:*", "--ring-events", "2"]).await;
    set(&gateway, "job:1", "a", json!(1)).await;
    set(&gateway, "job:2", "z", json!(1)).await;
    let after = state(&gateway, "topic=job:1").await["cursor"].as_str().unwrap().to_owned();
    for at in 2..6 {
        set(&gateway, "job:1", &format!("k{at}"), json!(at)).await;
    }
    let mut ws = Ws::open(gateway.address, &format!("{}&after={after}", query("job:1,job:2"))).await;
    let hello = ws.batch().await;
    assert_eq!(hello["reset"]["topics"], json!(["job:1"]), "{hello}");
    assert_eq!(hello["hello"]["state"], json!(["job:1"]), "job:2 is complete");
    let mut mirror = Mirror::default();
    for _ in 0..10 {
        if mirror.is_whole {
            break;
        }
        mirror.take(&ws.batch().await);
    }
    assert_eq!(json!(mirror.keys), json!({"a": 1, "k2": 2, "k3": 3, "k4": 4, "k5": 5}));

    let polled =
        get(gateway.address, &format!("/v1/poll?{}&after={after}", query("job:1,job:2"))).await.json();
    assert_eq!(polled["reset"]["topics"], json!(["job:1"]));
    let mut mirror = Mirror::default();
    mirror.take(&polled);
    assert_eq!((mirror.keys.len(), mirror.is_whole), (5, true), "{polled}");
    let after = polled["cursor"].as_str().unwrap();
    let resumed = format!("{}&after={after}", query("job:1"));
    let mut resumed = Ws::open(gateway.address, &resumed).await;
    assert_eq!(resumed.batch().await["hello"].get("state"), None, "nothing is missing");
}

#[tokio::test]
async fn an_event_stream_has_no_id_until_the_state_is_whole() {
    let gateway = Gateway::serve(&["--state", "job:*"]).await;
    for at in 0..100 {
        set(&gateway, "job:1", &format!("k{at}"), json!("x".repeat(100))).await;
    }
    let target = format!("{}&batch=4096", query("job:1"));
    let mut sse = Sse::open(gateway.address, &target).await;
    let mut mirror = Mirror::default();
    for _ in 0..BATCHES_MAX {
        let (batch, id) = sse.batch_with_id().await.unwrap();
        mirror.take(&batch);
        let expected = if mirror.is_whole { batch["cursor"].as_str().unwrap() } else { "" };
        assert_eq!(id, expected, "{batch}");
        if mirror.is_whole {
            break;
        }
    }
    assert!(mirror.is_whole && mirror.parts > 2);
}

#[tokio::test]
async fn a_topic_that_is_subscribed_to_later_begins_with_its_state() {
    let gateway = Gateway::serve(&["--state", "job:*"]).await;
    set(&gateway, "job:1", "a", json!(1)).await;
    let mut ws = Ws::open(gateway.address, &query("")).await;
    assert_eq!(ws.batch().await["hello"].get("state"), None);
    ws.command(json!({"id": "1", "op": "subscribe", "topics": ["job:1"]})).await;
    let mut mirror = Mirror::default();
    for _ in 0..10 {
        if mirror.is_whole {
            break;
        }
        mirror.take(&ws.batch().await);
    }
    assert_eq!(json!(mirror.keys), json!({"a": 1}));
    set(&gateway, "job:1", "a", json!(2)).await;
    mirror.take(&ws.events().await);
    assert_eq!(json!(mirror.keys), json!({"a": 2}));
}

#[tokio::test]
async fn a_state_shows_no_more_than_the_stream_does() {
    let options = ["--state", "job:*", "--redact", "job:*=/cost,staff"];
    let gateway = Gateway::serve(&options).await;
    let event = json!({"topic": "job:1", "type": "progress", "key": "a", "data": {"n": 1, "cost": 7}});
    gateway.publish(event).await;
    let seen = json!({"n": 1});
    assert_eq!(state(&gateway, "topic=job:1").await["events"][0]["data"], seen);
    let mut ws = Ws::open(gateway.address, &query("job:1,other:1")).await;
    assert_eq!(ws.batch().await["hello"]["refused"][0]["topic"], "other:1");
    assert_eq!(ws.batch().await["state"][0]["events"][0]["data"], seen);
    let filtered = format!("{}&types=other", query("job:1"));
    let mut filtered = Ws::open(gateway.address, &filtered).await;
    filtered.batch().await;
    assert_eq!(filtered.batch().await["state"][0]["events"], json!([]));
}
