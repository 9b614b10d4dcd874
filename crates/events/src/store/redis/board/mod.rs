//! The board: values and questions that the nodes of one log exchange beside it.
//!
//! A node shows values under names. They are in a hash of the node, for nodes that start later.
//! Each change is also a message to the running nodes. The other nodes notice by its silence that a
//! node has stopped, and drop its values. Questions go to the nodes that are running now.
//!
//! `values`: the vocabulary; `own_values`: the values that this node shows; `inbox`: events that
//! the listener has not consumed yet; `task`: the task that registers this node with the others.

mod inbox;
mod own_values;
mod task;
mod values;

use std::sync::Arc;

use inbox::Inbox;
use own_values::OwnValues;
use task::BoardTask;
use tokio::sync::{mpsc, oneshot};
use values::{ANSWERS, Order};
pub use values::{BoardEvent, BoardValue, Question};

use super::shared::Shared;

/// This node's access to the board.
pub struct Board {
    mine: Arc<OwnValues>,
    orders: mpsc::Sender<Order>,
    inbox: Arc<Inbox>,
}

impl Board {
    const ORDERS_MAX: usize = 256;

    pub(super) fn open(shared: Arc<Shared>) -> (Arc<Self>, impl Future<Output = ()>) {
        let (orders, ordered) = mpsc::channel(Self::ORDERS_MAX);
        let (mine, inbox) = (Arc::new(OwnValues::default()), Arc::new(Inbox::default()));
        let keeper = BoardTask::new(shared, Arc::clone(&mine), ordered, Arc::clone(&inbox));
        (Arc::new(Self { mine, orders, inbox }), keeper.run())
    }

    /// Shows values, or removes them. While no server can be reached, this is deferred, and only
    /// the newest value of each name is sent.
    pub fn show(&self, shown: Vec<BoardValue>) {
        self.mine.show(shown);
    }

    /// Asks all other nodes. Returns the answers that arrived within about a second.
    pub async fn ask(&self, text: String) -> Vec<String> {
        let (answers, answered) = oneshot::channel();
        let asking = self.orders.send_timeout(Order::Ask { text, answers }, ANSWERS).await;
        if asking.is_err() {
            return Vec::new();
        }
        // Without a connection no node answers.
        tokio::time::timeout(ANSWERS * 2, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Answers a question.
    pub async fn answer(&self, question: Question, text: String) {
        let _ = self.orders.send(Order::Answer { question, text }).await;
    }

    /// The next event from the other nodes; `None`: the store is closed. For one listener, which
    /// may be slow: changes are merged in the meantime, and of many questions only the first are
    /// delivered.
    pub async fn next(&self) -> Option<BoardEvent> {
        self.inbox.next().await
    }
}
