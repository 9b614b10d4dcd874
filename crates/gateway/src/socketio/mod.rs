//! The endpoint for Socket.IO clients. It speaks Engine.IO 4 (and 3, if enabled) over polling and
//! WebSocket, and Socket.IO 5 (and 4) within Engine.IO.
//!
//! * `handshake`: routes requests; `answers`: the answers of Engine.IO.
//! * `connect`: a client's CONNECT, and the forms of its refusal.
//! * `polling`: the requests of a client that uses polling; `websocket`: a client that starts on a
//!   WebSocket or upgrades to it.
//! * `echo`: replaces the log while the protocols' own test suites run.

mod answers;
mod connect;
mod echo;
mod handshake;
mod polling;
mod websocket;

pub(crate) use handshake::answer;
