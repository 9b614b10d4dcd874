//! The protocol's documents, golden transcripts and schemas, against each other.

mod documents;
mod schema_set;
mod transcript;
