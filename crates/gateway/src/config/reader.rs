//! Reads the configuration of a running gateway again.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::{Config, ConfigError};

type Read = dyn Fn() -> Result<Config, Vec<ConfigError>> + Send + Sync;
type SetFilter = dyn Fn(&str) -> Result<(), ConfigError> + Send + Sync;

/// Reads the configuration of a gateway again.
pub struct ConfigReader {
    read: Arc<Read>,
    set_filter: Box<SetFilter>,
    /// A message for each request of the operator to read the configuration.
    pub(crate) asked: Mutex<mpsc::Receiver<()>>,
    /// Serializes readings.
    pub(crate) turn: Mutex<()>,
}

impl ConfigReader {
    /// `read` reads the command line, the environment and the files. `set_filter` sets the filter
    /// of log lines. `asked` has a message for each request of the operator.
    pub fn new(
        read: impl Fn() -> Result<Config, Vec<ConfigError>> + Send + Sync + 'static,
        set_filter: impl Fn(&str) -> Result<(), ConfigError> + Send + Sync + 'static,
        asked: mpsc::Receiver<()>,
    ) -> Self {
        let turn = Mutex::default();
        Self { read: Arc::new(read), set_filter: Box::new(set_filter), asked: Mutex::new(asked), turn }
    }

    /// A reader for a gateway whose operator never requests a reading. A reading gives the same
    /// configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let config = config.clone();
        Self::new(move || Ok(config.clone()), |_| Ok(()), mpsc::channel(1).1)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub(crate) async fn read(&self) -> Result<Config, Vec<ConfigError>> {
        let read = Arc::clone(&self.read);
        // The function reads files.
        let read = tokio::task::spawn_blocking(move || read()).await;
        read.map_err(|error| vec![ConfigError::new(error.to_string())])?
    }

    /// Sets the filter of log lines.
    ///
    /// # Errors
    /// When the text is not a filter.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), ConfigError> {
        (self.set_filter)(filter)
    }
}
