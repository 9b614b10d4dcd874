//! Real answers of the gateway against the schemas: every endpoint, every kind of batch, reply and problem.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::schema_set::{SchemaSet, read, repository};
use crate::wire::{Answer, Connection, PATIENCE, Sent, request};

/// A token of the user `name` that `gateway dev` accepts.
fn token(name: &str, more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["token", "--user", name, "--jwt-secret", "dev-secret"])
        .args(more)
        .output()
        .expect("the gateway prints a token");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a token is text").trim().to_owned()
}

#[track_caller]
fn ok(schemas: &SchemaSet, schema: &str, answer: &Answer) -> Value {
    assert_eq!(answer.head.status, 200, "{}", answer.body);
    assert_eq!(answer.head.headers["content-type"], "application/json");
    schemas.check(schema, &answer.body)
}

#[track_caller]
fn problem(schemas: &SchemaSet, answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.head.status, status, "{}", answer.body);
    assert_eq!(answer.head.headers["content-type"], "application/problem+json");
    let problem = schemas.check("problem", &answer.body);
    assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{problem}");
    problem
}

/// The batch in an SSE message.
#[track_caller]
fn batch_of(schemas: &SchemaSet, message: Option<Sent>) -> Value {
    let Some(Sent::Text(text)) = message else { panic!("no message but {message:?}") };
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    schemas.check("batch", data.unwrap_or(&text))
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn draft(topic: &str, data: &Value) -> String {
    json!({ "topic": topic, "type": "progress", "data": data }).to_string()
}

#[test]
fn publishing_answers_by_the_schemas() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let publish = |body: &str| gateway.post("/v1/publish", &[], body);

    let first = ok(&schemas, "publish-result", &publish(&draft("user:alice", &json!({ "n": 1 }))));
    assert_eq!((&first["seq"], &first["duplicate"]), (&json!(1), &json!(false)));
    let ephemeral = json!({ "topic": "all", "type": "t", "data": null, "ephemeral": true }).to_string();
    let ephemeral = ok(&schemas, "publish-result", &publish(&ephemeral));
    assert_eq!(ephemeral.get("seq"), None);
    let named = json!({ "topics": ["all", "user:bob"], "type": "t", "data": 1, "key": "k", "id": "n-1" });
    let once = ok(&schemas, "publish-result", &publish(&named.to_string()));
    let again = ok(&schemas, "publish-result", &publish(&named.to_string()));
    assert_eq!((&once["seq"], &once["duplicate"]), (&again["seq"], &json!(false)));
    assert_eq!(again["duplicate"], true);
    let keyed = gateway.post("/v1/publish", &[("idempotency-key", "h-1")], &draft("all", &json!(1)));
    ok(&schemas, "publish-result", &keyed);

    let several = json!([
        { "topic": "all", "type": "t", "data": 1 },
        { "topic": "not a topic", "type": "t", "data": 1 },
        { "topic": "all", "type": "t" , "data": 1, "expect": 7_000 },
        { "topic": "all", "type": "t", "data": "x".repeat(11_000) },
        { "topic": "all", "type": "a,b", "data": 1 },
        17,
    ]);
    let results = ok(&schemas, "publish-results", &publish(&several.to_string()));
    let codes: Vec<&Value> = results["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| &result["error"]["code"])
        .collect();
    assert_eq!(
        json!(codes),
        json!([null, "bad_request", "conflict", "too_large", "bad_request", "bad_request"])
    );
    let ndjson = [("content-type", "application/x-ndjson")];
    let lines = format!("{}\n\nnot json\n{}", draft("all", &json!(1)), draft("all", &json!(2)));
    let results = ok(&schemas, "publish-results", &gateway.post("/v1/publish", &ndjson, &lines));
    assert_eq!(results["results"].as_array().map(Vec::len), Some(3), "empty lines are skipped");
    assert_eq!(results["results"][1]["error"]["code"], "bad_request");

    let conflict = json!({ "topic": "user:alice", "type": "t", "data": 1, "expect": 0 }).to_string();
    let conflict = problem(&schemas, &publish(&conflict), 409, "conflict");
    assert_eq!(conflict["seq"], 1);
    for bad in [
        "",
        "{",
        "17",
        r#"{"topic":"a b","type":"t","data":1}"#,
        r#"{"type":"t","data":1}"#,
        r#"{"topic":"a","topics":["b"],"type":"t","data":1}"#,
        r#"{"topics":[],"type":"t","data":1}"#,
        r#"{"topic":"a","data":1}"#,
        r#"{"topic":"a","type":"t"}"#,
        r#"{"topic":"a","type":"t","data":1,"ttl_ms":0}"#,
        r#"{"topic":"a","type":"t","data":1,"ttl_ms":315360000001}"#,
        r#"{"topic":"a","type":"t","data":1,"key":""}"#,
        r#"{"topic":"a","type":"t","data":1,"expect":1,"ephemeral":true}"#,
        r#"{"topics":["a","b"],"type":"t","data":1,"expect":1}"#,
    ] {
        problem(&schemas, &publish(bad), 400, "bad_request");
    }
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    problem(&schemas, &publish(&format!(r#"{{"topic":"a","type":"t","data":{deep}}}"#)), 400, "bad_request");
    problem(&schemas, &publish(&draft("a", &json!("x".repeat(11_000)))), 413, "too_large");
    let many = json!(vec![json!({ "topic": "a", "type": "t", "data": 1 }); 1001]).to_string();
    problem(&schemas, &publish(&many), 413, "too_large");
    problem(&schemas, &publish(&" ".repeat((1 << 20) + 1)), 413, "too_large");
    let keys = [("idempotency-key", "h-2")];
    problem(&schemas, &gateway.post("/v1/publish", &keys, "[]"), 400, "bad_request");
}

#[test]
fn backend_endpoints_answer_by_the_schemas() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let key = [("authorization", "Bearer dev")];
    let health = ok(&schemas, "health", &gateway.get("/health", &[]));
    assert_eq!(health["connections"], 0);
    ok(&schemas, "ready", &gateway.get("/ready", &[]));
    let metrics = gateway.get("/metrics", &[]);
    assert_eq!(metrics.head.status, 200);
    assert!(metrics.head.headers["content-type"].starts_with("text/plain"));

    let mut stream = Connection::open(gateway.address());
    stream.ask("GET", "/v1/sse?user=alice", &[], b"");
    stream.head(soon());
    let hello = batch_of(&schemas, stream.next_message(soon()));
    let stats = ok(&schemas, "stats", &gateway.get("/v1/stats", &key));
    assert_eq!(stats["clientsByUser"], json!([{ "userId": "alice", "connections": 1 }]));
    assert_eq!(stats["byTransport"], json!({ "ws": 0, "sse": 1, "poll": 0, "sio_ws": 0, "sio_poll": 0 }));
    assert_eq!(ok(&schemas, "health", &gateway.get("/health", &[]))["connections"], 1);

    let disconnect = |body: &Value| gateway.post("/v1/disconnect", &[], &body.to_string());
    let session = json!({ "session": hello["hello"]["session"] });
    assert_eq!(ok(&schemas, "disconnect-result", &disconnect(&session))["sessions"], 1);
    assert_eq!(ok(&schemas, "disconnect-result", &disconnect(&json!({ "user": "nobody" })))["sessions"], 0);
    for bad in [json!({}), json!({ "user": "a", "session": "b" }), json!([]), json!({ "user": 1 })] {
        problem(&schemas, &disconnect(&bad), 400, "bad_request");
    }

    for (target, method) in [("/v1/stats", "GET"), ("/v1/disconnect", "POST"), ("/v1/publish", "POST")] {
        let body: &[u8] = if method == "POST" { br#"{"user":"a"}"# } else { b"" };
        let ask = |headers: &[(&str, &str)]| request(gateway.address(), method, target, headers, body);
        problem(&schemas, &ask(&[]), 401, "unauthenticated");
        problem(&schemas, &ask(&[("authorization", "Bearer wrong")]), 401, "unauthenticated");
        if target != "/v1/publish" {
            let bearer = format!("Bearer {}", token("bob", &["--publish", "room:*"]));
            problem(&schemas, &ask(&[("authorization", &bearer)]), 403, "forbidden");
        }
    }
    let bearer = format!("Bearer {}", token("bob", &["--publish", "room:*"]));
    let as_bob =
        |topic: &str| gateway.post("/v1/publish", &[("authorization", &bearer)], &draft(topic, &json!(1)));
    ok(&schemas, "publish-result", &as_bob("room:1"));
    problem(&schemas, &as_bob("user:alice"), 403, "forbidden");
}

#[test]
fn every_kind_of_batch_fits_the_schema() {
    let schemas = SchemaSet::load();
    let gateway = Gateway::dev(&["--ring-events".to_owned(), "4".to_owned()]);
    let poll = |query: &str| gateway.get(&format!("/v1/poll?user=alice&{query}"), &[]);
    let hello = ok(&schemas, "batch", &poll(""));
    assert_eq!(hello["hello"]["transport"], "poll");
    let start = hello["cursor"].as_str().expect("a cursor").to_owned();
    for n in 1..=6 {
        let draft =
            json!({ "topic": "user:alice", "type": "progress", "data": { "n": n }, "id": format!("n-{n}") });
        ok(&schemas, "publish-result", &gateway.post("/v1/publish", &[], &draft.to_string()));
    }
    let reset = ok(&schemas, "batch", &poll(&format!("after={start}")));
    assert_eq!(reset["reset"]["reason"], "expired");
    assert_eq!(reset["events"].as_array().map(Vec::len), Some(4));
    assert_eq!(ok(&schemas, "batch", &poll("after=zzz.1"))["reset"]["reason"], "epoch");
    let (epoch, _) = start.split_once('.').expect("a cursor has a dot");
    let ahead = ok(&schemas, "batch", &poll(&format!("after={epoch}.9000")));
    assert_eq!(ahead["reset"]["reason"], "ahead");
    let earliest = ok(&schemas, "batch", &poll("after=earliest&limit=2"));
    assert_eq!((&earliest["more"], &earliest["reset"]), (&json!(true), &Value::Null));
    let rest =
        ok(&schemas, "batch", &poll(&format!("after={}", earliest["cursor"].as_str().expect("a cursor"))));
    assert_eq!(rest["events"].as_array().map(Vec::len), Some(2));
    let nothing = ok(&schemas, "batch", &poll(&format!("after={epoch}.6&wait=0")));
    assert_eq!(nothing["events"], json!([]));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let posted = request(
        gateway.address(),
        "POST",
        "/v1/poll?user=alice&after=zzz.1",
        &form,
        format!("after={epoch}.6&wait=0").as_bytes(),
    );
    assert_eq!(ok(&schemas, "batch", &posted).get("reset"), None, "the body wins");
    let body = format!("token={}", token("carol", &[]));
    let posted = request(gateway.address(), "POST", "/v1/poll?token=wrong", &form, body.as_bytes());
    assert_eq!(ok(&schemas, "batch", &posted)["hello"]["user"], "carol", "the body's token wins");
    let other = [("content-type", "text/plain")];
    let posted = request(gateway.address(), "POST", "/v1/poll?user=alice", &other, b"after=latest");
    problem(&schemas, &posted, 400, "bad_request");

    let history =
        |query: &str| gateway.get(&format!("/v1/history?{query}"), &[("authorization", "Bearer dev")]);
    let all = ok(&schemas, "batch", &history("topic=user:alice"));
    assert_eq!((all["events"].as_array().map(Vec::len), all.get("more")), (Some(4), None));
    let some = ok(&schemas, "batch", &history("topic=user:alice&limit=3"));
    assert_eq!(some["more"], true);
    let lost = ok(&schemas, "batch", &history(&format!("topic=user:alice&after={start}")));
    assert_eq!(lost["reset"]["reason"], "expired");
    assert_eq!(ok(&schemas, "batch", &history("topic=never:used"))["events"], json!([]));

    let mut stream = Connection::open(gateway.address());
    stream.ask("GET", &format!("/v1/sse?user=alice&after={start}&heartbeat=2"), &[], b"");
    assert_eq!(stream.head(soon()).headers["content-type"], "text/event-stream; charset=utf-8");
    let hello = batch_of(&schemas, stream.next_message(soon()));
    assert_eq!(hello["reset"]["topics"], json!(["user:alice"]));
    let mut batches = vec![hello];
    while !batches.iter().any(|batch| batch["live"] == true) || batches.len() < 4 {
        batches.push(batch_of(&schemas, stream.next_message(soon())));
    }
    assert!(batches.windows(2).all(|pair| pair[0]["cursor"] == pair[1]["after"]), "{batches:?}");
    gateway.post("/v1/disconnect", &[], r#"{"user":"alice"}"#);
    assert_eq!(batch_of(&schemas, stream.next_message(soon()))["bye"]["reason"], "disconnected");
    assert_eq!(stream.next_message(soon()), Some(Sent::End));
}

#[test]
fn a_token_that_ends_is_told_by_the_schema() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let token = token("carol", &["--ttl-seconds", "2"]);
    let mut socket = Connection::open(gateway.address());
    socket.ask_for_websocket(
        "/v1/ws",
        &[("Sec-WebSocket-Protocol", &format!("throughline.v1, bearer.{token}"))],
    );
    assert_eq!(socket.head(soon()).headers["sec-websocket-protocol"], "throughline.v1");
    let mut seen = Vec::new();
    let closed = loop {
        match socket.next_frame(soon()) {
            Some(Sent::Close(code)) => break code,
            text => seen.push(batch_of(&schemas, text)),
        }
    };
    assert_eq!(closed, 4401);
    assert!(seen[0]["hello"]["expires_at"].is_string(), "{seen:?}");
    assert!(
        seen.iter().any(|batch| batch["expiring"] == json!({ "expires_at": seen[0]["hello"]["expires_at"] }))
    );
    assert_eq!(seen.last().expect("a bye")["bye"]["reason"], "expired_token");
}

#[test]
fn replies_fit_the_schema() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let mut socket = Connection::open(gateway.address());
    socket.ask_for_websocket("/v1/ws?user=alice", &[]);
    assert_eq!(socket.head(soon()).status, 101);
    let mut reply = |command: &str| {
        socket.send_text(command);
        loop {
            let Some(Sent::Text(text)) = socket.next_frame(soon()) else { panic!("no reply to {command}") };
            if text.starts_with("{\"reply\"") {
                return schemas.check("reply", &text);
            }
            schemas.check("batch", &text);
        }
    };
    assert_eq!(reply(r#"{"id":"1","op":"ping"}"#)["reply"], "1");
    assert_eq!(reply(r#"{"op":"ping"}"#)["reply"], Value::Null);
    for bad in
        ["{", "17", "[]", r#"{"id":"2"}"#, r#"{"id":"2","op":"fly"}"#, r#"{"id":"2","op":"subscribe"}"#]
    {
        assert_eq!(reply(bad)["error"]["code"], "bad_request", "{bad}");
    }
    assert_eq!(reply(r#"{"id":"3","op":"auth","token":"x"}"#)["error"]["code"], "unauthenticated");
    let subscribed = reply(r#"{"id":4,"op":"subscribe","topics":["room:1"]}"#);
    assert_eq!(subscribed, json!({ "reply": 4, "ok": { "topics": ["user:alice", "all", "room:1"] } }));
    let twice = reply(r#"{"id":10,"op":"subscribe","topics":["room:1","room:2","room:2"]}"#);
    assert_eq!(twice["ok"]["topics"], json!(["user:alice", "all", "room:1", "room:2"]));
    let none = reply(r#"{"id":11,"op":"unsubscribe","topics":["room:2","room:3"]}"#);
    assert_eq!(none["ok"]["topics"], json!(["user:alice", "all", "room:1"]));
    let left = reply(r#"{"id":"5","op":"unsubscribe","topics":["room:1"]}"#);
    assert_eq!(left["ok"]["topics"], json!(["user:alice", "all"]));
    let published =
        reply(r#"{"id":"6","op":"publish","topic":"room:1","type":"t","data":[],"event_id":"e"}"#);
    assert_eq!(published["ok"]["seq"], 1);
    let again = reply(r#"{"id":"7","op":"publish","topic":"room:1","type":"t","data":[],"event_id":"e"}"#);
    assert_eq!((&again["ok"]["seq"], &again["ok"]["duplicate"]), (&json!(1), &json!(true)));
    let conflict = reply(r#"{"id":"8","op":"publish","topic":"room:1","type":"t","data":1,"expect":0}"#);
    assert_eq!((&conflict["error"]["code"], &conflict["error"]["seq"]), (&json!("conflict"), &json!(1)));
    let own = reply(r#"{"id":"9","op":"unsubscribe","topics":["all"]}"#);
    assert_eq!(own["error"]["code"], "bad_request");
}

#[test]
fn refusals_are_problems() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let get = |target: &str| gateway.get(target, &[]);
    for path in ["/v1/sse", "/v1/poll"] {
        problem(&schemas, &get(path), 401, "unauthenticated");
        problem(&schemas, &get(&format!("{path}?access_token=x")), 401, "unauthenticated");
        let bob = token("bob", &["--subscribe", "room:*"]);
        for query in ["after=1", "topics=a%20b", "heartbeat=x", "interval=1.5", "limit=", "wait=x", "types=,"]
        {
            problem(&schemas, &get(&format!("{path}?user=alice&{query}")), 400, "bad_request");
        }
        let cookie = format!("throughline_token={bob}");
        let foreign = [("cookie", cookie.as_str()), ("origin", "http://elsewhere.example")];
        problem(&schemas, &gateway.get(path, &foreign), 403, "forbidden");
    }
    problem(&schemas, &get("/v1/ws?user=alice"), 426, "upgrade_required");
    problem(&schemas, &get("/v1/nowhere"), 404, "not_found");
    problem(&schemas, &get("/v1/history?user=alice"), 400, "bad_request");
    problem(&schemas, &get("/v1/history?topic=all"), 401, "unauthenticated");
    let mut socket = Connection::open(gateway.address());
    socket.ask_for_websocket("/v1/ws?user=alice", &[("origin", "http://elsewhere.example")]);
    problem(&schemas, &socket.answer(soon()), 403, "forbidden");

    let crowd = Gateway::dev(&["--max-connections-per-ip".to_owned(), "1".to_owned()]);
    let mut first = Connection::open(crowd.address());
    first.ask("GET", "/v1/sse?user=alice", &[], b"");
    first.head(soon());
    batch_of(&schemas, first.next_message(soon()));
    let refused = crowd.get("/v1/sse?user=alice", &[]);
    problem(&schemas, &refused, 429, "rate_limited");
    assert!(refused.head.headers["retry-after"].parse::<u64>().is_ok());
}

#[test]
fn a_gateway_that_drains_says_so() {
    let schemas = SchemaSet::load();
    let mut gateway = Gateway::dev(&[]);
    let mut socket = Connection::open(gateway.address());
    socket.ask_for_websocket("/v1/ws?user=alice", &[]);
    socket.head(soon());
    batch_of(&schemas, socket.next_frame(soon()));
    gateway.drain();
    let bye = loop {
        let batch = batch_of(&schemas, socket.next_frame(soon()));
        if batch.get("bye").is_some() {
            break batch;
        }
    };
    assert_eq!(bye["bye"]["reason"], "drain");
    assert_eq!(socket.next_frame(soon()), Some(Sent::Close(1001)));
    for path in ["/ready", "/v1/sse?user=alice", "/v1/poll?user=alice"] {
        let answer = gateway.get(path, &[]);
        problem(&schemas, &answer, 503, "unavailable");
        assert!(answer.head.headers["retry-after"].parse::<u64>().is_ok(), "{path}");
    }
    let mut late = Connection::open(gateway.address());
    late.ask_for_websocket("/v1/ws?user=alice", &[]);
    problem(&schemas, &late.answer(soon()), 503, "unavailable");
    let mut late = Connection::open(gateway.address());
    late.ask_for_websocket("/v1/ws?user=alice", &[("origin", "http://localhost")]);
    assert_eq!(late.head(soon()).status, 101, "a browser cannot read a status");
    assert_eq!(late.next_frame(soon()), Some(Sent::Close(4503)));
    drop(late);
    ok(&schemas, "health", &gateway.get("/health", &[]));
    drop(socket);
    assert_eq!(gateway.exit_code(Duration::from_secs(40)), Some(0));
}

#[test]
fn openapi_paths_are_the_routes() {
    let document = read(&repository().join("proto/openapi.yaml"));
    let (_, paths) = document.split_once("\npaths:\n").expect("openapi.yaml has paths");
    let (paths, _) = paths.split_once("\ncomponents:\n").expect("components follow the paths");
    let mut documented: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut last = "";
    for line in paths.lines() {
        if let Some(path) = line.strip_prefix("  /").and_then(|path| path.strip_suffix(':')) {
            last = &line[2..path.len() + 3];
            documented.insert(last, Vec::new());
        } else if let Some(method @ ("get" | "post" | "put" | "patch" | "delete")) =
            line.strip_prefix("    ").and_then(|line| line.strip_suffix(':'))
        {
            documented.get_mut(last).expect("a method follows its path").push(method.to_uppercase());
        }
    }

    let gateway = Gateway::dev(&[]);
    for (path, methods) in &documented {
        let answer = request(gateway.address(), "DELETE", path, &[], b"");
        problem(&SchemaSet::load(), &answer, 405, "method_not_allowed");
        assert_eq!(answer.head.headers["allow"], methods.join(", "), "{path}");
    }

    let source = read(&repository().join("crates/gateway/src/dispatch.rs"));
    let (_, routes) = source.split_once("\nfn route_of(").expect("dispatch.rs tells routes apart");
    let routes = routes.split("\n}\n").next().unwrap_or(routes);
    let path = regex::Regex::new("\"(/[^\"]*)\"").expect("a pattern");
    let routes: BTreeSet<&str> =
        path.captures_iter(routes).filter_map(|found| found.get(1)).map(|path| path.as_str()).collect();
    assert_eq!(documented.into_keys().collect::<BTreeSet<_>>(), routes);
}

#[test]
fn sent_commands_are_replied_by_the_schema() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let send = |query: &str, body: &str| {
        let json = [("content-type", "application/json")];
        request(gateway.address(), "POST", &format!("/v1/send?{query}"), &json, body.as_bytes())
    };
    let ping = ok(&schemas, "reply", &send("user=alice", r#"{"id":"1","op":"ping"}"#));
    assert!(ping["ok"]["time"].is_string());
    let several = send("user=alice", r#"[{"id":"2","op":"ping"},{"id":"3","op":"fly"},17]"#);
    assert_eq!(several.head.status, 200, "{}", several.body);
    let replies: Vec<Value> = serde_json::from_str(&several.body).expect("an array of replies");
    for reply in &replies {
        assert_eq!(schemas.fault("reply", reply), None);
    }
    let codes: Vec<&Value> = replies.iter().map(|reply| &reply["error"]["code"]).collect();
    assert_eq!(json!(codes), json!([null, "bad_request", "bad_request"]));
    let published = send("user=alice", r#"{"id":"4","op":"publish","topic":"room:1","type":"t","data":1}"#);
    assert_eq!(ok(&schemas, "reply", &published)["ok"]["seq"], 1);
    let subscribed =
        ok(&schemas, "reply", &send("user=alice", r#"{"id":"5","op":"subscribe","topics":["a"]}"#));
    assert_eq!(subscribed["error"]["code"], "bad_request");
    problem(&schemas, &send("", r#"{"id":"1","op":"ping"}"#), 401, "unauthenticated");
    assert_eq!(ok(&schemas, "reply", &send("user=alice", "{"))["error"]["code"], "bad_request");
    problem(&schemas, &send("user=alice", "[{"), 400, "bad_request");
    let many = format!("[{}]", vec![r#"{"id":"1","op":"ping"}"#; 65].join(","));
    problem(&schemas, &send("user=alice", &many), 413, "too_large");
    let long = format!(r#"{{"id":"1","op":"ping","pad":"{}"}}"#, "x".repeat(17_000));
    problem(&schemas, &send("user=alice", &long), 413, "too_large");
    assert_eq!(send("user=alice&session=nobodys", r#"{"id":"1","op":"ping"}"#).head.status, 404);
}

#[test]
fn presence_and_explanations_fit_the_schemas() {
    let (schemas, gateway) = (SchemaSet::load(), Gateway::dev(&[]));
    let hello = ok(&schemas, "batch", &gateway.get("/v1/poll?user=alice&topics=room:1", &[]));
    let session = hello["hello"]["session"].as_str().expect("a session");
    let set = |status: &str| {
        let command =
            json!({ "id": "1", "op": "presence", "topic": "room:1", "status": status, "info": { "a": 1 } });
        assert_eq!(schemas.fault("command", &command), None);
        let target = format!("/v1/send?user=alice&session={session}");
        let answer = request(gateway.address(), "POST", &target, &[], command.to_string().as_bytes());
        assert_eq!(ok(&schemas, "reply", &answer)["ok"], json!({}));
    };
    let mut cursor = hello["cursor"].as_str().expect("a cursor").to_owned();
    for (status, kind) in
        [("online", "presence.join"), ("away", "presence.update"), ("offline", "presence.leave")]
    {
        set(status);
        let target = format!("/v1/poll?user=alice&topics=room:1&after={cursor}&session={session}");
        let batch = ok(&schemas, "batch", &gateway.get(&target, &[]));
        assert_eq!(batch["events"][0]["type"], kind);
        assert_eq!(schemas.fault("presence-change", &batch["events"][0]["data"]), None);
        batch["cursor"].as_str().expect("a cursor").clone_into(&mut cursor);
    }
    let listed = ok(&schemas, "presence", &gateway.get("/v1/presence?topic=room:1&user=alice", &[]));
    assert_eq!((&listed["count"], listed["members"].as_array().map(Vec::len)), (&json!(0), Some(1)));
    let stats = ok(&schemas, "stats", &gateway.get("/v1/stats", &[("authorization", "Bearer dev")]));
    assert!(stats["byTopic"].is_array());
    let explain = |query: &str| {
        let answer = gateway.get(&format!("/v1/explain?{query}"), &[("authorization", "Bearer dev")]);
        ok(&schemas, "explain", &answer)
    };
    assert_eq!(explain("user=alice&seq=3")["sessions"][0]["verdict"], "delivered");
    assert_eq!(explain("user=bob&seq=3")["verdict"], "not_connected");
    assert_eq!(explain("user=bob&seq=4")["verdict"], "unknown");
}
