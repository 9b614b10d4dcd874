//! A JSON Web Key Set that is read again and again, so that its owner can change keys while the gateway runs.
//!
//! One task reads it: every 5 minutes, and at once when a token names a key that is not in it, but never more often than
//! every 10 seconds, whatever tokens strangers send. While reading fails, the last good set stays.
//!
//! A key that is not in the set is unknown for good only once a reading that began after the token came lacks it. Until
//! then the gateway cannot tell, and says when to ask again.
//!
//! Over HTTP the client is hyper's with rustls: the same HTTP code and the same `ring` as in the rest of the program, and a
//! read that ends by its deadline without a thread of its own. Redirects are not followed: the set comes from the
//! address that the operator named or not at all.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::Chance;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::keys::{VerifyingKey, read_key_set};
use crate::config::error::ConfigError;
use crate::loggable::Redacted;

/// Bytes of the largest set that is read.
const SET_BYTES_MAX: usize = 256 * 1024;

/// Where a key set is.
#[derive(Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// Behind an `http:` or `https:` URL.
    Url(Uri),
}

impl JwksSource {
    /// Whether it is in a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

impl FromStr for JwksSource {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let Some((scheme, _)) = text.split_once("://") else { return Ok(Self::File(PathBuf::from(text))) };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(ConfigError::new(
                "--jwks must be a file or a URL that begins with http:// or https://",
            ));
        }
        let url: Uri = text.parse().map_err(|_| ConfigError::new("--jwks is not a URL"))?;
        if url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(ConfigError::new("--jwks must be a URL with a host, without user and password"));
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => Redacted(url).fmt(f),
        }
    }
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How often the set is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two readings, give or take a tenth.
    pub(super) interval: Duration,
    /// After a reading that failed.
    pub(super) retry: Duration,
    /// The shortest time between two readings, for any reason.
    pub(super) spacing: Duration,
    /// For one reading.
    pub(super) deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            retry: Duration::from_secs(15),
            spacing: Duration::from_secs(10),
            deadline: Duration::from_secs(5),
        }
    }
}

/// The keys as last read.
#[derive(Clone, Debug)]
struct Reading {
    keys: Arc<[VerifyingKey]>,
    /// Rises when `keys` changes.
    version: u64,
    /// Readings tried so far.
    attempts: u64,
    /// No reading begins before this.
    next_attempt: Instant,
    /// When the last reading that succeeded began; `None`: none has yet.
    read_at: Option<Instant>,
}

/// The key set, and until it runs the task that keeps it fresh.
pub(super) struct Jwks {
    readings: watch::Receiver<Reading>,
    wanted: Arc<Notify>,
    patience: Duration,
    /// Whether the set may hold secrets: only one in a file may.
    may_hold_secrets: bool,
    reader: Mutex<Option<(Set, watch::Sender<Reading>)>>,
}

impl Jwks {
    /// Opens the set. A file must be readable now; a URL may answer later, once [`Jwks::take_reader`] runs, and until then
    /// no token of its keys is good.
    ///
    /// # Errors
    /// When a file holds no usable key set, or the system's trust store for https cannot be read.
    pub(super) fn open(source: &JwksSource, pace: Pace, chance: Chance) -> Result<Self, ConfigError> {
        let wrong = |reason: String| ConfigError::new(format!("--jwks {source}: {reason}"));
        let mut first = Reading {
            keys: Arc::from([]),
            version: 0,
            attempts: 0,
            next_attempt: Instant::now(),
            read_at: None,
        };
        let set = match source {
            JwksSource::File(path) => {
                let (json, keys) = read_set_file(source, path)?;
                first.keys = keys.into();
                first.attempts = 1;
                first.read_at = Some(Instant::now());
                first.next_attempt += pace.spacing;
                Set { source: source.clone(), client: None, last: json, pace, chance }
            }
            JwksSource::Url(url) => {
                let client = Some(client(url).map_err(|error| wrong(error.to_string()))?);
                Set { source: source.clone(), client, last: Bytes::new(), pace, chance }
            }
        };
        let (sender, readings) = watch::channel(first);
        let wanted = Arc::new(Notify::new());
        let patience = pace.deadline + Duration::from_secs(1);
        let may_hold_secrets = matches!(source, JwksSource::File(_));
        let reader = Mutex::new(Some((set, sender)));
        Ok(Self { readings, wanted, patience, may_hold_secrets, reader })
    }

    /// Checks a set without opening it. One behind a URL is not asked for.
    ///
    /// # Errors
    /// When a file holds no usable key set.
    pub(super) fn check(source: &JwksSource) -> Result<(), ConfigError> {
        match source {
            JwksSource::File(path) => read_set_file(source, path).map(|_| ()),
            JwksSource::Url(_) => Ok(()),
        }
    }

    /// The task that reads the set again and again and never ends. Given once.
    pub(super) fn take_reader(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (set, readings) = self.reader.lock().take()?;
        Some(keep_reading(set, Arc::clone(&self.wanted), readings))
    }

    /// Whether a set from this source may have a key for the algorithm.
    pub(super) fn may_verify(&self, algorithm: Algorithm) -> bool {
        self.may_hold_secrets || algorithm != Algorithm::HS256
    }

    /// The keys as last read, and their version.
    pub(super) fn keys(&self) -> (Arc<[VerifyingKey]>, u64) {
        let reading = self.readings.borrow();
        (Arc::clone(&reading.keys), reading.version)
    }

    /// The version of the keys as last read.
    pub(super) fn version(&self) -> u64 {
        self.readings.borrow().version
    }

    /// Whether the set was ever read.
    pub(super) fn was_read(&self) -> bool {
        self.readings.borrow().read_at.is_some()
    }

    /// Waits for a set whose reading began at `came` or later. Concurrent callers share one reading.
    ///
    /// # Errors
    /// When there is none: the last reading was a moment ago, began earlier, or failed. After this time another may be
    /// asked for.
    pub(super) async fn read_after(&self, came: Instant) -> Result<(), Duration> {
        let mut readings = self.readings.clone();
        let seen = readings.borrow().clone();
        if seen.is_of(came) {
            return Ok(());
        }
        let now = Instant::now();
        if seen.attempts > 0 && now < seen.next_attempt {
            return Err(seen.next_attempt - now);
        }
        self.wanted.notify_one();
        let next = readings.wait_for(|reading| reading.attempts > seen.attempts);
        match timeout(self.patience, next).await {
            Ok(Ok(reading)) if reading.is_of(came) => Ok(()),
            Ok(Ok(reading)) => Err(reading.next_attempt.saturating_duration_since(Instant::now())),
            // The reading takes longer than its deadline, or the gateway ends.
            Ok(Err(_)) | Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("readings", &self.readings).finish_non_exhaustive()
    }
}

impl Reading {
    /// Whether it began at `came` or later.
    fn is_of(&self, came: Instant) -> bool {
        self.read_at.is_some_and(|at| at >= came)
    }
}

/// What the reading task holds.
struct Set {
    source: JwksSource,
    client: Option<HttpClient>,
    last: Bytes,
    pace: Pace,
    chance: Chance,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl Set {
    /// Reads the set once. `None`: it is as before.
    async fn read(&mut self) -> Result<Option<Vec<VerifyingKey>>, String> {
        let reading = async {
            match (&self.source, &self.client) {
                (JwksSource::Url(url), Some(client)) => fetch(client, url).await,
                (JwksSource::File(path), _) => {
                    let path = path.clone();
                    let read = tokio::task::spawn_blocking(move || read_file(&path));
                    read.await.map_err(|error| error.to_string())?
                }
                (JwksSource::Url(_), None) => Err("no HTTP client".to_owned()),
            }
        };
        let json =
            timeout(self.pace.deadline, reading).await.map_err(|_| "no answer in time".to_owned())??;
        if json == self.last {
            return Ok(None);
        }
        let keys = read_key_set(&json, matches!(self.source, JwksSource::File(_)))?;
        self.last = json;
        Ok(Some(keys))
    }
}

async fn keep_reading(mut set: Set, wanted: Arc<Notify>, readings: watch::Sender<Reading>) {
    let mut wait = set.pace.interval;
    if readings.borrow().attempts > 0 {
        wait_for_next(jittered(wait, &set.chance), &wanted, &readings).await;
    }
    loop {
        let began = Instant::now();
        let outcome = set.read().await;
        wait = if outcome.is_ok() { set.pace.interval } else { set.pace.retry };
        readings.send_modify(|reading| {
            reading.attempts += 1;
            reading.next_attempt = Instant::now() + set.pace.spacing;
            if outcome.is_ok() {
                reading.read_at = Some(began);
            }
            match outcome {
                Ok(Some(keys)) => {
                    tracing::info!(jwks = %set.source, keys = keys.len(), "read a new key set");
                    reading.keys = keys.into();
                    reading.version += 1;
                }
                Ok(None) => {}
                Err(reason) => {
                    tracing::warn!(jwks = %set.source, reason, "the key set cannot be read; the gateway keeps the last good one");
                }
            }
        });
        wait_for_next(jittered(wait, &set.chance), &wanted, &readings).await;
    }
}

/// Waits for the next reading, or until one is asked for. A request during a reading is served by it.
async fn wait_for_next(wait: Duration, wanted: &Notify, readings: &watch::Sender<Reading>) {
    let next_attempt = readings.borrow().next_attempt;
    let time = Instant::now() + wait;
    loop {
        tokio::select! {
            () = sleep_until(time) => return,
            () = wanted.notified() => {
                if Instant::now() >= next_attempt {
                    return;
                }
            }
        }
    }
}

/// The duration give or take a tenth, so that many gateways do not ask at the same moment.
fn jittered(duration: Duration, chance: &Chance) -> Duration {
    duration.mul_f64(0.9 + chance.below(201) as f64 / 1000.0)
}

/// A set in a file: its bytes and its keys.
fn read_set_file(source: &JwksSource, path: &PathBuf) -> Result<(Bytes, Vec<VerifyingKey>), ConfigError> {
    let wrong = |reason: String| ConfigError::new(format!("--jwks {source}: {reason}"));
    let json = read_file(path).map_err(wrong)?;
    let keys = read_key_set(&json, true).map_err(|reason| wrong(reason.to_owned()))?;
    Ok((json, keys))
}

fn read_file(path: &PathBuf) -> Result<Bytes, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > SET_BYTES_MAX as u64 {
        return Err(format!("larger than {SET_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map(Bytes::from).map_err(|error| error.to_string())
}

/// A client that keeps no idle connection: the next reading is minutes away.
fn client(url: &Uri) -> std::io::Result<HttpClient> {
    let builder = HttpsConnectorBuilder::new();
    let ring = rustls::crypto::ring::default_provider();
    let connector = if url.scheme() == Some(&http::uri::Scheme::HTTPS) {
        builder.with_provider_and_native_roots(ring)?.https_only().enable_http1().build()
    } else {
        tracing::warn!(jwks = %Redacted(url), "an attacker on the way to this http: URL can forge tokens: use https:");
        let no_tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder.with_tls_config(no_tls).https_or_http().enable_http1().build()
    };
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

async fn fetch(client: &HttpClient, url: &Uri) -> Result<Bytes, String> {
    let request = Request::get(url.clone())
        .header(http::header::ACCEPT, "application/jwk-set+json, application/json")
        .header(http::header::USER_AGENT, concat!("throughline/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = client.request(request).await.map_err(|error| causes(&error))?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), SET_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
}

/// An error with what lies beneath it: "client error (Connect): tcp connect error: Connection refused".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
