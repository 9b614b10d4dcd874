//! A client's session: how it is admitted, what it may do and see, and the table of all of them.

pub(crate) mod admission;
pub(crate) mod commands;
pub(crate) mod host;
pub(crate) mod limits;
pub(crate) mod pacing;
pub(crate) mod registry;
pub(crate) mod replay_admission;
pub(crate) mod scope;
pub(crate) mod unadmitted;
