//! A page in Rust: says that it is connected, hears 200 events, and asks for an acknowledgement.

use std::sync::mpsc;
use std::time::Duration;

use rust_socketio::client::Client;
use rust_socketio::{ClientBuilder, Event, Payload, TransportType};
use serde_json::{Value, json};

const EVENTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);

fn first(payload: Payload) -> Value {
    match payload {
        Payload::Text(mut values) if !values.is_empty() => values.swap_remove(0),
        _ => Value::Null,
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (origin, transport) = (arguments.next().unwrap(), arguments.next().unwrap());
    let (heard, hears) = mpsc::channel();
    let client: Client = ClientBuilder::new(origin)
        .transport_type(match &*transport {
            "polling" => TransportType::Polling,
            "websocket" => TransportType::Websocket,
            _ => TransportType::Any,
        })
        .auth(json!({"user": "alice", "topics": [format!("room:rust-{transport}")]}))
        .on(Event::Connect, |_, _| println!("connected"))
        .on("m", move |payload, _| {
            let _ = heard.send(first(payload)["n"].clone());
        })
        .connect()
        .unwrap();
    let numbers: Vec<Value> =
        (0..EVENTS).map(|at| hears.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("heard {at}"))).collect();
    let (acknowledged, acknowledges) = mpsc::channel();
    client
        .emit_with_ack("ping", json!({}), PATIENCE, move |payload: Payload, _| {
            let _ = acknowledged.send(first(payload));
        })
        .unwrap();
    let ack = acknowledges.recv_timeout(PATIENCE).unwrap();
    // An acknowledgement comes as the list of its arguments.
    let ack = ack.get(0).cloned().unwrap_or(ack);
    println!("{}", json!({"heard": numbers, "ack": ack}));
    let _ = client.disconnect();
}
