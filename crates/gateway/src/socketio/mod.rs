//! The endpoint of Socket.IO clients: Engine.IO 4 (and 3, if that is allowed) over polling and
//! WebSocket, Socket.IO 5 (and 4) in it.
//!
//! * `handshake`: which request is for what; `answers`: those of Engine.IO.
//! * `connect`: a client's CONNECT, and who is refused how.
//! * `polling`: the requests of a client that polls; `websocket`: one that begins on a WebSocket or
//!   changes to it.
//! * `echo`: what stands in for the log while the protocols' own test suites run.

mod answers;
mod connect;
mod echo;
mod handshake;
mod polling;
mod websocket;

pub(crate) use handshake::answer;
