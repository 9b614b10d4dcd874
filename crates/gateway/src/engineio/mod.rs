//! The Engine.IO sessions of clients that poll: what the gateway knows of them between two requests.
//!
//! A client that begins on a WebSocket needs none: its connection holds everything.

mod engine;
mod engines;

pub(crate) use engine::{Connected, Engine, PollTicket, Stage};
pub(crate) use engines::{Engines, KnownEngine, NoEngine};
