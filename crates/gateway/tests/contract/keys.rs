//! Tokens of an identity provider: its key set at a URL, every algorithm, through every endpoint, while keys rotate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{Gateway, Sse, Ws, eventually, get, get_with, post, raw, request};

#[allow(dead_code, reason = "the gateway's own tests use the rest")]
#[path = "../../src/auth/testing.rs"]
mod testing;

use testing::{Signer, key_file, seconds_from_now, token};

/// A real server of a key set, of which only some keys are published.
struct Provider {
    address: SocketAddr,
    published: Arc<std::sync::Mutex<Vec<&'static str>>>,
    is_away: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(published: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let published = Arc::new(std::sync::Mutex::new(published.to_vec()));
        let requests = Arc::new(AtomicUsize::new(0));
        let is_away = Arc::new(AtomicBool::new(false));
        let (keys, count, away) = (Arc::clone(&published), Arc::clone(&requests), Arc::clone(&is_away));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                assert!(head.starts_with(b"GET /.well-known/jwks.json HTTP/1.1\r\n"));
                count.fetch_add(1, Ordering::SeqCst);
                let mut set: Value =
                    serde_json::from_slice(&std::fs::read(key_file("jwks.json")).unwrap()).unwrap();
                let published = keys.lock().unwrap().clone();
                set["keys"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|key| published.contains(&key["kid"].as_str().unwrap()));
                let body = set.to_string();
                let status = if away.load(Ordering::SeqCst) { "503 Service Unavailable" } else { "200 OK" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, published, is_away, requests }
    }

    async fn gateway(&self) -> Gateway {
        let url = format!("http://{}/.well-known/jwks.json", self.address);
        Gateway::start(&["serve", "--listen", "127.0.0.1:0", "--jwks", &url]).await
    }

    fn publish(&self, keys: &[&'static str]) {
        *self.published.lock().unwrap() = keys.to_vec();
    }
}

fn of(user: &str, algorithm: &str, key: &str, signer: Signer<'_>) -> String {
    let claims =
        json!({"sub": user, "exp": seconds_from_now(600), "subscribe": ["room:*"], "publish": ["*"]});
    token(&json!({"alg": algorithm, "typ": "JWT", "kid": key}), &claims, signer)
}

fn by_rsa() -> String {
    of("rita", "RS256", "rsa-1", Signer::Rsa)
}

fn by_ec() -> String {
    of("eve", "ES256", "ec-1", Signer::Ec)
}

fn by_ed() -> String {
    of("ed", "EdDSA", "ed-1", Signer::Ed)
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    get(gateway.address, &format!("/v1/poll?token={token}")).await.status
}

#[tokio::test]
async fn a_provider_that_is_away_ends_no_client_for_good() {
    let provider = Provider::start(&["rsa-1"]).await;
    provider.is_away.store(true, Ordering::SeqCst);
    let gateway = provider.gateway().await;
    let token = by_rsa();
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    for (method, target) in [
        ("GET", "/v1/poll"),
        ("GET", "/v1/sse"),
        ("GET", "/v1/history?topic=room:1"),
        ("GET", "/v1/stats"),
        ("POST", "/v1/send"),
        ("POST", "/v1/publish"),
    ] {
        let answer = raw(gateway.address, request(method, target, &headers, "{}").as_bytes()).await;
        assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("unavailable")), "{target}");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{target}");
    }
    let mut ws = Ws::open(gateway.address, &format!("token={token}")).await;
    assert_eq!(ws.close_code().await, 4503);
    let mut later = Ws::open(gateway.address, "").await;
    later.command(json!({"id": 1, "op": "auth", "token": token})).await;
    let reply = later.reply().await;
    assert_eq!((&reply["reply"], &reply["error"]["code"]), (&json!(1), &json!("unavailable")), "{reply}");
    assert_eq!(later.close_code().await, 4503);
    let ready = get(gateway.address, "/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["detail"]),
        (503, &json!("the key set of --jwks was never read"))
    );
    provider.is_away.store(false, Ordering::SeqCst);
    eventually("its tokens are good", async || status(&gateway, &token).await == 200).await;
    assert_eq!(get(gateway.address, "/ready").await.status, 200);
}

#[tokio::test]
async fn a_token_is_refused_for_good_only_by_a_set_that_is_newer() {
    let provider = Provider::start(&["rsa-1"]).await;
    let gateway = provider.gateway().await;
    assert_eq!(status(&gateway, &by_rsa()).await, 200);
    let mut ws = Ws::open(gateway.address, &format!("token={}", by_rsa())).await;
    ws.batch().await;
    // The set was read a moment ago; the provider may have changed it since.
    let early = get(gateway.address, &format!("/v1/poll?token={}", by_ed())).await;
    let wait: u64 = early.header("retry-after").expect("when to come again").parse().unwrap();
    assert!(early.status == 503 && (1..=10).contains(&wait), "{} {wait}", early.status);
    ws.command(json!({"id": 1, "op": "auth", "token": by_ed()})).await;
    let error = &ws.reply().await["error"];
    assert_eq!(error["code"], "unavailable", "the session goes on with the grant that it had");
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
    eventually("it is refused", async || status(&gateway, &by_ed()).await == 401).await;
}

#[tokio::test]
async fn every_algorithm_of_a_key_set_opens_every_endpoint() {
    let provider = Provider::start(&["rsa-1", "ec-1", "ed-1"]).await;
    let gateway = provider.gateway().await;
    for (user, token) in [("rita", by_rsa()), ("eve", by_ec()), ("ed", by_ed())] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let protocols = format!("throughline.v1, bearer.{token}");
        let protocols = [("Sec-WebSocket-Protocol", protocols.as_str())];
        let mut ws = Ws::open_with(gateway.address, "topics=room:1", &protocols).await;
        assert_eq!(ws.batch().await["hello"]["user"], user);
        let mut later = Ws::open(gateway.address, "").await;
        later.command(json!({"id": 1, "op": "auth", "token": token})).await;
        assert_eq!(later.reply().await["ok"]["user"], user);
        let mut sse = Sse::open(gateway.address, &format!("access_token={token}&topics=room:1")).await;
        assert_eq!(sse.batch().await.unwrap()["hello"]["user"], user);
        let cookie = format!("throughline_token={token}");
        let poll = get_with(gateway.address, "/v1/poll", &[("Cookie", &cookie)]).await;
        assert_eq!(poll.json()["hello"]["user"], user, "{}", poll.body);
        let ping = post(gateway.address, "/v1/send", &headers, r#"{"id":1,"op":"ping"}"#).await;
        assert!(ping.json()["ok"]["time"].is_string(), "{}", ping.body);
        let draft = json!({"topic": "room:1", "type": "t", "data": user}).to_string();
        assert_eq!(post(gateway.address, "/v1/publish", &headers, &draft).await.status, 200);
        assert_eq!(sse.events().await["events"][0]["data"], user);
        for target in ["/v1/history?topic=room:1", "/v1/presence?topic=room:1", "/v1/stats"] {
            assert_eq!(get_with(gateway.address, target, &headers).await.status, 200, "{user} {target}");
        }
    }
    assert_eq!(provider.requests.load(Ordering::SeqCst), 1, "read once for all of them");
}

#[tokio::test]
async fn a_key_is_good_only_for_its_own_algorithm() {
    let provider = Provider::start(&["rsa-1", "ec-1"]).await;
    let gateway = provider.gateway().await;
    assert_eq!(status(&gateway, &by_rsa()).await, 200);
    let public = std::fs::read(key_file("rsa-public.pem")).unwrap();
    for (what, token) in [
        ("a public key as secret", of("eve", "HS256", "rsa-1", Signer::Secret(&public))),
        ("no signature", of("eve", "none", "rsa-1", Signer::Nothing)),
        ("another key's name", of("eve", "RS256", "ec-1", Signer::Rsa)),
        ("another key", of("eve", "ES256", "ec-1", Signer::Rsa)),
        ("an algorithm that is not the key's", of("eve", "PS256", "rsa-1", Signer::Rsa)),
    ] {
        assert_eq!(status(&gateway, &token).await, 401, "{what}");
    }
}

#[tokio::test]
async fn keys_rotate_while_clients_come() {
    let provider = Provider::start(&["rsa-1"]).await;
    let gateway = provider.gateway().await;
    assert_eq!((status(&gateway, &by_rsa()).await, status(&gateway, &by_ec()).await), (200, 503));
    let mut ws = Ws::open(gateway.address, &format!("token={}", by_rsa())).await;
    ws.batch().await;
    // The provider changes its key. The first token of the new one has it read, though not more often than every 10 s.
    provider.publish(&["ec-1"]);
    let began = Instant::now();
    eventually("the new key is known", async || {
        // Unknown keys that anybody can name are no reason to ask the provider each time.
        status(&gateway, &of("x", "RS256", "made-up", Signer::Rsa)).await;
        status(&gateway, &by_ec()).await == 200
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(provider.requests.load(Ordering::SeqCst) <= 3, "{:?}", provider.requests);
    assert_ne!(status(&gateway, &by_rsa()).await, 200, "the old key is taken out");
    ws.command(json!({"id": 1, "op": "auth", "token": by_rsa()})).await;
    let code = ws.reply().await["error"]["code"].clone();
    assert!(code == "unavailable" || code == "unauthenticated", "on a running session too: {code}");
    ws.command(json!({"id": 2, "op": "auth", "token": of("rita", "ES256", "ec-1", Signer::Ec)})).await;
    assert_eq!(ws.reply().await["ok"]["user"], "rita");
}
