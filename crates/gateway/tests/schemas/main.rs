//! The protocol's documents, golden transcripts and schemas, against each other and against a running gateway.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod answers;
mod documents;
mod gateway;
mod replay;
mod schema_set;
mod transcript;
mod wire;
