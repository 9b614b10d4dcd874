//! One module for each endpoint: what a request to it may contain, and its answer.

mod binary_event;
pub(crate) mod call;
pub(crate) mod disconnect;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod leave;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod presence;
pub(crate) mod publish;
mod reading;
pub(crate) mod reload;
pub(crate) mod send;
mod sse_refusal;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod websocket;
