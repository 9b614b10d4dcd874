//! The authors of drafts, and the topics to which each may publish.

use std::net::IpAddr;
use std::sync::Arc;

use events::Topic;

use crate::auth::Grant;
use crate::metrics::labels::SourceKind;

/// The author of a draft.
#[derive(Clone, Debug)]
pub(crate) enum Author {
    /// A backend with a publish key. It may publish to every topic.
    Key,
    /// The bearer of a token at this address. It may publish to the topics that the token lists.
    Grant(Arc<Grant>, IpAddr),
    /// A source that the operator configured. It may publish to every topic, and has no rate.
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

    /// The idempotency token of an id. Backends share one namespace; each user and each source has its own.
    #[must_use]
    pub(crate) fn once(&self, id: &str) -> Box<str> {
        match self {
            Self::Key => format!("k\n{id}").into(),
            Self::Grant(grant, _) => format!("u\n{}\n{id}", grant.user).into(),
            Self::Source(kind) => format!("s\n{}\n{id}", kind.as_str()).into(),
        }
    }
}
