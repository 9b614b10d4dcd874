//! Every session of this gateway, and how to reach it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use events::{Chance, Clock, Data, Topic};
use parking_lot::Mutex;
use tokio::time::Instant;
use transport::{Bye, ByeReason, End, Handle, Transport};

use super::connection::{Connection, ShownTransport};
use super::table::{SessionEntry, Table};
use crate::auth::Grant;
use crate::limits::pacing::Pacing;
use crate::presence::{Presence, SessionPresence, Status};
use crate::session_key::SessionKey;

/// Every session of this gateway. Its lock is taken before that of the members: a session that is
/// forgotten is removed from all rosters, and cannot become a member afterwards.
pub(crate) struct Registry {
    pub(super) table: Mutex<Table>,
    /// Connections in the table, counted beside it: `GET /health` asks often, and must not wait for its lock.
    pub(super) connections: AtomicUsize,
    pub(super) presence: Arc<Presence>,
    pub(super) pacing: Pacing,
    /// Where ids of sessions come from.
    pub(super) chance: Chance,
}

/// Why a session does not become a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMember {
    /// There is no such session any more.
    Gone,
    /// The grant does not allow the topic.
    Forbidden,
    /// The session is a member of as many topics as it may be.
    Full,
}

/// The handle on a session. Without a connection it does nothing.
pub(crate) struct SessionHandle {
    /// The session's id.
    pub id: Arc<str>,
    /// The handle on its newest connection.
    pub handle: Handle,
}

/// One session of a user.
pub(crate) struct SessionSnapshot {
    /// Its id.
    pub id: Arc<str>,
    /// The transport of its connection, or of the last that it had.
    pub transport: Transport,
    /// Whether it has a connection; between two polls it has none.
    pub is_connected: bool,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl SessionSnapshot {
    /// The transport as operators see it.
    #[must_use]
    pub(crate) fn shown_transport(&self) -> &'static str {
        ShownTransport::of(self.transport, self.connection.speaks_socketio).as_str()
    }
}

/// What `GET /v1/stats` says about connections.
#[derive(Debug, Default)]
pub(crate) struct RegistryCounts {
    /// Users with a session.
    pub users: usize,
    /// Sessions with a connection, and pollers between two polls.
    pub clients: usize,
    /// The same by user, in the order of their names, as many as were asked for.
    pub by_user: Vec<(Arc<str>, usize)>,
    /// Connections by transport, in the order of [`ShownTransport`].
    pub by_transport: [usize; ShownTransport::COUNT],
}

impl Registry {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(presence: Arc<Presence>, chance: Chance) -> Self {
        Self {
            table: Mutex::default(),
            connections: AtomicUsize::new(0),
            presence,
            pacing: Pacing::new(chance.clone()),
            chance,
        }
    }

    /// Takes in sessions of an earlier process, as if they had just lost their connections. `true`: the
    /// session polls.
    pub(crate) fn restore(&self, sessions: Vec<(SessionKey, bool)>) {
        let mut table = self.table.lock();
        for (key, polls) in sessions {
            let last_transport = if polls { Transport::Poll } else { Transport::Ws };
            table.enter(&key, IpAddr::V4(Ipv4Addr::UNSPECIFIED), last_transport);
            table.lapse(&key, Instant::now());
        }
    }

    /// The first of these topics of which the session of a connection must not be a member.
    #[must_use]
    pub(crate) fn forbidden_to_join<'a>(
        &self,
        connection: &Connection,
        topics: &'a [Topic],
    ) -> Option<&'a Topic> {
        let key = connection.session()?;
        let table = self.table.lock();
        let entry = table.get(&key)?;
        topics.iter().find(|topic| !entry.may_join(connection, topic))
    }

    /// Makes the user of a connection's session a member of a topic, as long as the session is remembered; `offline`
    /// leaves. Looks at the grants under the table's lock, as [`Self::renew`] and [`Self::register`] do: no membership
    /// outlives the grant that allowed it.
    ///
    /// # Errors
    /// When the session does not become a member.
    pub(crate) fn set_presence(
        &self,
        connection: &Connection,
        topic: &Topic,
        status: Status,
        info: Data,
        topics_max: usize,
    ) -> Result<(), NoMember> {
        let table = self.table.lock();
        let key = connection.session().ok_or(NoMember::Gone)?;
        let entry = table.get(&key).ok_or(NoMember::Gone)?;
        if !entry.may_join(connection, topic) {
            return Err(NoMember::Forbidden);
        }
        let shown = SessionPresence { status, info, polls: entry.last_transport == Transport::Poll };
        if self.presence.set(&key, topic, shown, topics_max) { Ok(()) } else { Err(NoMember::Full) }
    }

    /// Ends every session of a user. A session without a connection ends with its next one. Returns the
    /// number of clients.
    pub(crate) fn end_user(&self, user: &str, bye: Bye) -> usize {
        let mut table = self.table.lock();
        let entries = table.users.get_mut(user).into_iter().flatten();
        entries.map(|entry| usize::from(entry.end(bye))).sum()
    }

    /// Ends a session of any user. Returns the number of clients.
    pub(crate) fn end_session(&self, id: &str, bye: Bye) -> usize {
        let mut table = self.table.lock();
        let entries = table.users.values_mut().flatten().filter(|entry| &*entry.id == id);
        entries.map(|entry| usize::from(entry.end(bye))).sum()
    }

    /// The client of a session leaves: its connections end, and a poller has no longer grace period than
    /// any other client. Returns the number of clients.
    pub(crate) fn leave_session(&self, user: &str, id: &str) -> usize {
        let mut table = self.table.lock();
        let Some(entry) = table.users.get_mut(user).into_iter().flatten().find(|entry| &*entry.id == id)
        else {
            return 0;
        };
        let is_client = entry.is_client();
        entry.has_left = true;
        entry.connections.iter().for_each(|connection| connection.handle.end(End::Client));
        if entry.connections.is_empty() {
            let key = SessionKey { user: user.into(), id: Arc::clone(&entry.id) };
            table.resume(&key);
            table.lapse(&key, Instant::now());
        }
        usize::from(is_client)
    }

    /// Ends every connection. Each gets a slot of its own, so that `reconnects_per_second` clients come
    /// back in a second. Returns the number of connections.
    pub(crate) fn drain(&self, reconnects_per_second: NonZeroU32) -> usize {
        let mut table = self.table.lock();
        table.is_draining = true;
        let connections = table.all().flat_map(|entry| &entry.connections);
        let told = connections.zip(0..).map(|(connection, at)| {
            let reconnect_after = self.pacing.drain_slot(at, reconnects_per_second);
            connection.handle.end(Bye { reason: ByeReason::Drain, reconnect_after });
        });
        told.count()
    }

    /// The access of every connection has changed.
    pub(crate) fn revise_all(&self) {
        let table = self.table.lock();
        for connection in table.all().flat_map(|entry| &entry.connections) {
            connection.handle.revise();
        }
    }

    /// How many connections there are.
    #[must_use]
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The handle on a user's session. `None`: the user has no such session.
    #[must_use]
    pub(crate) fn session_handle(&self, user: &str, id: &str) -> Option<SessionHandle> {
        let table = self.table.lock();
        let entry = table.of_user(user).iter().find(|entry| &*entry.id == id)?;
        let handle = entry.connections.last().map(|connection| connection.handle.clone());
        Some(SessionHandle { id: Arc::clone(&entry.id), handle: handle.unwrap_or_default() })
    }

    /// The topics of a user's session beside the two that every session has; `None`: the user has no
    /// such session.
    #[must_use]
    pub(crate) fn topics_of(&self, user: &str, id: &str) -> Option<Vec<Topic>> {
        let table = self.table.lock();
        let entry = table.of_user(user).iter().find(|entry| &*entry.id == id)?;
        let held = entry.newest()?.held.lock();
        Some(held.subscriptions.topics().iter().skip(2).cloned().collect())
    }

    /// Up to `max` sessions of a user, each with its newest connection or the last that it had.
    #[must_use]
    pub(crate) fn of_user(&self, user: &str, max: usize) -> Vec<SessionSnapshot> {
        let table = self.table.lock();
        let snapshot = |entry: &SessionEntry| {
            let connection = entry.newest()?;
            Some(SessionSnapshot {
                id: Arc::clone(&entry.id),
                transport: entry.last_transport,
                is_connected: !entry.connections.is_empty(),
                connection: Arc::clone(connection),
            })
        };
        table.of_user(user).iter().filter_map(snapshot).take(max).collect()
    }

    /// Gives every connection of a session another grant, including those that a newer one replaces.
    /// Topics and memberships that it does not allow are dropped at once.
    pub(crate) fn renew(&self, key: &SessionKey, grant: &Arc<Grant>, clock: &Clock) {
        let table = self.table.lock();
        for connection in table.get(key).into_iter().flat_map(|entry| &entry.connections) {
            connection.renew(grant, clock);
        }
        self.presence.retain(key, |topic| grant.may_subscribe(topic));
    }

    /// How many sessions there are, naming up to `users_max` users.
    #[must_use]
    pub(crate) fn counts(&self, users_max: usize) -> RegistryCounts {
        let mut counts = RegistryCounts::default();
        let table = self.table.lock();
        for (user, entries) in &table.users {
            for connection in entries.iter().flat_map(|entry| &entry.connections) {
                if let Some(transport) = connection.transport {
                    let shown = ShownTransport::of(transport, connection.speaks_socketio);
                    counts.by_transport[shown as usize] += 1;
                }
            }
            let clients = entries.iter().filter(|entry| entry.is_client()).count();
            if clients > 0 {
                counts.clients += clients;
                counts.by_user.push((Arc::clone(user), clients));
            }
        }
        // Sorting takes longer than counting, and needs no lock.
        drop(table);
        counts.users = counts.by_user.len();
        counts.by_user.sort_unstable();
        counts.by_user.truncate(users_max);
        counts
    }

    /// The number of connections of each topic, the busiest first, up to `topics_max`. The two topics that
    /// every session has are left out.
    #[must_use]
    pub(crate) fn by_topic(&self, topics_max: usize) -> Vec<(Topic, usize)> {
        // A session may have thousands of topics: they are counted without the table's lock.
        let connections: Vec<Arc<Connection>> =
            self.table.lock().all().flat_map(|entry| entry.connections.iter().cloned()).collect();
        let mut by_topic: HashMap<Topic, usize> = HashMap::new();
        for connection in connections {
            // The first two are the user's own and `all`.
            for topic in connection.held.lock().subscriptions.topics().iter().skip(2) {
                *by_topic.entry(topic.clone()).or_default() += 1;
            }
        }
        let mut by_topic: Vec<(Topic, usize)> = by_topic.into_iter().collect();
        by_topic.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.as_str().cmp(b.as_str())));
        by_topic.truncate(topics_max);
        by_topic
    }

    /// Checks what holds at every moment: a connection has only topics that its grant allows, and a
    /// session is a member only of topics that the grant of its newest connection allows.
    #[cfg(test)]
    pub(crate) fn assert_granted(&self) {
        let table = self.table.lock();
        for (user, entry) in
            table.users.iter().flat_map(|(user, entries)| entries.iter().map(move |entry| (user, entry)))
        {
            let connections: Vec<_> = entry.connections.iter().chain(&entry.last_connection).collect();
            for connection in &connections {
                let held = connection.held.lock();
                for topic in held.subscriptions.topics() {
                    assert!(held.grant.may_subscribe(topic), "{user} has {topic}");
                }
            }
            // Without a connection, the token of each `POST /v1/send` decides for itself.
            if let Some(newest) = entry.connections.last() {
                let key = SessionKey { user: Arc::clone(user), id: Arc::clone(&entry.id) };
                for topic in self.presence.topics_of(&key) {
                    assert!(newest.held.lock().grant.may_subscribe(&topic), "{user} is in {topic}");
                }
            }
        }
    }

    /// Forgets the sessions whose time without a connection is over. Returns how many pollers did not come back.
    pub(crate) fn sweep(&self) -> u64 {
        let now = Instant::now();
        let mut table = self.table.lock();
        while let Some(key) = table.forget_next(now) {
            self.presence.retain(&key, |_| false);
        }
        std::mem::take(&mut table.pollers_gone)
    }
}
