//! WebSocket, Server-Sent Events and long-polling over one session.
//!
//! ```text
//! Reader (a cursor) -> Session (what next, and when) -> Batch -> frame -> socket
//! ```
//!
//! hyper reads the head of every request. A stream is then taken out of hyper ([`serve`], [`Answer::Detach`]) and
//! becomes a [`Session`]: one small future with the bare socket, whatever the transport. A session owns no queue and,
//! while it is idle, no buffer; what it can send lies in the log's rings.
//!
//! # Layout
//!
//! * `request`: [`Request`], what a client asks.
//! * `frame`: every byte that is sent; [`Batch`] and the frame of each transport around it.
//! * `session`: [`Session`], the next step; `deadlines`: everything that happens by the clock; `out`: what is still to be
//!   written.
//! * `control`: [`Handle`], by which the application reaches a session, and [`Host`], whom a session asks.
//! * `ws`: the receiving half of a WebSocket; `close`: why connections end.
//! * `detach`: HTTP until a request becomes a stream; `guard`: what hyper forgives and the gateway does not.

mod close;
mod control;
mod deadlines;
mod detach;
mod frame;
mod guard;
mod out;
mod request;
mod session;
pub mod ws;

pub use close::{Bye, ByeReason, CloseCode, Ended};
pub use control::{Change, Handle, Host, Identity, Outcome, Sent};
pub use detach::{Answer, HttpLimits, Served, serve};
pub use frame::{
    Batch, ExtraHeaders, Hello, ResetNotice, write_ws_accept, write_ws_close, write_ws_pong, write_ws_text,
};
pub use guard::Framing;
pub use request::{After, Request, RequestError, Transport, parse_after};
pub use session::{Line, Session, Terms};
