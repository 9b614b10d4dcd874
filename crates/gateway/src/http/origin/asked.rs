//! The public host of the gateway that the browser requested, according to the headers of a
//! request.

use std::net::IpAddr;

use http::HeaderMap;

use super::name::{Origin, default_port, host_and_port};
use crate::http::address;

const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_PORT: &str = "x-forwarded-port";
const HOST: &str = "host";

/// The host that the browser requested, according to the headers.
#[derive(Debug)]
pub(super) struct PublicHost {
    /// `http` or `https`; `None`: no header gives the scheme.
    scheme: Option<&'static str>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The port in a proxy's separate header. It applies if the host has no port.
    forwarded_port: Option<u16>,
    /// The header that contained the host.
    pub(super) named_by: &'static str,
}

/// Whether this is the origin of the gateway's own pages: the host that the browser requested. Http
/// and https both match, unless a trusted proxy gives the scheme of the browser's request: TLS may
/// end in a proxy that does not report it.
pub(super) fn is_own(origin: &Origin, headers: &HeaderMap, believed: bool) -> bool {
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
    /// Reads the host from `X-Forwarded-Host`, `-Proto` and `-Port`, or from `host` and `proto` of
    /// `Forwarded` (RFC 7239), if these headers are `believed`; otherwise from `Host`.
    pub(super) fn of(headers: &HeaderMap, believed: bool) -> Option<Self> {
        let of_proxy = |name| if believed { last_of_list(headers, name).map(str::to_owned) } else { None };
        let forwarded = |name| if believed { address::last_forwarded(headers, name) } else { None };
        let (text, named_by) = of_proxy(X_FORWARDED_HOST)
            .map(|host| (host, "X-Forwarded-Host"))
            .or_else(|| forwarded("host").map(|host| (host, "Forwarded")))
            .or_else(|| only(headers, HOST).map(|host| (host.to_owned(), "Host")))?;
        let (host, port) = host_and_port(&text)?;
        let scheme = of_proxy(X_FORWARDED_PROTO).or_else(|| forwarded("proto"));
        Some(Self {
            // Some proxies give the protocol inside the connection, others the protocol beneath it.
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

/// Whether the request was made to a loopback name (`localhost`, `127.0.0.1`, `[::1]`). `gateway
/// dev` requires no token, so it answers only such requests. A foreign page whose own host name
/// resolves to 127.0.0.1 is refused.
#[must_use]
pub fn is_for_loopback(headers: &HeaderMap) -> bool {
    only(headers, HOST).and_then(host_and_port).is_some_and(|(host, _)| is_loopback_name(&host))
}

/// Whether the host's name or address always means this machine.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The value of a header that occurs exactly once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The last member of a comma-separated list: the one that the nearest proxy wrote.
fn last_of_list<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}
