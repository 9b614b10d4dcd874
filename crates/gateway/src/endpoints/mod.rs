//! One module for each endpoint: what a request to it may contain, and its answer.

pub(crate) mod backend;
pub(crate) mod explain;
pub(crate) mod page;
pub(crate) mod send;
pub(crate) mod websocket;
