//! The name of a session.

use std::sync::Arc;

use events::Chance;

/// Names a session: the same id of another user is another session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    /// Whose session it is.
    pub user: Arc<str>,
    /// The id in `hello`.
    pub id: Arc<str>,
}

/// A new id: 128 random bits, as a word that fits into a URL.
#[must_use]
pub(crate) fn fresh_id(chance: &Chance) -> Arc<str> {
    let mut bits = [0; 16];
    if chance.fill(&mut bits).is_err() {
        tracing::error!("the system returns no random numbers: session ids can be guessed");
    }
    data_encoding::BASE64URL_NOPAD.encode(&bits).into()
}
