//! Redis as a source. `stream` reads streams with a consumer group, at least once. `listener` uses
//! pub/sub: workers publish as they always did, and the gateway listens.
//!
//! Each gateway has one connection for pub/sub, separate from those of the store. The connection
//! subscribes to exactly the patterns of the rules, because operators grant exactly these. It hands
//! each message to the queue as soon as it is read: Redis disconnects a subscriber that does not
//! read.

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
