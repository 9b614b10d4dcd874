//! The Engine.IO sessions of clients that use polling: their state between two requests.
//!
//! A client that starts on a WebSocket needs no such session: its connection holds all state.

mod engine;
mod engines;

pub(crate) use engine::{Connected, Engine, PollTicket, Stage};
pub(crate) use engines::{Engines, KnownEngine, NoEngine};
