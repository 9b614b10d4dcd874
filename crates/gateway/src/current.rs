//! A value that is replaced as a whole while others read it.

use std::sync::Arc;

use parking_lot::RwLock;

/// A value that changes with the configuration. A reader keeps what it read, whatever comes after.
#[derive(Debug)]
pub(crate) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    /// The first value.
    #[must_use]
    pub(crate) fn new(value: impl Into<Arc<T>>) -> Self {
        Self(RwLock::new(value.into()))
    }

    /// The value of now.
    #[must_use]
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read())
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: impl Into<Arc<T>>) {
        *self.0.write() = value.into();
    }
}
