//! What the nodes of one log show and ask one another beside it.
//!
//! A node shows values under names. They are in a hash of the node, for nodes that start later, and
//! each change is also a message, for the nodes that are running. A node that stops is noticed by
//! its silence, and its values go with it. Questions go to the nodes that are running now.
//!
//! `values`: the vocabulary; `own_values`: what this node shows; `inbox`: what the listener has not
//! consumed yet; `task`: the task that keeps this node among the others.

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

/// This node's place among the others.
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

    /// Shows values, or removes them. While no server can be reached, this is done later, with the
    /// newest value of each name.
    pub fn show(&self, shown: Vec<BoardValue>) {
        self.mine.show(shown);
    }

    /// Asks every other node. Returns the answers that came within about a second.
    pub async fn ask(&self, text: String) -> Vec<String> {
        let (answers, answered) = oneshot::channel();
        let asking = self.orders.send_timeout(Order::Ask { text, answers }, ANSWERS).await;
        if asking.is_err() {
            return Vec::new();
        }
        // Without a connection nobody answers.
        tokio::time::timeout(ANSWERS * 2, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Answers a question.
    pub async fn answer(&self, question: Question, text: String) {
        let _ = self.orders.send(Order::Answer { question, text }).await;
    }

    /// The next event from the other nodes; `None`: the store is closed. For one listener, which
    /// may be slow: changes are merged meanwhile, and of many questions only the first are
    /// delivered.
    pub async fn next(&self) -> Option<BoardEvent> {
        self.inbox.next().await
    }
}
