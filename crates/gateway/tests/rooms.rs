//! A song editor's room and a review board's presence, over each transport: one sequence, the same for all.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use serde_json::{Value, json};
use support::{Gateway, Sse, Ws, get, post, token};

/// A client on one transport, which has nothing but the wire protocol.
enum Client {
    Ws(Ws),
    /// A stream, and commands beside it.
    Sse(Sse, Link),
    /// Polls, and commands between them.
    Poll(Link, String),
}

struct Link {
    gateway: std::net::SocketAddr,
    query: String,
    session: String,
}

impl Link {
    async fn command(&self, command: &Value) -> Value {
        let target = format!("/v1/send?{}&session={}", self.query, self.session);
        post(self.gateway, &target, &[], &command.to_string()).await.json()
    }
}

impl Client {
    /// Connects, authenticates, and is in the room.
    async fn join(transport: &str, gateway: &Gateway, user: &str, room: &str) -> Self {
        let token = token(user, &["--subscribe", "room:*", "--publish", "room:*"]);
        let query = format!("token={token}&topics={room}");
        let link = |hello: &Value| Link {
            gateway: gateway.address,
            query: format!("token={token}"),
            session: hello["hello"]["session"].as_str().unwrap().to_owned(),
        };
        let presence = json!({"status": "online", "info": {"name": user}});
        let mut client = match transport {
            "ws" => {
                let mut ws = Ws::open(gateway.address, "").await;
                ws.command(json!({"id": 1, "op": "auth", "token": token})).await;
                assert_eq!(ws.reply().await["ok"]["user"], user);
                ws.batch().await;
                ws.command(json!({"id": 2, "op": "subscribe", "topics": [room], "presence": presence})).await;
                assert_eq!(ws.reply().await.get("error"), None);
                return Self::Ws(ws);
            }
            "sse" => {
                let mut sse = Sse::open(gateway.address, &query).await;
                let hello = sse.batch().await.unwrap();
                Self::Sse(sse, link(&hello))
            }
            _ => {
                let hello = get(gateway.address, &format!("/v1/poll?{query}")).await.json();
                let mut link = link(&hello);
                link.query = query;
                Self::Poll(link, hello["cursor"].as_str().unwrap().to_owned())
            }
        };
        let mut join = presence;
        join["id"] = json!(2);
        join["op"] = json!("presence");
        join["topic"] = json!(room);
        assert_eq!(client.command(join).await["ok"], json!({}));
        client
    }

    async fn command(&mut self, command: Value) -> Value {
        match self {
            Self::Ws(ws) => {
                ws.command(command).await;
                ws.reply().await
            }
            Self::Sse(_, link) | Self::Poll(link, _) => link.command(&command).await,
        }
    }

    /// The next event of this type.
    async fn next(&mut self, kind: &str) -> Value {
        loop {
            let batch = self.batch().await;
            if let Some(event) =
                batch["events"].as_array().unwrap().iter().find(|event| event["type"] == kind)
            {
                return event.clone();
            }
        }
    }

    /// The only event of the next batch with one.
    async fn next_event(&mut self) -> Value {
        loop {
            let batch = self.batch().await;
            match batch["events"].as_array().unwrap().as_slice() {
                [] => {}
                [event] => return event.clone(),
                _ => panic!("more than one event: {batch}"),
            }
        }
    }

    async fn batch(&mut self) -> Value {
        match self {
            Self::Ws(ws) => ws.batch().await,
            Self::Sse(sse, _) => sse.batch().await.expect("a batch"),
            Self::Poll(link, cursor) => {
                let target = format!("/v1/poll?{}&after={cursor}&session={}", link.query, link.session);
                let batch = get(link.gateway, &target).await.json();
                batch["cursor"].as_str().unwrap().clone_into(cursor);
                batch
            }
        }
    }
}

#[tokio::test]
async fn the_song_editors_sequence_runs_over_each_transport() {
    for transport in ["ws", "sse", "poll"] {
        let gateway = Gateway::serve(&[]).await;
        // She watches over a WebSocket, with what a reply leaves between kept for her next look.
        let mut alice = Client::join("ws", &gateway, "alice", "room:song-1").await;
        let mut bob = Client::join(transport, &gateway, "bob", "room:song-1").await;
        let joined = loop {
            let joined = alice.next("presence.join").await;
            if joined["data"]["user"] == "bob" {
                break joined;
            }
        };
        assert_eq!(
            joined["data"],
            json!({"user": "bob", "status": "online", "info": {"name": "bob"}, "count": 2}),
            "{transport}"
        );

        let say = json!({"id": 3, "op": "publish", "topic": "room:song-1", "type": "room_message", "data": {"text": "Hi"}});
        let said = bob.command(say).await["ok"]["seq"].as_u64().unwrap();
        assert_eq!(alice.next("room_message").await["seq"], said);

        let operation = |expect: u64| {
            json!({"id": 4, "op": "publish", "topic": "room:song-1", "type": "collaboration_update",
                                             "data": {"insert": "la", "at": 0}, "expect": expect})
        };
        let done = bob.command(operation(said)).await["ok"]["seq"].as_u64().unwrap();
        let late = bob.command(operation(said)).await;
        assert_eq!(
            (&late["error"]["code"], &late["error"]["seq"]),
            (&json!("conflict"), &json!(done)),
            "{transport}"
        );
        assert_eq!(alice.next("collaboration_update").await["seq"], done);

        let cursor = json!({"id": 5, "op": "publish", "topic": "room:song-1", "type": "cursor_moved", "key": "cursor",
                            "data": {"at": 2}, "ephemeral": true});
        assert_eq!(bob.command(cursor).await["ok"].get("seq"), None);
        let moved = alice.next("cursor_moved").await;
        assert_eq!((&moved["data"]["at"], moved.get("seq")), (&json!(2), None), "{transport}");

        let elsewhere = json!({"id": 6, "op": "publish", "topic": "job:1", "type": "t", "data": 1});
        assert_eq!(bob.command(elsewhere).await["error"]["code"], "forbidden");
        assert!(bob.command(json!({"id": 7, "op": "ping"})).await["ok"]["time"].is_string());

        // What Alice does reaches Bob over his own transport.
        let answer =
            json!({"id": 8, "op": "publish", "topic": "room:song-1", "type": "room_answer", "data": 1});
        let answered = alice.command(answer).await["ok"]["seq"].as_u64().unwrap();
        assert_eq!(bob.next("room_answer").await["seq"], answered, "{transport}");

        let leave = json!({"id": 9, "op": "presence", "topic": "room:song-1", "status": "offline"});
        bob.command(leave).await;
        let left = alice.next("presence.leave").await;
        assert_eq!(
            (&left["data"]["user"], &left["data"]["count"]),
            (&json!("bob"), &json!(1)),
            "{transport}"
        );
    }
}

#[tokio::test]
async fn types_hold_over_each_transport_for_presence_and_what_passes_by() {
    for transport in ["ws", "sse", "poll"] {
        let gateway = Gateway::serve(&[]).await;
        let bearer = token("bob", &["--subscribe", "room:*"]);
        let query = format!("token={bearer}&topics=room:1&types=presence.*,cursor_moved");
        let mut alice = Client::join("ws", &gateway, "alice", "room:1").await;
        let mut bob = match transport {
            "ws" => {
                let mut ws = Ws::open(gateway.address, &format!("{query}&after=earliest")).await;
                ws.batch().await;
                Client::Ws(ws)
            }
            "sse" => {
                let mut sse = Sse::open(gateway.address, &format!("{query}&after=earliest")).await;
                let session = sse.batch().await.unwrap()["hello"]["session"].as_str().unwrap().to_owned();
                Client::Sse(sse, Link { gateway: gateway.address, query: query.clone(), session })
            }
            _ => {
                let session = "a-poller".to_owned();
                Client::Poll(
                    Link { gateway: gateway.address, query: query.clone(), session },
                    "earliest".into(),
                )
            }
        };
        assert_eq!(bob.next_event().await["type"], "presence.join", "{transport}");
        let on = |kind: &str, ephemeral| json!({"id": 1, "op": "publish", "topic": "room:1", "type": kind, "data": 1, "ephemeral": ephemeral});
        assert_eq!(alice.command(on("room_message", false)).await.get("error"), None);
        // A poll has to wait already for what only passes by.
        let soon = || tokio::time::sleep(std::time::Duration::from_millis(200));
        let moves = async {
            soon().await;
            assert_eq!(alice.command(on("cursor_moved", true)).await.get("error"), None);
        };
        let (event, ()) = tokio::join!(bob.next_event(), moves);
        assert_eq!(event["type"], "cursor_moved", "{transport}");
        let types_and_leaves = async {
            soon().await;
            assert_eq!(alice.command(on("typing", true)).await.get("error"), None);
            soon().await;
            alice.command(json!({"id": 2, "op": "presence", "topic": "room:1", "status": "offline"})).await;
        };
        let (event, ()) = tokio::join!(bob.next_event(), types_and_leaves);
        assert_eq!(event["type"], "presence.leave", "{transport}: and nothing between");
    }
}

#[tokio::test]
async fn the_review_boards_presence_runs_over_each_transport() {
    for transport in ["ws", "sse", "poll"] {
        let gateway = Gateway::serve(&["--presence-ttl-seconds", "1"]).await;
        let mut watching = Client::join("ws", &gateway, "lead", "room:review").await;
        let mut reviewer = Client::join(transport, &gateway, "ann", "room:review").await;
        let on = |feature: &str, status: &str| {
            json!({"id": 1, "op": "presence", "topic": "room:review", "status": status,
                   "info": {"role": "architect", "feature": feature}})
        };
        reviewer.command(on("billing", "online")).await;
        let update = watching.next("presence.update").await;
        assert_eq!(
            (&update["data"]["info"]["feature"], &update["data"]["count"]),
            (&json!("billing"), &json!(2))
        );
        reviewer.command(on("billing", "away")).await;
        assert_eq!(watching.next("presence.update").await["data"]["status"], "away");
        let bearer = token("lead", &["--subscribe", "room:*"]);
        let listed = async || {
            let target = format!("/v1/presence?topic=room:review&token={bearer}");
            get(gateway.address, &target).await.json()["members"].as_array().unwrap().clone()
        };
        let ann = async || listed().await.into_iter().find(|member| member["user"] == "ann");
        let here = ann().await.unwrap();
        assert_eq!((&here["status"], &here["info"]["role"]), (&json!("away"), &json!("architect")));
        assert!(here["since"].as_str() <= here["last_seen"].as_str());
        reviewer.command(on("billing", "offline")).await;
        assert_eq!(watching.next("presence.leave").await["data"]["user"], "ann");
        assert_eq!(ann().await.unwrap()["status"], "offline", "{transport}: still listed");
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert_eq!(ann().await, None, "{transport}: forgotten after the time to live");
        assert_eq!(listed().await.len(), 1);
    }
}
