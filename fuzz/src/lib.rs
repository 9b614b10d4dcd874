//! What a stranger can send, as random bytes. Each function holds for any input, and panics where it does not.
//!
//! `cargo test -p fuzz` runs them over the committed corpus and over mutations of it for a second each, on any compiler
//! (`FUZZ_SECONDS` for longer). With a nightly one, `cargo fuzz run --features libfuzzer TARGET` lets coverage lead.

mod packets;
mod streams;
mod texts;

pub use packets::packets;
pub use streams::{frame, request};
pub use texts::{cursor, data, filter};

/// A property, by the name of its target and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("cursor", cursor),
    ("filter", filter),
    ("data", data),
    ("request", request),
    ("frame", frame),
    ("packets", packets),
];
