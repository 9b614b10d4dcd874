//! Tests of the policy on whole requests.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::{OriginPolicy, Standing, is_for_loopback};
use crate::http::address::TrustedProxies;

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
fn allows_the_list_and_nothing_like_it() {
    for origin in
        ["https://app.example", "https://APP.example:443", "http://localhost:3000", "capacitor://localhost"]
    {
        assert_eq!(standing(STRANGER, &[("origin", origin), ("host", "gw")]), Standing::Allowed, "{origin}");
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
        assert_eq!(standing(STRANGER, &[("origin", origin), ("host", "gw")]), Standing::Foreign, "{origin}");
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
        assert_eq!(standing(STRANGER, &[("origin", origin), ("host", host)]), expected, "{origin} {host}");
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
        // Behind two load balancers, the port is that of the inner one.
        (&[("x-forwarded-proto", "https"), ("x-forwarded-port", "80")], "https://gw.example"),
        (&[("x-forwarded-host", "pub.example"), ("x-forwarded-port", "8443")], "https://pub.example:8443"),
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
        let all: Vec<_> = list.iter().copied().chain([("host", "gw.example"), ("origin", origin)]).collect();
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
        let all: Vec<_> = list.iter().copied().chain([("host", "gw.example"), ("origin", origin)]).collect();
        assert_eq!(standing(PROXY, &all), Standing::Foreign, "{all:?}");
    }
    let lie = [("forwarded", "host=evil.example"), ("host", "gw.example"), ("origin", "http://evil.example")];
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
        text.ends_with("--trusted-proxy 203.0.113.9 would believe the headers of the proxy at that address"),
        "{text}"
    );
    let text = refusal(PROXY, &[("origin", "http://x"), ("host", "gw"), ("forwarded", "host=pub.example")]);
    assert!(text.contains("as pub.example (Forwarded)"), "{text}");
    for odd in ["null", "https://a, https://b", "x"] {
        let text = refusal(STRANGER, &[("origin", odd), ("host", "gw")]);
        assert!(text.contains("no option allows"), "{odd}: {text}");
    }
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
    for origin in ["https://evil.example", "http://localhost.evil.example", "null", "capacitor://localhost"] {
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
    policy().add_cors(peer, &headers(&[("origin", "https://app.example"), ("host", "gw")]), &mut response);
    assert_eq!(response[ACCESS_CONTROL_EXPOSE_HEADERS], "Retry-After, ETag");

    for foreign in ["https://evil.example", "null"] {
        let answer = policy().preflight(peer, &headers(&[("origin", foreign), ("host", "gw")]));
        assert_eq!(answer.keys().collect::<Vec<_>>(), [VARY], "{foreign}");
    }
}

#[test]
fn knows_a_request_for_loopback() {
    for host in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "127.0.0.2", "app.localhost:80"]
    {
        assert!(is_for_loopback(&headers(&[("host", host)])), "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", ""] {
        assert!(!is_for_loopback(&headers(&[("host", host)])), "{host}");
    }
    assert!(!is_for_loopback(&HeaderMap::new()));
}
