//! How a gateway that runs reads its configuration again.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::{Config, ConfigError};

type Read = dyn Fn() -> Result<Config, Vec<ConfigError>> + Send + Sync;
type SetFilter = dyn Fn(&str) -> Result<(), ConfigError> + Send + Sync;

/// Reads the configuration of a gateway again.
pub struct ConfigReader {
    read: Arc<Read>,
    set_filter: Box<SetFilter>,
    /// A message for each time that the operator asks for it.
    pub(crate) asked: Mutex<mpsc::Receiver<()>>,
    /// One reading at a time.
    pub(crate) turn: Mutex<()>,
}

impl ConfigReader {
    /// `read` reads the command line, the environment and the files. `set_filter` changes which log
    /// lines are written. `asked` has a message each time that the operator asks for a reading.
    pub fn new(
        read: impl Fn() -> Result<Config, Vec<ConfigError>> + Send + Sync + 'static,
        set_filter: impl Fn(&str) -> Result<(), ConfigError> + Send + Sync + 'static,
        asked: mpsc::Receiver<()>,
    ) -> Self {
        let turn = Mutex::default();
        Self { read: Arc::new(read), set_filter: Box::new(set_filter), asked: Mutex::new(asked), turn }
    }

    /// The reader of a gateway that nobody asks to read again, and that has the same configuration if
    /// it does.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let config = config.clone();
        Self::new(move || Ok(config.clone()), |_| Ok(()), mpsc::channel(1).1)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Every problem of it.
    pub(crate) async fn read(&self) -> Result<Config, Vec<ConfigError>> {
        let read = Arc::clone(&self.read);
        // It reads files.
        let read = tokio::task::spawn_blocking(move || read()).await;
        read.map_err(|error| vec![ConfigError::new(error.to_string())])?
    }

    /// Writes the log lines that this filter lets through from now on.
    ///
    /// # Errors
    /// When the text is no filter.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), ConfigError> {
        (self.set_filter)(filter)
    }
}
