//! The protocol, row by row: every endpoint, parameter, status and code, spoken to a real gateway over real sockets.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod auth;
mod cli;
mod cloud_events;
mod cors;
mod errors;
mod explain;
mod keys;
mod leave;
mod limits;
mod message_size;
mod poll;
mod publish;
mod refusal_brake;
mod refused_topics;
mod sse;
mod sse_refusals;
mod state;
mod websocket;
