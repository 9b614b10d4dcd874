//! The origin of a web page, as a browser writes it.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;

/// A web origin (RFC 6454): scheme, host and port, in the canonical form that a browser sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub(super) scheme: String,
    pub(super) host: String,
    /// `None`: the default port of the scheme.
    pub(super) port: Option<u16>,
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

/// The host in lower case and the port, from a `Host` header or an origin.
pub(super) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.parse().ok()?;
    let port = match text.strip_prefix(authority.host())? {
        "" => None,
        _ => Some(authority.port_u16()?),
    };
    let host = authority.host().to_ascii_lowercase();
    (!host.is_empty()).then_some((host, port))
}

/// The default port of a scheme, which an origin omits.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn an_origin_that_parses_prints_what_parses_to_it(text in "(?i)(https?|app)://[a-z0-9.\\[\\]:@/%-]{0,20}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string().parse(), Ok(origin));
            }
        }
    }
}
