//! The page of `gateway dev`, built into the binary.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};

use crate::http::answer::Body;

/// Allows scripts, styles and connections of the gateway only, and no frame of another page.
const POLICY: &str =
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'";

macro_rules! files {
    ($($path:literal: $kind:literal = $file:literal,)+) => {
        /// Every file: its path, its media type, its text.
        const FILES: &[(&str, &str, &str)] = &[$(($path, $kind, include_str!(concat!("../../page/", $file))),)+];
    };
}

files! {
    "/": "text/html; charset=utf-8" = "index.html",
    "/page.css": "text/css; charset=utf-8" = "page.css",
    "/icon.svg": "image/svg+xml" = "icon.svg",
    "/page.js": "text/javascript; charset=utf-8" = "page.js",
    "/commands.js": "text/javascript; charset=utf-8" = "commands.js",
    "/lane.js": "text/javascript; charset=utf-8" = "lane.js",
    "/lane_view.js": "text/javascript; charset=utf-8" = "lane_view.js",
    "/ledger.js": "text/javascript; charset=utf-8" = "ledger.js",
    "/link.js": "text/javascript; charset=utf-8" = "link.js",
    "/publish.js": "text/javascript; charset=utf-8" = "publish.js",
    "/roam.js": "text/javascript; charset=utf-8" = "roam.js",
    "/timeline.js": "text/javascript; charset=utf-8" = "timeline.js",
}

/// Whether the page has a file at this path.
#[must_use]
pub(crate) fn has(path: &str) -> bool {
    FILES.iter().any(|(known, ..)| *known == path)
}

/// The file at a path; `None`: there is none.
#[must_use]
pub(crate) fn answer(path: &str) -> Option<Response<Body>> {
    let (_, kind, text) = FILES.iter().find(|(known, ..)| *known == path)?;
    let mut response = Response::new(Body::new(Bytes::from_static(text.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(response)
}
