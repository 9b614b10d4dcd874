//! The vocabulary of HTTP that every endpoint shares: whose page may ask, from which address, and how it is told why not.

pub mod address;
pub mod origin;
pub(crate) mod problem;
