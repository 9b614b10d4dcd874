//! The table of sessions: who is connected, over which connections, and how to reach them.
//!
//! `sessions`: the table behind its one lock, and what is asked of it; `registration`: a connection's place in it;
//! `table`: the entries and their grace periods, without a lock; `connection`: what is known of one connection, shared
//! by the table, the session's task and its commands; `subscriptions`: its topics; `sessionless`: connections
//! that have no session; `open`: how many sockets there are.

mod connection;
mod open;
mod registration;
mod sessionless;
mod sessions;
mod subscriptions;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use connection::Connection;
pub(crate) use open::OpenConnections;
pub(crate) use registration::{JoinedSession, Registration, WantedSession};
pub(crate) use sessionless::{Sessionless, SessionlessPlace};
pub(crate) use sessions::{NoMember, Registry, SessionHandle, SessionSnapshot};
pub(crate) use table::{Caps, NoPlace};
