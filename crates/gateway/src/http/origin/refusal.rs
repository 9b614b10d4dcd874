//! Why a page is refused, with the option that would allow it.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::ORIGIN;

use super::asked::{PublicHost, is_own, only};
use super::name::Origin;
use crate::problem::{Code, Problem};

/// Most bytes of a client's text that a refusal repeats.
const SHOWN_MAX: usize = 128;

/// A page whose origin is not allowed: 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("origin {origin} is not allowed: the gateway was asked for as {host}; {remedy}")]
pub struct ForeignOrigin {
    /// The text of the `Origin` header.
    origin: String,
    /// The host that the origin was compared with, and the header that contained it.
    host: String,
    /// The option that would allow the origin.
    remedy: String,
}

impl From<ForeignOrigin> for Problem {
    fn from(foreign: ForeignOrigin) -> Self {
        Self::new(Code::Forbidden, foreign.to_string())
    }
}

impl ForeignOrigin {
    /// Why the origin of a request from `peer` is foreign, and the option that would allow it.
    /// `believed`: the forwarding headers of the peer are trusted.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, believed: bool) -> Self {
        let values = headers.get_all(ORIGIN).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let texts: Vec<_> = values.collect();
        let parsed: Option<Origin> = only(headers, ORIGIN.as_str()).and_then(|text| text.parse().ok());
        let asked = PublicHost::of(headers, believed);
        let host = asked.map_or_else(
            || "no host that can be read".to_owned(),
            |asked| {
                let port = asked.port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}{port} ({})", shown(&asked.host), asked.named_by)
            },
        );
        let remedy = match &parsed {
            Some(origin) if is_own(origin, headers, true) => {
                let proxy = peer.to_canonical();
                format!("--trusted-proxy {proxy} would believe the headers of the proxy at that address")
            }
            Some(origin) => format!("--allow-origin {} would allow it", shown(&origin.to_string())),
            None => "no option allows what is not one origin".to_owned(),
        };
        let origin = parsed
            .map_or_else(|| format!("{:?}", shown(&texts.join(", "))), |origin| shown(&origin.to_string()));
        Self { origin, host, remedy }
    }

    /// The origin as shown. Each shown origin is logged only once.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

/// A client's text, shortened for a refusal.
fn shown(text: &str) -> String {
    let end = (0..=text.len().min(SHOWN_MAX)).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}
