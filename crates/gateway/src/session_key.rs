//! The name of a session.

use std::sync::Arc;

/// Names a session: the same id of another user is another session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    /// Whose session it is.
    pub user: Arc<str>,
    /// The id in `hello`.
    pub id: Arc<str>,
}
