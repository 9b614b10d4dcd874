//! Limits on shared resources: rates of each user, replays in flight, and waits before reconnects.

pub(crate) mod brake;
pub(crate) mod pacing;
pub(crate) mod rates;
pub(crate) mod replays;
