//! What nodes show and ask one another.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Something that a node shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardValue {
    /// Under which name.
    pub name: String,
    /// What; `None`: nothing any more.
    pub value: Option<String>,
    /// What is said with the change, to those who are there. Who comes later sees the value alone.
    pub note: String,
}

/// What comes from other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardEvent {
    /// A node shows something else.
    Shows {
        /// Which node.
        node: Arc<str>,
        /// What has changed; with `is_all` everything that it shows.
        shown: Vec<BoardValue>,
        /// What is not among it the node does not show.
        is_all: bool,
    },
    /// A node is gone, and all that it showed.
    Gone(Arc<str>),
    /// A node asks; see `Board::answer`.
    Asks {
        /// What to answer to.
        question: Question,
        /// What it asks.
        text: String,
    },
}

/// A question that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub(super) node: Arc<str>,
    pub(super) number: u64,
}

pub(super) enum Order {
    Ask { text: String, answers: oneshot::Sender<Vec<String>> },
    Answer { question: Question, text: String },
}

/// How long answers are waited for.
pub(super) const ANSWERS: Duration = Duration::from_secs(1);
