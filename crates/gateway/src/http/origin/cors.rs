//! The CORS headers, which tell a browser whether a page may read an answer.

use std::net::SocketAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::policy::{OriginPolicy, Standing};

impl OriginPolicy {
    /// Adds the CORS headers to a response: always `Vary: Origin` and, for an allowed origin,
    /// permission to read the answer, with credentials.
    pub fn add_cors(&self, peer: SocketAddr, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(VARY, HeaderValue::from_static("Origin"));
        if self.standing(peer, request) != Standing::Allowed {
            return;
        }
        if let Some(origin) = request.get(ORIGIN) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After, ETag"));
        }
    }

    /// The headers of the answer (204) to a preflight, which is a request with the method
    /// `OPTIONS`. For a foreign origin they allow nothing, and the browser does not send the
    /// request.
    #[must_use]
    pub fn preflight(&self, peer: SocketAddr, request: &HeaderMap) -> HeaderMap {
        let mut response = HeaderMap::new();
        self.add_cors(peer, request, &mut response);
        if response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            response.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
            response.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
            response.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static(
                    "Authorization, Content-Type, Last-Event-ID, Idempotency-Key, If-None-Match, traceparent, tracestate, baggage",
                ),
            );
            response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        }
        response
    }
}
