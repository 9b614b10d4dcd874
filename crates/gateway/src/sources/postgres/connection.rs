//! One connection to PostgreSQL: opening it, driving it, and its errors in a form that may be
//! logged.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::{CONNECT_TIMEOUT, Target, authorities};
use crate::config::error::ConfigError;

/// How long the TCP connection, TLS and the login of one server may take together.
const LOGIN_TIMEOUT: Duration = CONNECT_TIMEOUT;

/// Opens connections to the servers of a [`Target`].
#[derive(Clone)]
pub(crate) struct Connector {
    target: Target,
    tls: MakeRustlsConnect,
}

impl Connector {
    /// Reads the trusted certificates.
    ///
    /// # Errors
    /// One line, when the certificates cannot be read.
    pub(crate) fn new(target: Target) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore::empty();
        // Without trusted certificates, every TLS connection fails with an error. A server without
        // TLS can still be used.
        let trusted = match &target.ca {
            Some(path) => authorities(path)?,
            None if target.may_use_tls() => rustls_native_certs::load_native_certs().certs,
            None => Vec::new(),
        };
        roots.add_parsable_certificates(trusted);
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::new(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { target, tls: MakeRustlsConnect::new(tls) })
    }

    /// Connects to the first server that accepts the login and allows writes. `heard` is called
    /// with each notification as it is read from the socket. It must not block.
    ///
    /// # Errors
    /// The reason why the last server could not be used.
    pub(crate) async fn connect(
        &self,
        heard: impl FnMut(Notification) + Clone + Send + 'static,
    ) -> Result<PgSession, Failure> {
        let mut failure = Failure::new("no server");
        for server in &self.target.servers {
            match timeout(LOGIN_TIMEOUT, server.connect(self.tls.clone())).await {
                Ok(Ok((client, connection))) => {
                    return Ok(PgSession::drive(client, connection, heard, self.target.clone()));
                }
                Ok(Err(error)) => failure = Failure::of(&error, &self.target),
                Err(_) => failure = Failure::new("the server does not answer"),
            }
        }
        Err(failure)
    }
}

/// An open connection. Dropping it closes it immediately, and the server rolls back the open
/// transaction.
pub(crate) struct PgSession {
    client: Client,
    driver: JoinHandle<Failure>,
    target: Target,
}

impl PgSession {
    /// Reads the socket from now on, independently of other work. If a client does not read, its
    /// server keeps all notifications of the cluster, until every transaction with a NOTIFY fails.
    fn drive<S, T>(
        client: Client,
        mut connection: tokio_postgres::Connection<S, T>,
        mut heard: impl FnMut(Notification) + Send + 'static,
        target: Target,
    ) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let known = target.clone();
        let driver = tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(notification))) => heard(notification),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Failure::of(&error, &known),
                    None => return Failure::new("the connection has ended"),
                }
            }
        });
        Self { client, driver, target }
    }

    /// Runs work on the connection, with a timeout.
    ///
    /// # Errors
    /// The server's refusal, or a timeout. The connection may be in any state after either: drop
    /// it.
    pub(crate) async fn within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout(time, work).await {
            Ok(result) => result.map_err(|error| self.failure(&error)),
            Err(_) => Err(Failure::new("the server does not answer")),
        }
    }

    /// Converts an error of this connection into a form that may be logged.
    pub(crate) fn failure(&self, error: &tokio_postgres::Error) -> Failure {
        Failure::of(error, &self.target)
    }

    /// The client of the connection.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until the connection has ended. Returns the reason.
    pub(crate) async fn ended(&mut self) -> Failure {
        (&mut self.driver).await.unwrap_or_else(|error| Failure::new(error.to_string()))
    }
}

impl Drop for PgSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why an operation failed, with the server's message and without any secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    text: String,
    /// Whether only an operator can fix it: a wrong password, a missing table or a missing
    /// privilege.
    lasts: bool,
}

impl Failure {
    /// A failure that may be temporary.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasts: false }
    }

    /// Converts an error of the server or of the network. Only the server's message is shown: its
    /// detail may quote rows.
    fn of(error: &tokio_postgres::Error, target: &Target) -> Self {
        let Some(said) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(because) = cause {
                text += &format!(": {because}");
                cause = because.source();
            }
            if text.contains("UnknownIssuer") {
                text += ": give the certificate's authority as --database-ca, or sslmode=disable";
            }
            return Self::new(target.scrub(&text));
        };
        let text = format!("{} (SQLSTATE {})", said.message(), said.code().code());
        Self { text: target.scrub(&text), lasts: lasts(said.code()) }
    }

    /// Whether only an operator can fix it.
    pub(crate) fn lasts(&self) -> bool {
        self.lasts
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The error classes: invalid authorization, invalid catalog name, and syntax error or access rule
/// violation.
fn lasts(code: &SqlState) -> bool {
    ["28", "3D", "42"].iter().any(|class| code.code().starts_with(class))
}
