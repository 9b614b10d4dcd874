//! A client's session: its admission, what its client may ask, and its end.

pub(crate) mod admission;
pub(crate) mod commands;
pub(crate) mod host;
pub(crate) mod unadmitted;
