//! Log lines on standard error, and what may stand in them: never a token, a key or a cookie.

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{ConfigError, LogFormat, Logs};

/// Changes which log lines are written.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogFilter {
    /// Writes the lines that this filter lets through from now on.
    ///
    /// # Errors
    /// When the text is no filter.
    pub fn set(&self, filter: &str) -> Result<(), ConfigError> {
        let changed = (self.0)(parsed(filter)?);
        changed.map_err(|error| ConfigError::new(error.to_string()))
    }
}

/// Starts writing log lines to standard error, for the rest of the process.
///
/// # Errors
/// When the process writes log lines already.
pub fn start(logs: &Logs) -> Result<LogFilter, ConfigError> {
    let (subscriber, filter) = subscriber(logs, std::io::stderr)?;
    let started = tracing::subscriber::set_global_default(subscriber);
    started.map_err(|error| ConfigError::new(error.to_string()))?;
    Ok(filter)
}

fn parsed(filter: &str) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(filter).map_err(|error| ConfigError::new(error.to_string()))
}

fn subscriber<W>(
    logs: &Logs,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogFilter), ConfigError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = parsed(&logs.filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match logs.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), LogFilter(Box::new(move |filter| handle.reload(filter))))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), LogFilter(Box::new(move |filter| handle.reload(filter))))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use http::{HeaderMap, HeaderValue, Method, Uri};
    use parking_lot::Mutex;

    use super::*;
    use crate::auth::{Credential, Source};
    use crate::loggable::RequestLine;

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
        let (subscriber, _) = subscriber(&logs, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
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
}
