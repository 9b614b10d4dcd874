//! What the nodes of one log show and ask one another beside it.
//!
//! A node shows values under names: in a hash of its own, so that who comes later sees them too, and as a message, so
//! that who is there sees them at once. A node that is gone is noticed by its silence, and what it showed goes with it.
//! Questions go to whoever is there now.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::Site;
use super::keeper::Keeper;
use super::mine::Mine;
use super::untold::Untold;

/// Something that a node shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Under which name.
    pub name: String,
    /// What; `None`: nothing any more.
    pub value: Option<String>,
    /// What is said with the change, to those who are there. Who comes later sees the value alone.
    pub note: String,
}

/// What comes from other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A node shows something else.
    Shows {
        /// Which node.
        node: Arc<str>,
        /// What has changed; with `is_all` everything that it shows.
        shown: Vec<Shown>,
        /// What is not among it the node does not show.
        is_all: bool,
    },
    /// A node is gone, and all that it showed.
    Gone(Arc<str>),
    /// A node asks; see [`Board::answer`].
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

/// This node's place among the others.
pub struct Board {
    mine: Arc<Mine>,
    orders: mpsc::Sender<Order>,
    untold: Arc<Untold>,
}

pub(super) enum Order {
    Ask { text: String, answers: oneshot::Sender<Vec<String>> },
    Answer { question: Question, text: String },
}

/// How long answers are waited for.
pub(super) const ANSWERS: Duration = Duration::from_secs(1);

impl Board {
    const ORDERS_MAX: usize = 256;

    pub(super) fn open(site: Arc<Site>) -> (Arc<Self>, impl Future<Output = ()>) {
        let (orders, ordered) = mpsc::channel(Self::ORDERS_MAX);
        let (mine, untold) = (Arc::new(Mine::default()), Arc::new(Untold::default()));
        let keeper = Keeper::new(site, Arc::clone(&mine), ordered, Arc::clone(&untold));
        (Arc::new(Self { mine, orders, untold }), keeper.run())
    }

    /// Shows values, or takes them away. Without a server it is done once there is one again, and of several values
    /// under one name only the newest.
    pub fn show(&self, shown: Vec<Shown>) {
        self.mine.show(shown);
    }

    /// Asks every other node. The answers of those that gave one within a second or so.
    pub async fn ask(&self, text: String) -> Vec<String> {
        let (answers, answered) = oneshot::channel();
        let asking = self.orders.send_timeout(Order::Ask { text, answers }, ANSWERS).await;
        if asking.is_err() {
            return Vec::new();
        }
        // While there is no connection nobody answers.
        tokio::time::timeout(ANSWERS * 2, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Answers a question.
    pub async fn answer(&self, question: Question, text: String) {
        let _ = self.orders.send(Order::Answer { question, text }).await;
    }

    /// What comes next from the others; `None`: the store is closed. For one who listens, who may be slow: what
    /// changes meanwhile comes together then, and of many questions only the first are heard.
    pub async fn next(&self) -> Option<News> {
        self.untold.next().await
    }
}
