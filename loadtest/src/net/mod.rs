//! Sockets and the bytes on them: one epoll set, HTTP/1.1 heads and bodies, WebSocket frames, SSE blocks.
//!
//! Everything here is a parser over borrowed bytes or a thin name for a system call; what the bytes mean is the business of `dialect`.

pub(crate) mod chunked;
pub(crate) mod http;
pub(crate) mod poller;
pub(crate) mod socket;
pub(crate) mod websocket;
