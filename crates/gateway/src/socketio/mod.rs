//! The endpoint of Socket.IO clients: Engine.IO 4 over polling and WebSocket, Socket.IO 5 in it.
//!
//! * `handshake`: which request is for what; `answers`: those of Engine.IO.
//! * `connect`: a client's CONNECT, and who is refused how.
//! * `polling`: the requests of a client that polls; `websocket`: one that begins on a WebSocket or
//!   changes to it.

mod answers;
mod connect;
mod handshake;
mod polling;
mod websocket;

pub(crate) use handshake::answer;
