//! Socket.IO on the same session: Engine.IO 4 carries the packets, Socket.IO 5 names the events.
//!
//! A Socket.IO client reads the same log as any other. Its offset is the gateway's cursor, so it
//! resumes on any gateway and over any transport; no packet is kept for it.
//!
//! * `packet`: what a client may send, parsed; `write`: a batch as packets.
//! * `greeting`: the answer to a client's CONNECT; `settings`: what all sessions share.
//! * `mailbox`: what a session has between two polls.
//!
//! Sources: the Engine.IO protocol, revision 4, and the Socket.IO protocol, revision 5.

mod greeting;
mod mailbox;
mod packet;
mod settings;
mod write;

pub use greeting::{Greeting, Offset};
pub use mailbox::{Mailbox, MailboxFull, PollTurn};
pub use packet::{EnginePacket, PACKETS_MAX, Packet, PacketError, PacketKind, SEPARATOR};
pub use settings::{CursorStyle, Settings, Speech};
pub(crate) use write::{PayloadSink, WebSocketSink, write_batch};
