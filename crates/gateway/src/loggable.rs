//! Requests and URLs as they may be logged: without tokens, keys and whatever else a query may hold.

use std::fmt::{self, Write as _};

use http::{Method, Uri};

/// Query parameters whose values may be logged. Everything else, tokens above all, is replaced.
const LOGGABLE: [&str; 13] = [
    "_",
    "after",
    "heartbeat",
    "interval",
    "limit",
    "pad",
    "seq",
    "session",
    "topic",
    "topics",
    "types",
    "user",
    "wait",
];

/// Bytes of a request target that are logged at most.
const TARGET_BYTES_MAX: usize = 512;

/// Method and target of a request as they may be logged: `GET /v1/sse?after=k3.7&access_token=…`.
///
/// Values of parameters that are not known to be harmless become `…`; headers are never part of it.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    method: &'a Method,
    target: Redacted<'a>,
}

impl<'a> RequestLine<'a> {
    /// The line for a request with this method and target.
    #[must_use]
    pub fn new(method: &'a Method, uri: &'a Uri) -> Self {
        Self { method, target: Redacted(uri) }
    }
}

impl fmt::Display for RequestLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// A URL as it may be logged: see [`RequestLine`]. Scheme and host are kept, user and password are not.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a Uri);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if let (Some(scheme), Some(host)) = (self.0.scheme_str(), self.0.host()) {
            write!(text, "{scheme}://{host}")?;
            if let Some(port) = self.0.port_u16() {
                write!(text, ":{port}")?;
            }
        }
        text.push_str(self.0.path());
        let pairs = self.0.query().map(|query| form_urlencoded::parse(query.as_bytes()));
        for (index, (name, value)) in pairs.into_iter().flatten().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            match LOGGABLE.iter().find(|known| **known == name) {
                Some(known) => {
                    write!(text, "{known}=")?;
                    text.extend(form_urlencoded::byte_serialize(value.as_bytes()));
                }
                None if name == "access_token" || name == "token" => write!(text, "{name}=…")?,
                // The name too may be a secret: `?SECRET` is a name without a value.
                None => text.push('…'),
            }
            if text.len() > TARGET_BYTES_MAX {
                break;
            }
        }
        if text.len() > TARGET_BYTES_MAX {
            let end = (0..=TARGET_BYTES_MAX).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(target: &str) -> String {
        RequestLine::new(&Method::GET, &target.parse().unwrap()).to_string()
    }

    #[test]
    fn keeps_what_is_harmless() {
        assert_eq!(line("/v1/poll?after=k3.7&topics=a,b&_=1"), "GET /v1/poll?after=k3.7&topics=a%2Cb&_=1");
        assert_eq!(line("/health"), "GET /health");
        let jwks: Uri = "https://me:hunter2@idp.example:8443/keys?api_key=hunter2".parse().unwrap();
        assert_eq!(Redacted(&jwks).to_string(), "https://idp.example:8443/keys?…");
    }

    #[test]
    fn replaces_what_may_be_a_secret() {
        for target in [
            "/v1/ws?access_token=hunter2",
            "/v1/ws?token=hunter2&after=k3.7",
            "/v1/ws?after=k3.7&access%5Ftoken=hunter2",
            "/v1/ws?Access_Token=hunter2",
            "/v1/ws?hunter2",
            "/v1/ws?jwt=hunter2",
            "/v1/ws?hunter2=1",
        ] {
            assert!(!line(target).contains("hunter2"), "{}", line(target));
        }
        assert_eq!(line("/v1/ws?token=hunter2&after=k.1"), "GET /v1/ws?token=…&after=k.1");
    }

    #[test]
    fn a_line_is_bounded() {
        let long = format!("/v1/ws?topics={}", "a%C3%A9".repeat(2000));
        assert!(line(&long).len() < TARGET_BYTES_MAX + 16);
        assert!(line(&format!("/{}", "a".repeat(4000))).len() < TARGET_BYTES_MAX + 16);
    }

    proptest! {
        /// Wherever it stands, under whatever name that is not in the list, and however it is escaped.
        #[test]
        fn no_query_shows_a_secret(name in "[a-z_%=&]{0,12}", before in "[a-z=&%;+]{0,20}") {
            prop_assume!(!LOGGABLE.contains(&name.rsplit('&').next().unwrap_or_default().split('=').next().unwrap()));
            let shown = line(&format!("/v1/ws?{before}&{name}=HUNTER2"));
            prop_assert!(!shown.contains("HUNTER2"), "{shown}");
        }
    }
}
