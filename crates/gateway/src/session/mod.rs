//! A client's session: its admission, what its client may ask, and its end.
//!
//! `admission`: from a request to an admitted client; `resume`: where its reader begins; `unadmitted`: a WebSocket
//! before its token; `running`: the session on its socket; `host`: what it asks of the gateway; `commands`: what the
//! client asks; `socketio_event`: the same by events of Socket.IO.

pub(crate) mod admission;
pub(crate) mod commands;
mod host;
pub(crate) mod resume;
pub(crate) mod running;
pub(crate) mod socketio_event;
pub(crate) mod unadmitted;
