//! The protocol's documents, golden transcripts and schemas, against each other and against a running gateway.

mod answers;
mod documents;
mod gateway;
mod replay;
mod schema_set;
mod transcript;
mod wire;
