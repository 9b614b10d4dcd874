//! The names of the log's keys and channels. All of them are in one Cluster slot.

use crate::Topic;

/// The keys of one log.
pub(super) struct Keys {
    /// The log's name in braces, which is what Cluster hashes.
    tag: String,
    /// The stream of events.
    pub(super) stream: String,
    /// The hash that says which server opened the stream, and where each earlier generation ended.
    pub(super) fence: String,
    /// The hash that says how much was ever appended, and where the newest mark is.
    pub(super) retention: String,
    /// The list of marks: how much had been appended up to an id, and when.
    pub(super) marks: String,
    /// The hash of sources and how far each has been taken over.
    pub(super) checkpoints: String,
    /// The sorted set of the topics that have a state, by until when.
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

    /// What an idempotency token was first answered.
    pub(super) fn token(&self, token: &str) -> String {
        format!("{}:i:{token}", self.tag)
    }

    /// Who publishes for a source.
    pub(super) fn lease(&self, source: &str) -> String {
        format!("{}:source:{source}", self.tag)
    }

    /// Of the nodes that have missed something of a source, the one that has missed least.
    pub(super) fn candidate(&self, source: &str) -> String {
        format!("{}:source:{source}:candidate", self.tag)
    }

    /// Until when, by the server's clock, everything that a source said has been published.
    pub(super) fn heard(&self, source: &str) -> String {
        format!("{}:source:{source}:heard", self.tag)
    }

    /// The hash of the nodes and when each was last alive; also the channel on which nodes talk to
    /// each other.
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

    /// The keys of that state, by time.
    pub(super) fn state_order(&self, topic: &Topic) -> String {
        format!("{}:w:{topic}", self.tag)
    }

    /// The id of a topic's last event.
    pub(super) fn last(&self, topic: &Topic) -> String {
        format!("{}:t:{topic}", self.tag)
    }
}
