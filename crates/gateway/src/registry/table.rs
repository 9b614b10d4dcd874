//! The entries of the table: the sessions of each user, their connections and their grace periods.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use events::Topic;
use tokio::time::Instant;
use transport::{Bye, ByeReason, CloseCode, Transport};

use super::connection::Connection;
use crate::limits::pacing::Pacing;
use crate::session_key::SessionKey;

/// How long a session without a connection is remembered, so that its next connection continues it.
const GRACE: Duration = Duration::from_secs(10);
/// The same for a poller, which has no connection between two polls.
const GRACE_POLL: Duration = Duration::from_secs(60);
/// How many sessions without a connection are remembered for one user.
const LAPSED_MAX: usize = 64;

/// How many sessions of a user may be ending to make room, if the user's cap is lower.
const DISPLACED_MIN: usize = 8;

/// The most connections that one user and one address may have; `None`: no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Sessions with a connection, of one user.
    pub per_user: Option<usize>,
    /// Sessions with a connection, from one address.
    pub per_address: Option<usize>,
}

/// Why a connection gets no place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The cap of its user is reached.
    User,
    /// The cap of its address is reached.
    Address,
    /// The drain has begun.
    Draining,
}

/// The state of a session.
#[derive(Debug)]
pub(super) struct SessionEntry {
    /// The id in `hello`.
    pub id: Arc<str>,
    /// Its connections, the oldest first.
    pub connections: Vec<Arc<Connection>>,
    /// The address of its first connection, whose cap it counts against.
    pub address: IpAddr,
    /// The transport of its newest connection, or of the last that it had.
    pub last_transport: Transport,
    /// No client knows its id.
    pub is_unnamed: bool,
    /// The transport of the connection on which it began last. `None`: no connection of this process has begun, and
    /// the session is not counted among the open ones.
    pub begun_on: Option<Transport>,
    /// Its connections are ending, to make room for another session of its user.
    pub is_displaced: bool,
    /// Its client has announced that it leaves.
    pub has_left: bool,
    /// Whether an operator ended it, and whether its client has been told.
    pub ending: Ending,
    /// When the grace period after its last connection is over, and the session is forgotten; `None`: it has a
    /// connection.
    pub lapses_at: Option<Instant>,
    /// A connection that has ended, if no present one began later.
    pub last_connection: Option<Arc<Connection>>,
}

/// Whether an operator ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// No.
    No,
    /// Yes, while it had no connection that could be told. The next one is told.
    Untold,
    /// Yes, and a connection is to tell it. If it ends in another way, nobody was told.
    Telling,
    /// Yes, and its client was told. The next connection begins anew.
    Told,
}

/// All sessions. [`Registry`](super::sessions::Registry) holds the lock.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The sessions of each user. A user has few, so a list is searched linearly. No list is empty.
    pub users: HashMap<Arc<str>, Vec<SessionEntry>>,
    /// Sessions with a connection, by address.
    pub addresses: HashMap<IpAddr, usize>,
    /// Pollers that did not come back, since the last sweep.
    pub pollers_gone: u64,
    /// The drain has begun: every connection was told, and no new one is registered.
    pub is_draining: bool,
    /// The sessions without a connection, by the time at which they are forgotten. A sweep looks only at
    /// these.
    lapsing: BTreeSet<(Instant, SessionKey)>,
}

impl SessionEntry {
    /// The connection that began last, present or ended.
    pub(super) fn newest(&self) -> Option<&Arc<Connection>> {
        let connections = self.connections.iter().rev();
        self.last_connection.iter().chain(connections).find(|connection| connection.has_begun())
    }

    /// Ends all its connections. Without one, the next one is told. Returns whether it counted as a
    /// client (O2).
    pub(super) fn end(&mut self, bye: Bye) -> bool {
        let is_client = self.is_client();
        self.connections.iter().for_each(|connection| connection.handle.end(bye));
        // A connection that has not begun may still be refused, and one that ends already says nothing more.
        let can_tell =
            |connection: &Arc<Connection>| connection.has_begun() && !connection.handle.is_closing();
        self.ending = match self.ending {
            _ if self.connections.iter().any(can_tell) => Ending::Telling,
            Ending::No => Ending::Untold,
            ending => ending,
        };
        is_client
    }

    /// A connection is gone, and is none of those left. If it was to tell that an operator ended the session, and
    /// ended in another way first, another connection tells it.
    pub(super) fn left(&mut self, connection: &Connection, pacing: &Pacing) {
        if self.ending != Ending::Telling || !connection.has_begun() {
            return;
        }
        if connection.handle.has_said_disconnected() {
            self.ending = Ending::Told;
            return;
        }
        let bye = Bye { reason: ByeReason::Disconnected, reconnect_after: pacing.soon() };
        let others = self.connections.iter().filter(|other| other.has_begun());
        if others.map(|other| other.handle.end(bye)).count() == 0 {
            self.ending = Ending::Untold;
        }
    }

    /// Ends its oldest connections, if there are more than `connections_max`.
    pub(super) fn end_oldest(&self, connections_max: usize, pacing: &Pacing) {
        let replaced = Bye { reason: ByeReason::Replaced, reconnect_after: pacing.soon() };
        let excess = self.connections.len().saturating_sub(connections_max);
        self.connections[..excess].iter().for_each(|oldest| oldest.handle.end(replaced));
    }

    /// Tells a new connection that an operator has ended the session, unless its client was told before.
    pub(super) fn greet(&mut self, connection: &Connection, pacing: &Pacing) {
        match self.ending {
            Ending::No => {}
            Ending::Telling => {
                let was_told = self.connections.iter().any(|other| other.handle.has_said_disconnected());
                self.ending = if was_told { Ending::No } else { Ending::Telling };
            }
            Ending::Untold => {
                let reconnect_after = pacing.soon();
                connection.handle.end(Bye { reason: ByeReason::Disconnected, reconnect_after });
            }
            Ending::Told => self.ending = Ending::No,
        }
    }

    /// Whether the session may be a member of a topic, seen from a `connection` of it or from a request beside it. The
    /// grant of the newest connection is the session's: an older one that it replaces, or a request, may have a wider
    /// one, but no membership outlives the grant that allowed it.
    pub(super) fn may_join(&self, connection: &Connection, topic: &Topic) -> bool {
        let newest = self.connections.last().map(|newest| &**newest);
        let allows = |connection: &Connection| connection.held.lock().grant.may_subscribe(topic);
        allows(connection) && newest.is_none_or(allows)
    }

    /// Whether a client is there: it has a connection, or is a poller between two polls.
    pub(super) fn is_client(&self) -> bool {
        let is_awaited = self.ending == Ending::No && !self.has_left;
        let is_poller = self.last_transport == Transport::Poll && is_awaited;
        !self.connections.is_empty() || is_poller
    }
}

impl Table {
    /// The sessions of a user.
    pub(super) fn of_user(&self, user: &str) -> &[SessionEntry] {
        self.users.get(user).map(Vec::as_slice).unwrap_or_default()
    }

    /// All sessions of all users.
    pub(super) fn all(&self) -> impl Iterator<Item = &SessionEntry> {
        self.users.values().flatten()
    }

    /// The session of this name.
    pub(super) fn get(&self, key: &SessionKey) -> Option<&SessionEntry> {
        self.of_user(&key.user).iter().find(|entry| entry.id == key.id)
    }

    /// The session of this name, to be changed.
    pub(super) fn get_mut(&mut self, key: &SessionKey) -> Option<&mut SessionEntry> {
        self.users.get_mut(&key.user)?.iter_mut().find(|entry| entry.id == key.id)
    }

    /// The session of this name; a new one if there is none.
    pub(super) fn enter(
        &mut self,
        key: &SessionKey,
        address: IpAddr,
        last_transport: Transport,
    ) -> &mut SessionEntry {
        // Most users have one session, and most sessions one connection: no room is kept for others.
        let entries = self.users.entry(Arc::clone(&key.user)).or_insert_with(|| Vec::with_capacity(1));
        // The one that connected last stands last.
        if let Some(at) = entries.iter().position(|entry| entry.id == key.id) {
            entries[at..].rotate_left(1);
        } else {
            entries.push(SessionEntry {
                id: Arc::clone(&key.id),
                connections: Vec::with_capacity(1),
                address,
                last_transport,
                is_unnamed: false,
                begun_on: None,
                is_displaced: false,
                has_left: false,
                ending: Ending::No,
                lapses_at: None,
                last_connection: None,
            });
        }
        let last = entries.len() - 1;
        &mut entries[last]
    }

    /// The session has no connection any more: its grace period begins.
    pub(super) fn lapse(&mut self, key: &SessionKey, now: Instant) {
        let Some(entry) = self.get_mut(key) else { return };
        let is_awaited = entry.last_transport == Transport::Poll && !entry.has_left;
        let grace = if is_awaited { GRACE_POLL } else { GRACE };
        let at = now + grace;
        entry.lapses_at = Some(at);
        self.lapsing.insert((at, key.clone()));
    }

    /// The session has a connection again.
    pub(super) fn resume(&mut self, key: &SessionKey) {
        if let Some(at) = self.get_mut(key).and_then(|entry| entry.lapses_at.take()) {
            self.lapsing.remove(&(at, key.clone()));
        }
    }

    /// Removes a session whose grace period is over, and gives its name. Costs nothing for those with a connection.
    pub(super) fn forget_next(&mut self, now: Instant) -> Option<SessionKey> {
        self.lapsing.first().filter(|(at, _)| *at <= now)?;
        let (_, key) = self.lapsing.pop_first()?;
        self.forget(&key);
        Some(key)
    }

    /// How many sessions a sweep may have to look at.
    #[cfg(test)]
    pub(super) fn lapsing(&self) -> usize {
        self.lapsing.len()
    }

    /// Gives a session that gets a connection its place; one that `continues` has it. Says whether another session of the
    /// user has to end for it.
    pub(super) fn take_place(
        &mut self,
        key: &SessionKey,
        address: IpAddr,
        continues: bool,
        caps: Caps,
        pacing: &Pacing,
    ) -> Result<bool, NoPlace> {
        if !continues {
            self.check_address(address, caps)?;
        }
        // A session that was to end and comes back needs a place anew.
        let has_place = continues && !self.get(key).is_some_and(|entry| entry.is_displaced);
        let displaces = !has_place && self.make_room(&key.user, caps, pacing)?;
        if !continues {
            *self.addresses.entry(address).or_default() += 1;
        }
        Ok(displaces)
    }

    /// Whether another session from this address fits.
    fn check_address(&self, address: IpAddr, caps: Caps) -> Result<(), NoPlace> {
        let is_full = |max| self.addresses.get(&address).is_some_and(|count| *count >= max);
        if caps.per_address.is_some_and(is_full) { Err(NoPlace::Address) } else { Ok(()) }
    }

    /// Makes room for another session of this user: at the cap, the session that was silent for longest
    /// ends. If a proxy does not report that a browser has gone, that browser looks like a quiet one, and
    /// must not lock its user out. Event streams and polls are silent after their request, so they end in
    /// the order in which they connected. A WebSocket answers pings, and ends after them. Returns whether
    /// a session had to end.
    fn make_room(&mut self, user: &Arc<str>, caps: Caps, pacing: &Pacing) -> Result<bool, NoPlace> {
        let (Some(max), Some(entries)) = (caps.per_user, self.users.get_mut(user)) else { return Ok(false) };
        let (mut staying, mut ending) = (0, 0);
        for entry in entries.iter().filter(|entry| entry.lapses_at.is_none()) {
            *(if entry.is_displaced { &mut ending } else { &mut staying }) += 1;
        }
        if staying < max {
            return Ok(false);
        }
        // Sessions that are ending still cost something for a moment.
        if ending >= max.max(DISPLACED_MIN) {
            return Err(NoPlace::User);
        }
        let stays = |entry: &&mut SessionEntry| entry.lapses_at.is_none() && !entry.is_displaced;
        let quietest =
            entries.iter_mut().filter(stays).min_by_key(|entry| entry.last_transport == Transport::Ws);
        let Some(quietest) = quietest else { return Err(NoPlace::User) };
        quietest.is_displaced = true;
        let bye = Bye { reason: ByeReason::Replaced, reconnect_after: pacing.displaced() };
        quietest.connections.iter().for_each(|connection| connection.handle.end(bye));
        Ok(true)
    }

    /// Whether the client of this session, or of a session of the user that has lost its connection,
    /// closed because a message was too large. A library that names no session comes back as a new one.
    pub(super) fn takes_small_messages(&self, key: &SessionKey) -> bool {
        let is_asked = |entry: &&SessionEntry| entry.id == key.id || entry.lapses_at.is_some();
        let last = self.of_user(&key.user).iter().filter(is_asked).filter_map(SessionEntry::newest);
        last.into_iter().any(|last| last.handle.client_close() == Some(CloseCode::TOO_LARGE))
    }

    /// A session of this user without a connection whose id no client knows.
    pub(super) fn idle_unnamed(&self, user: &Arc<str>) -> Option<Arc<str>> {
        let idle = self.of_user(user).iter().find(|entry| entry.is_unnamed && entry.lapses_at.is_some());
        idle.map(|entry| Arc::clone(&entry.id))
    }

    /// Removes a session.
    pub(super) fn forget(&mut self, key: &SessionKey) {
        let Some(entries) = self.users.get_mut(&key.user) else { return };
        let Some(at) = entries.iter().position(|entry| entry.id == key.id) else { return };
        let gone = entries.remove(at);
        if entries.is_empty() {
            self.users.remove(&key.user);
        }
        if let Some(at) = gone.lapses_at {
            self.lapsing.remove(&(at, key.clone()));
        }
        self.pollers_gone += u64::from(gone.begun_on == Some(Transport::Poll));
    }

    /// Removes the session of this user that would be forgotten first, if the user has too many, so that
    /// a user who connects again and again does not fill the table.
    pub(super) fn forget_lapsed(&mut self, user: &Arc<str>) -> Option<SessionKey> {
        let entries = self.of_user(user);
        if entries.len() <= LAPSED_MAX {
            return None;
        }
        let lapsing = entries.iter().filter_map(|entry| Some((entry.lapses_at?, &entry.id)));
        let (_, id) = lapsing.min_by_key(|(at, _)| *at)?;
        let first = SessionKey { user: Arc::clone(user), id: Arc::clone(id) };
        self.forget(&first);
        Some(first)
    }
}
