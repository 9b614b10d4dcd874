//! WebSocket, Server-Sent Events and long-polling over one session.
//!
//! ```text
//! Reader (a cursor) -> Session (what next, and when) -> Batch -> frame -> socket
//! ```
//!
//! hyper reads the head of every request. A stream is then taken out of hyper ([`serve`],
//! [`Answer::Detach`]) and becomes a [`Session`]: one small future with the bare socket, whatever
//! the transport. A session owns no queue and, while it is idle, no buffer; what it can send lies
//! in the log's rings.
//!
//! # Layout
//!
//! * `request`: [`Request`], what a client asks for.
//! * `session`: [`Session`], what is sent next and when.
//! * `line`: what is particular to each transport; `batch`: [`Batch`], the JSON that they share;
//!   `state_part`: [`StatePart`], a part of the state of a topic in it.
//! * `socketio`: the packets of Socket.IO clients.
//! * `ws`: the WebSocket protocol, in both directions.
//! * `control`: [`Handle`], by which the application reaches a session, and [`Host`], which a
//!   session asks.
//! * `close`: why connections end; `unsent`: the memory of clients that do not read.
//! * `detach`: HTTP until a request becomes a stream, within `limits`; `wire`: the socket under it.
//! * `guard`: checks of a request's head that hyper does not make; `linger`: how a connection
//!   closes.

mod batch;
mod close;
mod control;
mod detach;
mod guard;
mod limits;
mod line;
mod linger;
mod request;
mod session;
pub mod socketio;
mod state_part;
mod unsent;
mod wire;
pub mod ws;

pub use batch::{Batch, Hello, Refused, RefusedCode, ResetNotice};
pub use close::{Bye, ByeReason, CloseCode, Ended};
pub use control::{Access, End, Handle, Host, Identity, Outcome, Sent};
pub use detach::{Answer, Served, serve};
pub use guard::Framing;
pub use limits::HttpLimits;
pub use line::{
    ExtraHeaders, Line, PollLine, SocketIoLine, SocketIoPollLine, SocketIoStart, SseLine, SseRefusal, WsLine,
};
pub use linger::close_after_answer;
pub use request::{After, Request, RequestError, Transport, parse_after};
pub use session::{Session, Terms};
pub use state_part::{StatePage, StatePart};
pub use unsent::UnsentBytes;
pub use ws::{write_ws_accept, write_ws_binary, write_ws_close, write_ws_pong, write_ws_text};
