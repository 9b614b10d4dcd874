//! The vocabulary of HTTP: listeners, headers, answers, problems as responses, web origins, client addresses.

pub mod address;
pub(crate) mod answer;
pub(crate) mod door;
pub(crate) mod headers;
pub mod origin;
pub(crate) mod problem;
pub(crate) mod socket;
pub mod tls;

use std::borrow::Cow;

/// Decoded query parameters, in order.
pub(crate) type Query<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;
