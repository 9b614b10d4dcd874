//! Redis pub/sub as a source: workers publish as they always did, and the gateway listens.
//!
//! One connection for each gateway, apart from those of the store. It subscribes to exactly the
//! patterns of the rules, because operators grant exactly these, and hands each message to the queue
//! as soon as it is read: a subscriber that does not read is dropped by the server.

mod glob;
mod listener;
mod servers;

pub(super) use listener::Listener;
