//! Which web pages may use a visitor's cookie: the `Origin` check, and the CORS headers that tell a browser.
//!
//! A browser adds cookies to the requests of every page, foreign ones included. So a request that a cookie
//! authenticates counts only from an allowed origin or from the gateway's own. A bearer token (header,
//! subprotocol, query or `auth` command) is no ambient authority: the page that sends it has it already.

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
