//! Who publishes, and what that allows.

use std::net::IpAddr;
use std::sync::Arc;

use events::Topic;

use crate::auth::Grant;
use crate::metrics::labels::SourceKind;

/// Who publishes.
#[derive(Clone, Debug)]
pub(crate) enum Author {
    /// A backend with a publish key: every topic.
    Key,
    /// The bearer of a token at this address: what it lists.
    Grant(Arc<Grant>, IpAddr),
    /// A source of events that the operator configured: every topic, and no rate.
    Source(SourceKind),
}

impl Author {
    /// Whether the author may publish to a topic.
    #[must_use]
    pub(super) fn may_publish(&self, topic: &Topic) -> bool {
        match self {
            Self::Key | Self::Source(_) => true,
            Self::Grant(grant, _) => grant.may_publish(topic),
        }
    }

    /// Whether the backend endpoints beside publishing are open to it.
    #[must_use]
    pub(crate) fn may_administer(&self) -> bool {
        match self {
            Self::Key => true,
            Self::Grant(grant, _) => grant.may_administer(),
            Self::Source(_) => false,
        }
    }

    /// The token of an id: backends share one namespace, each user and each source has an own one.
    #[must_use]
    pub(crate) fn once(&self, id: &str) -> Box<str> {
        match self {
            Self::Key => format!("k\n{id}").into(),
            Self::Grant(grant, _) => format!("u\n{}\n{id}", grant.user).into(),
            Self::Source(kind) => format!("s\n{}\n{id}", kind.as_str()).into(),
        }
    }
}
