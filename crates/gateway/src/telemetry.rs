//! Log lines on standard error, and what may stand in them: never a token, a key or a cookie.

use std::fmt::{self, Write as _};

use http::{Method, Uri};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{ConfigError, LogFormat, Logs};

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

/// Starts writing log lines to standard error, for the rest of the process.
///
/// # Errors
/// When the process writes log lines already.
pub fn start(logs: &Logs) -> Result<(), ConfigError> {
    let subscriber = subscriber(logs, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| ConfigError::new(error.to_string()))
}

/// Whether a text is a filter of log lines.
///
/// # Errors
/// When it is not.
pub fn check_filter(text: &str) -> Result<(), ParseError> {
    EnvFilter::try_new(text).map(drop)
}

fn subscriber<W>(logs: &Logs, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, ConfigError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&logs.filter).map_err(|error| ConfigError::new(error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match logs.format {
        LogFormat::Text => Box::new(builder.with_ansi(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

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
    use std::io::{self, Write};
    use std::sync::Arc;

    use http::{HeaderMap, HeaderValue};
    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;
    use crate::auth::{Credential, Source};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = Logs { format, filter: "trace".to_owned() };
        let subscriber = subscriber(&logs, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

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

    #[test]
    fn no_token_reaches_the_log_by_any_of_the_four_ways() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        let values = [
            ("authorization", format!("Bearer {token}"), "/v1/sse?after=k.1".to_owned(), Source::Header),
            (
                "sec-websocket-protocol",
                format!("throughline.v1, bearer.{token}"),
                "/v1/ws".to_owned(),
                Source::Subprotocol,
            ),
            ("cookie", format!("throughline_token={token}"), "/v1/sse".to_owned(), Source::Cookie),
            ("x-nothing", String::new(), format!("/v1/sse?access_token={token}"), Source::Query),
        ];
        for (name, value, target, source) in values {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(&value).unwrap());
            let uri: Uri = target.parse().unwrap();
            let query: Vec<_> = uri
                .query()
                .map(|query| form_urlencoded::parse(query.as_bytes()).into_owned().collect())
                .unwrap_or_default();
            let credential = Credential::find(&headers, &query).unwrap();
            assert_eq!((credential.token(), credential.source()), (token, source));
            for format in [LogFormat::Text, LogFormat::Json] {
                let text = logged(format, || {
                    tracing::info!(request = %RequestLine::new(&Method::GET, &uri), ?credential, "request");
                });
                assert!(text.contains("/v1/"), "{text}");
                assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
            }
        }
    }

    #[test]
    fn json_lines_are_json() {
        let text = logged(LogFormat::Json, || tracing::warn!(kind = "origin", "refused"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["level"], &value["kind"]), (&"WARN".into(), &"origin".into()));
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
