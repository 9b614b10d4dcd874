//! TLS on the gateway's own listeners.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::error::ConfigError;

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file with the certificate, and those of the authorities between it and the root.
    pub cert: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads the files for handshakes: TLS 1.3 and 1.2 with the library's own choice of ciphers, and
    /// HTTP/1.1 inside.
    ///
    /// # Errors
    /// When a file cannot be read, or the key is not that of the certificate, as one line.
    pub(crate) fn open(&self) -> Result<Arc<ServerConfig>, ConfigError> {
        let Self { cert, key } = self;
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong("--tls-cert", cert, &error))?;
        if chain.is_empty() {
            return Err(wrong("--tls-cert", cert, &"the file has no certificate in PEM"));
        }
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("--tls-key", key, &error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("--tls-cert", cert, &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key_der)
            .map_err(|error| wrong("--tls-key", key, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new().map_err(|error| wrong("--tls-cert", cert, &error))?;
        Ok(Arc::new(config))
    }
}

fn wrong(option: &str, path: &Path, error: &dyn fmt::Display) -> ConfigError {
    ConfigError::new(format!("{option} {}: {error}", path.display()))
}
