//! Which web pages may use a visitor's cookie: the `Origin` check, and the CORS headers that tell a browser.
//!
//! A browser adds cookies to the requests of every page, foreign ones included. So a request that a cookie
//! authenticates counts only from an allowed origin or from the gateway's own. A bearer token (header,
//! subprotocol, query or `auth` command) is no ambient authority: the page that sends it has it already.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use crate::http::address::{self, TrustedProxies};
use crate::problem::{Code, Problem};

const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_PORT: &str = "x-forwarded-port";
const HOST: &str = "host";

/// How many refused origins get a log line of their own.
const LOGGED_MAX: usize = 64;

/// The longest text of a client's that a refusal repeats, in bytes.
const SHOWN_MAX: usize = 128;

/// A web origin (RFC 6454): scheme, host and port, in the one spelling that a browser sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None`: the scheme's own port.
    port: Option<u16>,
}

/// The text is not an origin that can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `*`: every page.
    #[error("`*` cannot be allowed, because cookies authenticate: name each origin")]
    Everyone,
    /// Not `scheme://host[:port]`.
    #[error("expected an origin such as https://app.example or http://localhost:3000, without a path")]
    Shape,
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Err(OriginError::Everyone);
        }
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Shape)?;
        let scheme_is_name = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !scheme_is_name || rest.contains(['*', '@', '/']) {
            return Err(OriginError::Shape);
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = host_and_port(rest).ok_or(OriginError::Shape)?;
        let port = port.filter(|port| Some(*port) != default_port(&scheme));
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A page whose origin is not allowed: 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("origin {origin} is not allowed: the gateway was asked for as {host}; {remedy}")]
pub struct ForeignOrigin {
    /// What the `Origin` header says.
    origin: String,
    /// The host that the origin was compared with, and the header that named it.
    host: String,
    /// The option that would allow the origin.
    remedy: String,
}

impl From<ForeignOrigin> for Problem {
    fn from(foreign: ForeignOrigin) -> Self {
        Self::new(Code::Forbidden, foreign.to_string())
    }
}

/// What the `Origin` header of one request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No `Origin`: not a page, or a page of the gateway itself.
    Absent,
    /// An allowed origin, or the gateway's own.
    Allowed,
    /// Anything else, `null` included.
    Foreign,
}

/// Which origins may connect.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    allowed: Vec<Origin>,
    proxies: TrustedProxies,
    /// `gateway dev`: every page of this machine is allowed, and every proxy on it believed.
    is_dev: bool,
    /// The refused origins that have had their log line; at most [`LOGGED_MAX`].
    logged: Arc<Mutex<HashSet<String>>>,
}

/// What the browser asked for, as far as the headers tell.
#[derive(Debug)]
struct PublicHost {
    /// `http` or `https`; `None`: no header says.
    scheme: Option<&'static str>,
    host: String,
    port: Option<u16>,
    /// The port that a proxy names beside the host. It counts where the host has none.
    forwarded_port: Option<u16>,
    /// The header that names the host.
    named_by: &'static str,
}

impl OriginPolicy {
    /// Allows these origins beside the gateway's own, as seen through these proxies.
    #[must_use]
    pub fn new(allowed: Vec<Origin>, proxies: TrustedProxies) -> Self {
        Self { allowed, proxies, is_dev: false, logged: Arc::default() }
    }

    /// As [`OriginPolicy::new`], for `gateway dev`: the pages and the proxies of this machine are allowed too.
    #[must_use]
    pub fn for_development(allowed: Vec<Origin>, proxies: TrustedProxies) -> Self {
        Self { is_dev: true, ..Self::new(allowed, proxies) }
    }

    /// Where the request stands; `peer` is the sender, so that a trusted proxy may name the public host.
    #[must_use]
    pub fn standing(&self, peer: SocketAddr, headers: &HeaderMap) -> Standing {
        if !headers.contains_key(ORIGIN) {
            return Standing::Absent;
        }
        let believed = self.believes(peer.ip());
        let is_allowed = only(headers, ORIGIN.as_str())
            .and_then(|text| text.parse::<Origin>().ok())
            .is_some_and(|origin| self.allows(&origin) || is_own(&origin, headers, believed));
        if is_allowed { Standing::Allowed } else { Standing::Foreign }
    }

    /// Refuses a request, a WebSocket's included, that a cookie authenticates for a foreign page. `is_ambient`: the
    /// browser added by itself what authenticates the request.
    ///
    /// # Errors
    /// When the request's authority is ambient and its `Origin` is foreign.
    pub fn check(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        is_ambient: bool,
    ) -> Result<(), ForeignOrigin> {
        if !is_ambient || self.standing(peer, headers) != Standing::Foreign {
            return Ok(());
        }
        let foreign = self.explain(peer, headers);
        let mut logged = self.logged.lock();
        if logged.len() < LOGGED_MAX && logged.insert(foreign.origin.clone()) {
            drop(logged);
            tracing::warn!("{foreign} (said once for each origin)");
        }
        Err(foreign)
    }

    /// Why an origin is foreign, and what would allow it.
    fn explain(&self, peer: SocketAddr, headers: &HeaderMap) -> ForeignOrigin {
        let values = headers.get_all(ORIGIN).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let texts: Vec<_> = values.collect();
        let parsed: Option<Origin> = only(headers, ORIGIN.as_str()).and_then(|text| text.parse().ok());
        let asked = PublicHost::of(headers, self.believes(peer.ip()));
        let host = asked.map_or_else(
            || "no host that can be read".to_owned(),
            |asked| {
                let port = asked.port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}{port} ({})", shown(&asked.host), asked.named_by)
            },
        );
        let remedy = match &parsed {
            Some(origin) if is_own(origin, headers, true) => {
                let proxy = peer.ip().to_canonical();
                format!("--trusted-proxy {proxy} would believe the headers of the proxy at that address")
            }
            Some(origin) => format!("--allow-origin {} would allow it", shown(&origin.to_string())),
            None => "no option allows what is not one origin".to_owned(),
        };
        let origin = parsed
            .map_or_else(|| format!("{:?}", shown(&texts.join(", "))), |origin| shown(&origin.to_string()));
        ForeignOrigin { origin, host, remedy }
    }

    fn allows(&self, origin: &Origin) -> bool {
        let is_local = || matches!(&*origin.scheme, "http" | "https") && is_loopback_name(&origin.host);
        self.allowed.contains(origin) || (self.is_dev && is_local())
    }

    /// Whether the forwarding headers of this peer are believed.
    fn believes(&self, peer: IpAddr) -> bool {
        self.proxies.contains(peer) || (self.is_dev && peer.to_canonical().is_loopback())
    }

    /// Adds the CORS headers to a response: `Vary: Origin` always, and for an allowed origin that it may read the
    /// answer, with credentials.
    pub fn add_cors(&self, peer: SocketAddr, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(VARY, HeaderValue::from_static("Origin"));
        if self.standing(peer, request) != Standing::Allowed {
            return;
        }
        if let Some(origin) = request.get(ORIGIN) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
        }
    }

    /// The headers of the answer (204) to a preflight, a request with method `OPTIONS`. For a foreign origin they
    /// allow nothing, and the browser stops there.
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
                    "Authorization, Content-Type, Last-Event-ID, Idempotency-Key, traceparent, tracestate, baggage",
                ),
            );
            response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        }
        response
    }
}

/// Whether this is the origin of the gateway's own pages: the host that the browser asked for. Unless a proxy whose
/// headers are believed says which scheme the browser used, http and https both count: TLS may end in a proxy that
/// says nothing.
fn is_own(origin: &Origin, headers: &HeaderMap, believed: bool) -> bool {
    let Some(asked) = PublicHost::of(headers, believed) else { return false };
    let scheme_fits = match asked.scheme {
        Some(scheme) => scheme == origin.scheme,
        None => origin.scheme == "http" || origin.scheme == "https",
    };
    let explicit = |port: Option<u16>| port.filter(|port| Some(*port) != default_port(&origin.scheme));
    let port_fits = explicit(asked.port) == origin.port
        || (asked.port.is_none() && explicit(asked.forwarded_port) == origin.port);
    scheme_fits && asked.host == origin.host && port_fits
}

impl PublicHost {
    /// From `X-Forwarded-Host`, `-Proto` and `-Port`, else from `host` and `proto` of `Forwarded` (RFC 7239), where
    /// these headers are `believed`; else from `Host`.
    fn of(headers: &HeaderMap, believed: bool) -> Option<Self> {
        let of_proxy = |name| if believed { last_of_list(headers, name).map(str::to_owned) } else { None };
        let forwarded = |name| if believed { address::last_forwarded(headers, name) } else { None };
        let (text, named_by) = of_proxy(X_FORWARDED_HOST)
            .map(|host| (host, "X-Forwarded-Host"))
            .or_else(|| forwarded("host").map(|host| (host, "Forwarded")))
            .or_else(|| only(headers, HOST).map(|host| (host.to_owned(), "Host")))?;
        let (host, port) = host_and_port(&text)?;
        let scheme = of_proxy(X_FORWARDED_PROTO).or_else(|| forwarded("proto"));
        Some(Self {
            // Some proxies name the protocol inside the connection, others that beneath it.
            scheme: scheme.map(|scheme| match &*scheme.to_ascii_lowercase() {
                "http" | "ws" => "http",
                "https" | "wss" => "https",
                _ => "unknown",
            }),
            host,
            port,
            forwarded_port: of_proxy(X_FORWARDED_PORT).and_then(|port| port.parse().ok()),
            named_by,
        })
    }
}

/// A client's text as far as a refusal repeats it.
fn shown(text: &str) -> String {
    let end = (0..=text.len().min(SHOWN_MAX)).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// Whether the request was made to a loopback name (`localhost`, `127.0.0.1`, `[::1]`). `gateway dev` asks nobody for a
/// token, so it answers only to these: a foreign page that points a host name of its own at 127.0.0.1 gets nothing.
#[must_use]
pub fn is_for_loopback(headers: &HeaderMap) -> bool {
    only(headers, HOST).and_then(host_and_port).is_some_and(|(host, _)| is_loopback_name(&host))
}

fn is_loopback_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let port = match text.strip_prefix(authority.host())? {
        "" => None,
        _ => Some(authority.port_u16()?),
    };
    let host = authority.host().to_ascii_lowercase();
    (!host.is_empty()).then_some((host, port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The last member of a comma-separated list: what the nearest proxy wrote.
fn last_of_list<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRANGER: &str = "203.0.113.9:5000";
    const PROXY: &str = "10.0.0.1:5000";

    fn policy() -> OriginPolicy {
        let allowed = ["https://app.example", "http://localhost:3000", "capacitor://localhost"];
        OriginPolicy::new(
            allowed.iter().map(|text| text.parse().unwrap()).collect(),
            TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
        )
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn standing(peer: &str, list: &[(&'static str, &'static str)]) -> Standing {
        policy().standing(peer.parse().unwrap(), &headers(list))
    }

    #[test]
    fn parses_origins_and_refuses_the_rest() {
        for (text, shown) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://app.example:80", "https://app.example:80"),
        ] {
            assert_eq!(text.parse::<Origin>().map(|origin| origin.to_string()).as_deref(), Ok(shown));
        }
        assert_eq!("*".parse::<Origin>(), Err(OriginError::Everyone));
        for text in [
            "",
            "null",
            "app.example",
            "https://",
            "https://a/",
            "https://a/b",
            "https://u@a",
            "https://*.a",
            "https://a:b",
            "https://a:99999",
            "https://a:",
            "://a",
            "https://a b",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError::Shape), "{text:?}");
        }
    }

    #[test]
    fn allows_the_list_and_nothing_like_it() {
        for origin in [
            "https://app.example",
            "https://APP.example:443",
            "http://localhost:3000",
            "capacitor://localhost",
        ] {
            assert_eq!(
                standing(STRANGER, &[("origin", origin), ("host", "gw")]),
                Standing::Allowed,
                "{origin}"
            );
        }
        for origin in [
            "null",
            "",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil",
            "https://evil.app.example",
            "http://localhost",
            "https://app.example, https://evil.example",
        ] {
            assert_eq!(
                standing(STRANGER, &[("origin", origin), ("host", "gw")]),
                Standing::Foreign,
                "{origin}"
            );
        }
        assert_eq!(standing(STRANGER, &[("host", "gw")]), Standing::Absent);
        let twice = [("origin", "https://app.example"), ("origin", "https://evil.example")];
        assert_eq!(standing(STRANGER, &twice), Standing::Foreign);
    }

    #[test]
    fn its_own_origin_is_the_host_that_was_asked_for() {
        for (origin, host, expected) in [
            ("http://gw.example:8080", "gw.example:8080", Standing::Allowed),
            ("http://gw.example", "gw.example:80", Standing::Allowed),
            ("https://gw.example", "gw.example", Standing::Allowed),
            ("http://gw.example:8081", "gw.example:8080", Standing::Foreign),
            ("http://gw.example", "gw.example:8080", Standing::Foreign),
            ("http://evil.example", "gw.example", Standing::Foreign),
            ("ftp://gw.example", "gw.example", Standing::Foreign),
        ] {
            assert_eq!(
                standing(STRANGER, &[("origin", origin), ("host", host)]),
                expected,
                "{origin} {host}"
            );
        }
        let twice = [("origin", "http://gw"), ("host", "gw"), ("host", "other")];
        assert_eq!(standing(STRANGER, &twice), Standing::Foreign);
    }

    #[test]
    fn only_a_trusted_proxy_may_name_the_public_host() {
        let list = |origin| {
            [
                ("origin", origin),
                ("host", "upstream:8080"),
                ("x-forwarded-host", "evil.example, gw.example"),
                ("x-forwarded-proto", "https"),
            ]
        };
        assert_eq!(standing(PROXY, &list("https://gw.example")), Standing::Allowed);
        assert_eq!(standing(PROXY, &list("http://gw.example")), Standing::Foreign);
        assert_eq!(standing(PROXY, &list("https://evil.example")), Standing::Foreign);
        assert_eq!(standing(STRANGER, &list("https://gw.example")), Standing::Foreign);
    }

    #[test]
    fn a_proxy_names_scheme_host_and_port_in_its_own_words() {
        let own: [(&[(&str, &str)], &str); 12] = [
            (&[("x-forwarded-proto", "wss")], "https://gw.example"),
            (&[("x-forwarded-proto", "WSS")], "https://gw.example"),
            (&[("x-forwarded-proto", "ws")], "http://gw.example"),
            (&[("x-forwarded-proto", "wss"), ("x-forwarded-port", "443")], "https://gw.example"),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-port", "8443")], "https://gw.example:8443"),
            (&[("x-forwarded-port", "8443")], "https://gw.example:8443"),
            // A load balancer behind another: the port is the inner one's.
            (&[("x-forwarded-proto", "https"), ("x-forwarded-port", "80")], "https://gw.example"),
            (
                &[("x-forwarded-host", "pub.example"), ("x-forwarded-port", "8443")],
                "https://pub.example:8443",
            ),
            (&[("forwarded", "for=1.2.3.4;host=pub.example;proto=https")], "https://pub.example"),
            (
                &[("forwarded", "host=evil.example, For=1.2.3.4;Host=\"pub.example:8443\";Proto=wss")],
                "https://pub.example:8443",
            ),
            (&[("forwarded", "for=_a"), ("x-forwarded-host", "pub.example")], "https://pub.example"),
            (
                &[
                    ("forwarded", "host=other.example;proto=http"),
                    ("x-forwarded-host", "pub.example"),
                    ("x-forwarded-proto", "wss"),
                ],
                "https://pub.example",
            ),
        ];
        for (list, origin) in own {
            let all: Vec<_> =
                list.iter().copied().chain([("host", "gw.example"), ("origin", origin)]).collect();
            assert_eq!(standing(PROXY, &all), Standing::Allowed, "{all:?}");
        }
        let foreign: [(&[(&str, &str)], &str); 7] = [
            (&[("x-forwarded-proto", "wss")], "http://gw.example"),
            (&[("x-forwarded-proto", "ws")], "https://gw.example"),
            (&[("x-forwarded-proto", "gopher")], "https://gw.example"),
            (&[("x-forwarded-port", "8443")], "https://gw.example:9443"),
            (&[("x-forwarded-host", "pub.example:1"), ("x-forwarded-port", "2")], "https://pub.example:2"),
            (&[("forwarded", "host=pub.example;proto=https")], "https://gw.example"),
            (&[("forwarded", "host=evil.example, host=pub.example")], "https://evil.example"),
        ];
        for (list, origin) in foreign {
            let all: Vec<_> =
                list.iter().copied().chain([("host", "gw.example"), ("origin", origin)]).collect();
            assert_eq!(standing(PROXY, &all), Standing::Foreign, "{all:?}");
        }
        let lie =
            [("forwarded", "host=evil.example"), ("host", "gw.example"), ("origin", "http://evil.example")];
        assert_eq!(standing(STRANGER, &lie), Standing::Foreign, "a stranger is no proxy");
    }

    #[test]
    fn only_ambient_authority_makes_the_origin_matter() {
        let foreign = headers(&[("origin", "https://evil.example"), ("host", "gw")]);
        let peer = STRANGER.parse().unwrap();
        assert_eq!(policy().check(peer, &foreign, false), Ok(()));
        assert!(policy().check(peer, &foreign, true).is_err());
        assert_eq!(policy().check(peer, &headers(&[("host", "gw")]), true), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_origin_the_host_and_the_option() {
        let refusal = |peer: &str, list: &[(&'static str, &'static str)]| {
            policy().check(peer.parse().unwrap(), &headers(list), true).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(STRANGER, &[("origin", "https://Evil.example"), ("host", "gw:8080")]),
            "origin https://evil.example is not allowed: the gateway was asked for as gw:8080 (Host); \
             --allow-origin https://evil.example would allow it"
        );
        let behind = [("origin", "https://pub.example"), ("host", "gw"), ("x-forwarded-host", "pub.example")];
        let text = refusal(STRANGER, &behind);
        assert!(
            text.ends_with(
                "--trusted-proxy 203.0.113.9 would believe the headers of the proxy at that address"
            ),
            "{text}"
        );
        let text =
            refusal(PROXY, &[("origin", "http://x"), ("host", "gw"), ("forwarded", "host=pub.example")]);
        assert!(text.contains("as pub.example (Forwarded)"), "{text}");
        for odd in ["null", "https://a, https://b", "x"] {
            let text = refusal(STRANGER, &[("origin", odd), ("host", "gw")]);
            assert!(text.contains("no option allows"), "{odd}: {text}");
        }
    }

    #[test]
    fn a_refused_origin_is_logged_once_and_the_memory_of_it_is_bounded() {
        let (policy, peer) = (policy(), STRANGER.parse().unwrap());
        for n in 0..3 * LOGGED_MAX {
            let mut list = headers(&[("host", "gw")]);
            list.insert(ORIGIN, format!("https://evil-{n}.example").parse().unwrap());
            assert!(policy.check(peer, &list, true).is_err() && policy.check(peer, &list, true).is_err());
        }
        assert_eq!(policy.logged.lock().len(), LOGGED_MAX);
    }

    #[test]
    fn dev_allows_the_pages_and_proxies_of_this_machine() {
        let dev = OriginPolicy::for_development(Vec::new(), TrustedProxies::default());
        let standing = |peer: &str, list: &[(&'static str, &'static str)]| {
            dev.standing(peer.parse().unwrap(), &headers(list))
        };
        let here = "127.0.0.1:5000";
        for origin in [
            "http://localhost:3000",
            "https://localhost",
            "http://127.0.0.1:5173",
            "http://[::1]:1",
            "http://app.localhost:8",
        ] {
            assert_eq!(
                standing(here, &[("origin", origin), ("host", "127.0.0.1:8080")]),
                Standing::Allowed,
                "{origin}"
            );
        }
        for origin in
            ["https://evil.example", "http://localhost.evil.example", "null", "capacitor://localhost"]
        {
            assert_eq!(
                standing(here, &[("origin", origin), ("host", "localhost:8080")]),
                Standing::Foreign,
                "{origin}"
            );
        }
        let proxied =
            [("origin", "https://my.test"), ("host", "localhost:8080"), ("x-forwarded-host", "my.test")];
        assert_eq!(standing(here, &proxied), Standing::Allowed);
        assert_eq!(standing(STRANGER, &proxied), Standing::Foreign);
    }

    #[test]
    fn cors_headers_only_for_allowed_origins() {
        let peer = STRANGER.parse().unwrap();
        let answer = policy().preflight(peer, &headers(&[("origin", "https://app.example"), ("host", "gw")]));
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, OPTIONS");
        let allowed = answer[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        for header in ["Idempotency-Key", "traceparent", "tracestate", "baggage"] {
            assert!(allowed.contains(header), "{header}: {allowed}");
        }
        assert!(!allowed.contains("X-User-Id"), "nothing reads it");
        assert_eq!(answer[VARY], "Origin");

        let mut response = HeaderMap::new();
        policy().add_cors(
            peer,
            &headers(&[("origin", "https://app.example"), ("host", "gw")]),
            &mut response,
        );
        assert_eq!(response[ACCESS_CONTROL_EXPOSE_HEADERS], "Retry-After");

        for foreign in ["https://evil.example", "null"] {
            let answer = policy().preflight(peer, &headers(&[("origin", foreign), ("host", "gw")]));
            assert_eq!(answer.keys().collect::<Vec<_>>(), [VARY], "{foreign}");
        }
    }

    #[test]
    fn knows_a_request_for_loopback() {
        for host in
            ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "127.0.0.2", "app.localhost:80"]
        {
            assert!(is_for_loopback(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", ""] {
            assert!(!is_for_loopback(&headers(&[("host", host)])), "{host}");
        }
        assert!(!is_for_loopback(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn an_origin_that_parses_prints_what_parses_to_it(text in "(?i)(https?|app)://[a-z0-9.\\[\\]:@/%-]{0,20}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string().parse(), Ok(origin));
            }
        }
    }
}
