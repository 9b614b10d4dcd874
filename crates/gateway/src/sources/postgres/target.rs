//! The servers that `--database-url` names, validated once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::config::error::ConfigError;
use crate::secret::Secret;

/// How long one server may take for each step of a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time after which a connection is probed. Devices on the path drop idle connections
/// silently.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// Shortest secret that is masked in place. Masking a shorter one, such as `a`, would make every
/// text unreadable, and the many gaps would reveal the secret.
const SECRET_BYTES_MIN: usize = 4;

/// The servers of a `--database-url`, in the order of the URL, with their connection settings.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// One configuration for each server. tokio-postgres limits only the time of the TCP
    /// connection, so a server that accepts and then stays silent would hide the servers after it.
    pub(super) servers: Vec<tokio_postgres::Config>,
    /// Texts that no log line may show.
    secrets: Arc<[String]>,
    /// The trusted authorities; `None`: those of the system.
    pub(super) ca: Option<PathBuf>,
}

impl Target {
    /// Validates a URL (`postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME?sslmode=require`) or a
    /// list of `key=value`.
    ///
    /// # Errors
    /// One line, when the URL cannot be used. The line shows no part of the URL, because any part
    /// may be the password.
    pub(crate) fn new(url: &Secret, ca: Option<PathBuf>) -> Result<Self, ConfigError> {
        let text = url.expose();
        if text.contains("sslmode=verify-") {
            return Err(ConfigError::new(
                "--database-url: write sslmode=require instead of sslmode=verify-full or verify-ca: the gateway always \
                 verifies the certificate and the host name of a TLS connection",
            ));
        }
        if text.contains("sslrootcert=") {
            return Err(ConfigError::new(
                "--database-url: give the file of sslrootcert as --database-ca FILE",
            ));
        }
        let parsed: tokio_postgres::Config = text.parse().map_err(|_| {
            ConfigError::new(
                "--database-url is not a URL of PostgreSQL: expected postgres://USER:PASSWORD@HOST:5432/NAME, with \
                 sslmode=disable, prefer or require, and special characters of the password percent-encoded",
            )
        })?;
        let hosts = parsed.get_hosts().len().max(parsed.get_hostaddrs().len());
        if hosts == 0 {
            return Err(ConfigError::new("--database-url names no host"));
        }
        if parsed.get_ports().len() > 1 && parsed.get_ports().len() != hosts {
            return Err(ConfigError::new("--database-url has another number of ports than of hosts"));
        }
        if let Some(path) = &ca {
            authorities(path)?;
        }
        let servers = (0..hosts).map(|index| one_server(&parsed, index)).collect();
        Ok(Self { servers, secrets: secrets(text, parsed.get_password()), ca })
    }

    /// The text on one line, without any secret part of the URL. For all external messages: an
    /// error may quote text that was sent to its author.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter() {
            if secret.len() < SECRET_BYTES_MIN && text.contains(secret.as_str()) {
                return "…".to_owned();
            }
            text = text.replace(secret.as_str(), "…");
        }
        text.replace(char::is_control, " ")
    }

    /// Whether TLS may be requested from any server.
    pub(super) fn may_use_tls(&self) -> bool {
        self.servers.iter().any(|server| server.get_ssl_mode() != SslMode::Disable)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// One line, when the file cannot be read or contains no certificate.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let wrong = |why: String| ConfigError::new(format!("--database-ca {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("the file has no certificate".to_owned()));
    }
    Ok(certificates)
}

/// A copy of the configuration with only the server number `index`.
fn one_server(all: &tokio_postgres::Config, index: usize) -> tokio_postgres::Config {
    let mut one = tokio_postgres::Config::new();
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    match all.get_hosts().get(index) {
        Some(Host::Tcp(host)) => drop(one.host(host)),
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    if let Some(address) = all.get_hostaddrs().get(index) {
        one.hostaddr(*address);
    }
    if let Some(port) = all.get_ports().get(index).or_else(|| all.get_ports().first()) {
        one.port(*port);
    }
    one.application_name(all.get_application_name().unwrap_or("throughline"))
        .ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(UNACKNOWLEDGED_MAX)
        .keepalives_idle(KEEPALIVE)
        .keepalives_interval(KEEPALIVE)
        .keepalives_retries(2);
    one
}

/// The texts that must not be shown: the URL, and its password in both its encoded and its decoded
/// form.
fn secrets(url: &str, password: Option<&[u8]>) -> Arc<[String]> {
    let mut secrets = vec![url.to_owned()];
    secrets.extend(password.map(|password| String::from_utf8_lossy(password).into_owned()));
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    if let Some((user, _)) = after_scheme.rsplit_once('@') {
        secrets.extend(user.split_once(':').map(|(_, written)| written.to_owned()));
    }
    secrets.retain(|secret| !secret.is_empty());
    secrets.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, String> {
        Target::new(&Secret::new(url), None).map_err(|error| error.to_string())
    }

    #[test]
    fn each_server_of_a_url_is_tried_by_itself_and_must_take_writes() {
        let target = target("postgres://u:p@a:1,b:2/db?sslmode=require").unwrap();
        let shown: Vec<_> =
            target.servers.iter().map(|server| (server.get_hosts().to_vec(), server.get_ports())).collect();
        assert_eq!(
            shown,
            [(vec![Host::Tcp("a".into())], &[1_u16][..]), (vec![Host::Tcp("b".into())], &[2][..])]
        );
        for server in &target.servers {
            assert_eq!(server.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert_eq!(server.get_ssl_mode(), SslMode::Require);
            assert_eq!((server.get_user(), server.get_dbname()), (Some("u"), Some("db")));
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_showing_it() {
        for url in [
            "postgres://u:hunter2@h/db?sslmode=verify-full",
            "postgres://u:hunter2@h/db?sslrootcert=/x",
            "postgres://u:hunter2@h:x/db",
            "host=h password=hunter2 hunter2=hunter2",
            "hunter2",
            "postgres://u:hunter2@a:1,b:2,c/db?port=1,2",
        ] {
            let error = target(url).expect_err(url);
            assert!(!error.contains("hun"), "{url}: {error}");
            assert!(error.contains("--database-url"), "{error}");
        }
    }

    #[test]
    fn a_password_never_survives_in_the_text_of_others() {
        let long = target("postgres://u:hunter%202@h/db").unwrap();
        let said = "no pg_hba.conf entry for \"hunter 2\" (hunter%202) at postgres://u:hunter%202@h/db\nline";
        assert_eq!(long.scrub(said), "no pg_hba.conf entry for \"…\" (…) at … line");
        let short = target("postgres://u:a@h/db").unwrap();
        assert_eq!(short.scrub("password authentication failed"), "…");
        assert_eq!(format!("{long:?}"), "…");
    }
}
