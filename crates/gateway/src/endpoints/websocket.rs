//! The WebSocket handshake (RFC 6455 section 4.2), and its refusals.

use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use transport::{Answer, Transport, write_ws_accept, ws};

use super::call::{Call, Reply};
use super::stream;
use crate::auth::Credential;
use crate::http::headers::has_token;
use crate::problem::{Code, Problem};
use crate::session::admission::{Admitted, Plan, Waiting};

/// The subprotocol of the gateway.
const PROTOCOL: &str = "throughline.v1";

/// Accepts a WebSocket. Browsers, which send an `Origin`, cannot read the status of a refused handshake.
/// Theirs is accepted, and then closed with a code that says why. Other clients can read the status, and
/// many cannot read a code. A request that is no handshake, and a request of a foreign origin, get an
/// HTTP answer too.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Reply, Problem> {
    let headers = &call.head.headers;
    let key = match handshake_key(headers, call.head.version) {
        Ok(key) => key,
        Err(problem) => {
            let mut response = problem.response();
            if problem.code == Code::UpgradeRequired {
                let headers = response.headers_mut();
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            return Ok(Answer::Response(response));
        }
    };
    if let Err(problem) = call.check_origin(&call.query) {
        return Err(call.refused(problem).held_back(call.app).await);
    }
    let then = match admit(call).await {
        Err(Waiting::Refused(refused))
            if !headers.contains_key(ORIGIN) && is_told_by_status(refused.problem.code) =>
        {
            return Err(refused.held_back(call.app).await);
        }
        then => then,
    };
    let protocol = has_token(headers, SEC_WEBSOCKET_PROTOCOL, PROTOCOL).then_some(PROTOCOL);
    let mut accept = Vec::new();
    write_ws_accept(&ws::accept_key(key), protocol, "", &mut accept);
    Ok(Answer::Detach(Plan::WebSocket { accept: accept.into(), then: Box::new(then) }))
}

/// Refusals that another try may pass, or another token. What is wrong in the request itself is told by a close
/// code, which the client of Node.js can read too.
const fn is_told_by_status(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::Forbidden | Code::RateLimited | Code::Unavailable)
}

async fn admit(call: &Call<'_>) -> Result<Admitted, Waiting> {
    let asked = stream::asked(call, Transport::Ws, &call.query)
        .map_err(|problem| Waiting::Refused(call.refused(problem)))?;
    let has_user = call.app.config.dev && call.query.iter().any(|(name, _)| name == "user");
    if Credential::find(&call.head.headers, &call.query).is_none() && !has_user {
        return Err(Waiting::ForAuth(asked));
    }
    stream::admit_with_token(call, asked, &call.query).await.map_err(Waiting::Refused)
}

/// The client's key, if this is a handshake.
pub(crate) fn handshake_key(headers: &HeaderMap, version: Version) -> Result<&str, Problem> {
    let upgrades = has_token(headers, UPGRADE, "websocket") && has_token(headers, CONNECTION, "upgrade");
    if version != Version::HTTP_11 || !upgrades {
        return Err(Problem::new(Code::UpgradeRequired, "connect with a WebSocket"));
    }
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    if one(SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Problem::new(Code::UpgradeRequired, "Sec-WebSocket-Version: only 13 is spoken"));
    }
    let key = one(SEC_WEBSOCKET_KEY).map(str::trim);
    let is_key =
        |key: &&str| data_encoding::BASE64.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16);
    key.filter(is_key).ok_or_else(|| Problem::bad_request("Sec-WebSocket-Key: 16 bytes in base64 are needed"))
}
