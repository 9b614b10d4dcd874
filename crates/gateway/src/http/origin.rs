//! Which web pages may talk to the gateway: the `Origin` check, and the CORS headers that tell a browser.
//!
//! A browser sends cookies along with requests that any page makes, so a request that a cookie authenticates, and every
//! WebSocket (which no browser restricts by itself), counts only from an allowed origin or from the gateway's own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use crate::http::address::TrustedProxies;
use crate::problem::{Code, Problem};

const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const HOST: &str = "host";

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this origin is not allowed")]
pub struct ForeignOrigin;

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
}

impl OriginPolicy {
    /// Allows these origins beside the gateway's own, as seen through these proxies.
    #[must_use]
    pub fn new(allowed: Vec<Origin>, proxies: TrustedProxies) -> Self {
        Self { allowed, proxies }
    }

    /// Where the request stands; `peer` is who sent it, so that a trusted proxy may name the public host.
    #[must_use]
    pub fn standing(&self, peer: SocketAddr, headers: &HeaderMap) -> Standing {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Standing::Absent };
        let parsed = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok());
        match parsed {
            Some(origin)
                if origins.next().is_none()
                    && (self.allowed.contains(&origin) || self.is_own(&origin, peer, headers)) =>
            {
                Standing::Allowed
            }
            _ => Standing::Foreign,
        }
    }

    /// Refuses a WebSocket that a foreign page opens.
    ///
    /// # Errors
    /// When an `Origin` is present and foreign.
    pub fn check_websocket(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), ForeignOrigin> {
        if self.standing(peer, headers) == Standing::Foreign { Err(ForeignOrigin) } else { Ok(()) }
    }

    /// Refuses any other request that a cookie authenticates for a foreign page.
    ///
    /// # Errors
    /// When a cookie authenticates the request and its `Origin` is foreign.
    pub fn check_request(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        by_cookie: bool,
    ) -> Result<(), ForeignOrigin> {
        if by_cookie { self.check_websocket(peer, headers) } else { Ok(()) }
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
                    "Authorization, Content-Type, Last-Event-ID, Idempotency-Key, X-User-Id",
                ),
            );
            response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        }
        response
    }

    /// Whether this is the origin of the gateway's own pages: the host that the browser asked for. Unless a trusted
    /// proxy says which scheme the browser used, http and https both count: TLS may end in a proxy that says nothing.
    fn is_own(&self, origin: &Origin, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let forwarded = self.proxies.contains(peer.ip());
        let from_proxy = |name| if forwarded { last_of_list(headers, name) } else { None };
        let host = from_proxy(X_FORWARDED_HOST).or_else(|| only(headers, HOST));
        let scheme_fits = match from_proxy(X_FORWARDED_PROTO) {
            Some(scheme) => scheme.eq_ignore_ascii_case(&origin.scheme),
            None => origin.scheme == "http" || origin.scheme == "https",
        };
        let Some((host, port)) = host.and_then(host_and_port) else { return false };
        let port = port.filter(|port| Some(*port) != default_port(&origin.scheme));
        scheme_fits && host == origin.host && port == origin.port
    }
}

/// Whether the request was made to a loopback name (`localhost`, `127.0.0.1`, `[::1]`). `gateway dev` asks nobody for a
/// token, so it answers only to these: a foreign page that points a host name of its own at 127.0.0.1 gets nothing.
#[must_use]
pub fn is_for_loopback(headers: &HeaderMap) -> bool {
    only(headers, HOST).and_then(host_and_port).is_some_and(|(host, _)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        bare == "localhost"
            || bare.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    })
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
    fn only_a_cookie_makes_the_origin_of_a_request_matter() {
        let foreign = headers(&[("origin", "https://evil.example"), ("host", "gw")]);
        let peer = STRANGER.parse().unwrap();
        assert_eq!(policy().check_request(peer, &foreign, false), Ok(()));
        assert_eq!(policy().check_request(peer, &foreign, true), Err(ForeignOrigin));
        assert_eq!(policy().check_websocket(peer, &foreign), Err(ForeignOrigin));
        assert_eq!(policy().check_websocket(peer, &headers(&[("host", "gw")])), Ok(()));
    }

    #[test]
    fn cors_headers_only_for_allowed_origins() {
        let peer = STRANGER.parse().unwrap();
        let answer = policy().preflight(peer, &headers(&[("origin", "https://app.example"), ("host", "gw")]));
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, OPTIONS");
        assert!(answer[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("Idempotency-Key"));
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
