//! Redis as a source. `stream`: streams with a consumer group, at least once. `listener`: pub/sub: workers publish as they always did, and the gateway listens.
//!
//! One connection for each gateway, apart from those of the store. It subscribes to exactly the
//! patterns of the rules, because operators grant exactly these, and hands each message to the queue
//! as soon as it is read: a subscriber that does not read is dropped by the server.

mod glob;
mod interruption;
mod listener;
mod servers;
mod stream;
mod streams_up;
mod wait;

pub(super) use listener::Listener;
pub(super) use stream::StreamReader;
pub(super) use streams_up::StreamsUp;
