//! The names of the log's keys and channels. All of them are in one Cluster slot.

use crate::Topic;

/// The keys of one log.
pub(super) struct Keys {
    /// The log's name in braces, which is the part that Cluster hashes.
    tag: String,
    /// The stream of events.
    pub(super) stream: String,
    /// The hash with the server that opened the stream and the end of each earlier generation.
    pub(super) fence: String,
    /// The hash with the number of bytes ever appended and the position of the newest mark.
    pub(super) retention: String,
    /// The list of marks: the number of bytes appended up to an id, and the time.
    pub(super) marks: String,
    /// The hash of sources and their positions.
    pub(super) checkpoints: String,
    /// The sorted set of the topics that have a state, by the time until which they are kept.
    pub(super) states: String,
    /// The channel of ephemeral events.
    pub(super) ephemeral: String,
}

impl Keys {
    pub(super) fn new(log_name: &str) -> Self {
        let tag = format!("{{{log_name}}}");
        Self {
            stream: format!("{tag}:s"),
            fence: format!("{tag}:f"),
            retention: format!("{tag}:r"),
            marks: format!("{tag}:m"),
            checkpoints: format!("{tag}:c"),
            states: format!("{tag}:v"),
            ephemeral: format!("{tag}:e"),
            tag,
        }
    }

    /// The first answer to an idempotency token.
    pub(super) fn token(&self, token: &str) -> String {
        format!("{}:i:{token}", self.tag)
    }

    /// The lease for publishing a source.
    pub(super) fn lease(&self, source: &str) -> String {
        format!("{}:source:{source}", self.tag)
    }

    /// The candidate for a lease: of the nodes that have missed part of a source, the one that
    /// missed least.
    pub(super) fn candidate(&self, source: &str) -> String {
        format!("{}:source:{source}:candidate", self.tag)
    }

    /// The time by the server's clock up to which all messages of a source have been published.
    pub(super) fn heard(&self, source: &str) -> String {
        format!("{}:source:{source}:heard", self.tag)
    }

    /// The hash of the nodes and the time of each one's last beat. It is also the name of the
    /// channel on which nodes talk to each other.
    pub(super) fn nodes(&self) -> String {
        format!("{}:n", self.tag)
    }

    /// The hash of the values that a node shows.
    pub(super) fn shown_by(&self, node: &str) -> String {
        format!("{}:n:{node}", self.tag)
    }

    /// The state of a topic: a hash of users and keys.
    pub(super) fn state(&self, topic: &Topic) -> String {
        format!("{}:v:{topic}", self.tag)
    }

    /// The keys of that state, ordered by time.
    pub(super) fn state_order(&self, topic: &Topic) -> String {
        format!("{}:w:{topic}", self.tag)
    }

    /// The id of a topic's last event.
    pub(super) fn last(&self, topic: &Topic) -> String {
        format!("{}:t:{topic}", self.tag)
    }
}
