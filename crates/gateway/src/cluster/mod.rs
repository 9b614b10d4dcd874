//! The other gateways of the same log.

pub(crate) mod peers;
