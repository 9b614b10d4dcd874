//! How much a client may take of what all share: rates for each user, history on its way at once, and when to come back.

pub(crate) mod brake;
pub(crate) mod pacing;
pub(crate) mod rates;
pub(crate) mod replays;
