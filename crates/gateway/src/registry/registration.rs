//! A connection's place in the table: how it is registered and removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use transport::{Bye, ByeReason, CloseCode, Handle, Transport};

use super::connection::Connection;
use super::sessions::Registry;
use super::table::{Caps, Ending, NoPlace};
use crate::session_key::{SessionKey, fresh_id};

/// How long an older connection of a session goes on beside a newer one.
const REPLACED_AFTER: Duration = Duration::from_secs(5);
/// The most connections of one session: the one in use, the one that replaces it, and connections that
/// the client has given up without the gateway's knowledge.
const CONNECTIONS_MAX: usize = 4;

/// The session that a new connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedSession<'a> {
    /// A new one.
    New,
    /// The one with this id, or a new one if there is none.
    Named(&'a str),
    /// A poll by a client that never learns its session's id. It continues such a session of its user that has no poll
    /// under way, so that one poller is one session.
    Unnamed,
}

/// One connection's place in the table. Dropped, the connection is gone.
pub(crate) struct Registration {
    registry: Arc<Registry>,
    /// The connection.
    pub connection: Arc<Connection>,
}

/// The session that a connection has joined, and what the session had before.
pub(crate) struct JoinedSession {
    /// Whether another session of the user ends for it.
    pub displaces: bool,
    /// The connections of the session that this one replaces.
    pub older: Vec<Handle>,
    /// The connection that began last, until this one begins.
    pub before: Option<Arc<Connection>>,
}

impl Registry {
    /// Takes in a connection. One that names a session of the same user continues it: it is not counted a second
    /// time, and the older connection ends shortly.
    ///
    /// # Errors
    /// When a cap is reached, or when the drain has begun. Every connection with a place is told of the
    /// drain, so a connection that comes later gets no place.
    pub(crate) fn register(
        self: &Arc<Self>,
        mut connection: Connection,
        wanted: WantedSession<'_>,
        transport: Transport,
        caps: Caps,
    ) -> Result<(Registration, JoinedSession), NoPlace> {
        let address = connection.address;
        let user = Arc::clone(&connection.user);
        let mut table = self.table.lock();
        if table.is_draining {
            return Err(NoPlace::Draining);
        }
        let id = match wanted {
            WantedSession::New => fresh_id(&self.chance),
            WantedSession::Named(id) => id.into(),
            WantedSession::Unnamed => table.idle_unnamed(&user).unwrap_or_else(|| fresh_id(&self.chance)),
        };
        let key = SessionKey { user, id };
        let beside = table.get(&key).map(|entry| entry.connections.len());
        let continued = beside.is_some_and(|beside| beside > 0);
        if beside.is_some_and(|beside| beside >= 2 * CONNECTIONS_MAX) {
            return Err(NoPlace::User);
        }
        let displaces = table.take_place(&key, address, continued, caps, &self.pacing)?;
        if table.takes_small_messages(&key) {
            connection.handle.client_closed(CloseCode::TOO_LARGE);
        }
        table.resume(&key);
        let entry = table.enter(&key, address, transport);
        if beside.is_none() {
            entry.is_unnamed = wanted == WantedSession::Unnamed;
        }
        if !continued {
            entry.address = address;
        }
        (entry.has_left, entry.is_displaced) = (false, false);
        connection.id = Some(Arc::clone(&entry.id));
        connection.transport = Some(transport);
        let connection = Arc::new(connection);
        let older: Vec<Handle> = entry.connections.iter().map(|older| older.handle.clone()).collect();
        entry.last_transport = transport;
        entry.greet(&connection, &self.pacing);
        let before = entry.newest().map(Arc::clone);
        entry.connections.push(Arc::clone(&connection));
        self.connections.fetch_add(1, Ordering::Relaxed);
        // The new connection may have a narrower grant than the session had.
        let grant = Arc::clone(&connection.held.lock().grant);
        self.presence.retain(&key, |topic| grant.may_subscribe(topic));
        self.presence.connect(&key, Some(transport == Transport::Poll));
        entry.end_oldest(CONNECTIONS_MAX, &self.pacing);
        if let Some(forgotten) = table.forget_lapsed(&key.user) {
            self.presence.retain(&forgotten, |_| false);
        }
        drop(table);
        let registration = Registration { registry: Arc::clone(self), connection };
        Ok((registration, JoinedSession { displaces, older, before }))
    }

    /// Whether the connection is still there.
    fn has(&self, connection: &Arc<Connection>) -> bool {
        let Some(key) = connection.session() else { return false };
        let table = self.table.lock();
        let entry = table.get(&key);
        entry.is_some_and(|entry| entry.connections.iter().any(|other| Arc::ptr_eq(other, connection)))
    }

    fn leave(&self, connection: &Arc<Connection>) {
        let Some(key) = &connection.session() else { return };
        let mut table = self.table.lock();
        let Some(entry) = table.get_mut(key) else { return };
        let is_this = |other: &Arc<Connection>| Arc::ptr_eq(other, connection);
        let Some(at) = entry.connections.iter().position(is_this) else { return };
        if entry.newest().is_some_and(is_this) {
            entry.last_connection = Some(Arc::clone(connection));
        }
        entry.connections.remove(at);
        entry.left(connection, &self.pacing);
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if entry.connections.is_empty() {
            let address = entry.address;
            table.lapse(key, Instant::now());
            self.presence.connect(key, None);
            if let Some(count) = table.addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    table.addresses.remove(&address);
                }
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.leave(&self.connection);
    }
}

impl Registration {
    /// Its session has begun. Older connections continue beside it for a short time. Gives the transport on which the
    /// session began before; `None`: it begins with this connection.
    pub(crate) fn begins(&self, older: Vec<Handle>) -> Option<Transport> {
        let mut before = None;
        if let Some(key) = &self.connection.session()
            && let Some(entry) = self.registry.table.lock().get_mut(key)
        {
            entry.last_connection = None;
            before = std::mem::replace(&mut entry.begun_on, self.connection.transport);
            if entry.ending == Ending::Untold {
                entry.ending = Ending::Telling;
            }
        }
        if !older.is_empty() {
            let registry = Arc::clone(&self.registry);
            let connection = Arc::clone(&self.connection);
            tokio::spawn(async move {
                tokio::time::sleep(REPLACED_AFTER).await;
                // If the newer connection has gone meanwhile, the older one belongs to the session again.
                if registry.has(&connection) {
                    let replaced =
                        Bye { reason: ByeReason::Replaced, reconnect_after: registry.pacing.soon() };
                    older.iter().for_each(|handle| handle.end(replaced));
                }
            });
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use events::{Log, Options};

    use super::*;
    use crate::auth::Grant;
    use crate::presence::Presence;
    use crate::presence::TellOnly;

    fn registry() -> Arc<Registry> {
        let log = Log::new(&Options::default());
        let keep = Arc::new(TellOnly(events::Memory::open(Arc::clone(&log))));
        let presence = Arc::new(Presence::new(Duration::ZERO, keep, log.clock()));
        Arc::new(Registry::new(presence, log.chance().clone()))
    }

    /// A drain tells the connections in the table. A connection that is admitted at that moment must not
    /// be left out, because it would stay until it is cut.
    #[tokio::test]
    async fn a_connection_that_comes_while_a_drain_begins_is_told_or_gets_no_place() {
        let registry = registry();
        let caps = Caps { per_user: None, per_address: None };
        let register = || {
            let grant = Arc::new(Grant::of_developer("alice").unwrap());
            let connection = Connection::new(grant, Vec::new(), None, Ipv4Addr::LOCALHOST.into());
            registry.register(connection, WantedSession::New, Transport::Sse, caps)
        };
        let before = register().ok().unwrap();
        assert_eq!(registry.drain(NonZeroU32::MIN), 1);
        assert_eq!(register().err(), Some(NoPlace::Draining));
        drop(before);
    }
}
