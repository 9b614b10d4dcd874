//! Socket.IO on the same session: Engine.IO carries the packets, Socket.IO names the events.
//!
//! A Socket.IO client reads the same log as any other. Its offset is the gateway's cursor, so it
//! resumes on any gateway and over any transport; no packet is kept for it.
//!
//! * `packet`: what a client may send, parsed; `payload`: several packets in one HTTP body;
//!   `write`: a batch as packets.
//! * `greeting`: the answer to a client's CONNECT; `settings`: what all sessions share.
//! * `mailbox`: what a session has between two polls.
//!
//! Sources: the Engine.IO protocol, revisions 3 and 4, and the Socket.IO protocol, revisions 4 and
//! 5, which they carry.

mod greeting;
mod mailbox;
mod packet;
mod payload;
mod settings;
mod write;

pub use greeting::{Greeting, Offset};
pub use mailbox::{Mailbox, MailboxFull, PollTurn};
pub use packet::{EnginePacket, PACKETS_MAX, Packet, PacketKind};
pub use payload::{PacketError, Packets, Payload, Revision, SEPARATOR};
pub use settings::{CursorStyle, Pings, Settings, Speech};
pub(crate) use write::{Form, WebSocketSink, write_batch};
