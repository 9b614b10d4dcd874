//! The values, events and questions that nodes exchange.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A value that a node shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardValue {
    /// The name of the value.
    pub name: String,
    /// The value; `None`: the node no longer shows it.
    pub value: Option<String>,
    /// A note for the nodes that are present at the change. Nodes that start later see only the
    /// value.
    pub note: String,
}

/// An event from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardEvent {
    /// A node has changed its values.
    Shows {
        /// The node.
        node: Arc<str>,
        /// The changed values; with `is_all`, all values of the node.
        shown: Vec<BoardValue>,
        /// Whether the node shows no other values.
        is_all: bool,
    },
    /// A node is gone, and all of its values with it.
    Gone(Arc<str>),
    /// A node asks a question; see `Board::answer`.
    Asks {
        /// The handle for the answer.
        question: Question,
        /// The text of the question.
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

/// How long answers are awaited.
pub(super) const ANSWERS: Duration = Duration::from_secs(1);
