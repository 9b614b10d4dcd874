//! Decides which web pages may use a visitor's cookie: the `Origin` check, and the CORS headers for
//! the browser.
//!
//! A browser adds cookies to the requests of every page, including foreign pages. A request that a
//! cookie authenticates is therefore accepted only from an allowed origin or from the gateway's
//! own. A bearer token (header, subprotocol, query or `auth` command) is not ambient authority: the
//! page that sends it already has it.

mod asked;
mod cors;
mod name;
mod policy;
mod refusal;
#[cfg(test)]
mod tests;

pub use asked::is_for_loopback;
pub use name::{Origin, OriginError};
pub use policy::{OriginPolicy, Standing};
pub use refusal::ForeignOrigin;
