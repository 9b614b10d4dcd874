//! The table of sessions and their connections.
//!
//! `sessions`: the table behind its one lock, with its queries; `registration`: a connection's place in
//! the table; `table`: the entries and their grace periods, without a lock; `connection`: the state of
//! one connection, which the table, the session's task and its commands share; `subscriptions`: its
//! topics; `sessionless`: connections without a session; `open`: the number of sockets.

mod connection;
mod open;
mod registration;
mod sessionless;
mod sessions;
mod subscriptions;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, ShownTransport};
pub(crate) use open::OpenConnections;
pub(crate) use registration::{JoinedSession, Registration, WantedSession};
pub(crate) use sessionless::{Sessionless, SessionlessPlace};
pub(crate) use sessions::{NoMember, Registry, SessionHandle, SessionSnapshot};
pub(crate) use table::{Caps, NoPlace};
