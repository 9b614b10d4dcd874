//! The answers of Engine.IO: to an invalid request, to the first request, and packets.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use transport::Answer;
use transport::socketio::{Payload, Revision};

use crate::config::SocketIo;
use crate::endpoints::call::{Call, Reply};
use crate::http::answer::{Body, json};

/// The error that Engine.IO reports for an invalid request (its `code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineError {
    UnknownTransport = 0,
    UnknownSession = 1,
    BadHandshakeMethod = 2,
    BadRequest = 3,
    UnsupportedVersion = 5,
}

#[derive(Serialize)]
struct EngineErrorBody {
    code: u8,
    message: &'static str,
}

impl EngineError {
    const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The answer with status 400.
    pub(super) fn response(self) -> Response<Body> {
        let mut response = json(&EngineErrorBody { code: self as u8, message: self.message() });
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }

    /// The same response as the reply to a call.
    pub(super) fn reply(self) -> Reply {
        Answer::Response(self.response())
    }
}

/// The answer to the first request, and the first message of a WebSocket.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Opened<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

/// The open packet of a session. `upgrades` lists the transports to which the session may upgrade.
pub(super) fn open_packet(config: &SocketIo, sid: &str, upgrades: &[&str], max_payload: usize) -> String {
    let open = Opened {
        sid,
        upgrades,
        ping_interval: config.pings.interval.as_millis() as u64,
        ping_timeout: config.pings.timeout.as_millis() as u64,
        max_payload,
    };
    format!("0{}", serde_json::to_string(&open).unwrap_or_default())
}

/// Packets as the body of a response.
pub(super) fn payload<'a>(revision: Revision, packets: impl IntoIterator<Item = &'a str>) -> Reply {
    let mut response = Response::new(Body::from(Payload::with(revision, packets).body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Answer::Response(response)
}

/// The largest body that a client may send.
pub(super) fn max_payload(call: &Call<'_>) -> usize {
    call.app.limits().body_bytes_max
}
