//! Who is connected: every session of this gateway, its connections, and how to reach them.

pub(crate) mod open;
pub(crate) mod scope;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use events::{Chance, Data, Lens, Topic};
use parking_lot::Mutex;
use tokio::time::Instant;
use transport::{Bye, ByeReason, Change, Handle, Transport};

use crate::auth::Grant;
use crate::limits::pacing;
use crate::presence::{Presence, Shown, Status};
use crate::session_key::SessionKey;
use scope::Scope;

/// How long a session without a connection is remembered, so that its next connection continues it.
const GRACE: Duration = Duration::from_secs(10);
/// The same for a poller, which has no connection between two polls.
const GRACE_POLL: Duration = Duration::from_secs(60);
/// How long an older connection of a session goes on beside a newer one.
const REPLACED_AFTER: Duration = Duration::from_secs(5);
/// How many connections one session may have at once: the one in use, the one that replaces it, and those that the
/// client has given up and the gateway has not noticed yet.
const CONNECTIONS_MAX: usize = 4;
/// How many sessions without a connection are remembered for one user.
const LAPSED_MAX: usize = 64;

/// The most connections that one user and one address may have; `None`: no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Sessions with a connection, of one user.
    pub per_user: Option<usize>,
    /// Sessions with a connection, from one address.
    pub per_address: Option<usize>,
}

/// Whose a new connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    /// Of a new session.
    New,
    /// Of the session with this id, or of a new one if there is none.
    Session(&'a str),
    /// A poll by a client that never learns its session's id. It continues such a session of its user that has no poll
    /// under way, so that one poller is one session.
    Unnamed,
}

/// Which cap refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The user's.
    User,
    /// The address's.
    Address,
}

/// A session.
#[derive(Debug)]
struct Entry {
    /// The id in `hello`.
    id: Arc<str>,
    connections: Vec<Connection>,
    address: IpAddr,
    last_transport: Transport,
    /// No client knows its id.
    unnamed: bool,
    /// Of before this process, and without a connection in it yet.
    is_restored: bool,
    /// When the last connection went; it is forgotten some time later.
    lapsed_at: Option<Instant>,
    /// The scope of a connection that has gone, if none that is there began later.
    last_scope: Option<Arc<Scope>>,
}

#[derive(Debug)]
struct Connection {
    transport: Transport,
    scope: Arc<Scope>,
}

#[derive(Debug, Default)]
struct Table {
    /// The sessions of each user: few, and looked through. None is empty.
    users: HashMap<Arc<str>, Vec<Entry>>,
    /// Sessions with a connection, by address.
    addresses: HashMap<IpAddr, usize>,
    /// Pollers that did not come back, since they were last asked for.
    pollers_gone: u64,
}

/// Every session of this gateway. Its lock is taken before that of the members: a session that is forgotten is a
/// member nowhere, and one that is not there any more cannot become one.
pub(crate) struct Sessions {
    table: Mutex<Table>,
    presence: Arc<Presence>,
}

/// Why a session does not become a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMember {
    /// There is no such session any more.
    Gone,
    /// It is in as many topics as it may be.
    Full,
}

/// How to reach a session; without a connection there is nobody to reach.
pub(crate) struct Link {
    /// The session's id.
    pub id: Arc<str>,
    /// By which its connection is reached.
    pub handle: Handle,
}

/// One session of a user.
pub(crate) struct Standing {
    /// Its id.
    pub id: Arc<str>,
    /// The transport of its connection, or of the last that it had.
    pub transport: Transport,
    /// Whether it has a connection; between two polls it has none.
    pub is_connected: bool,
    /// What the connection may see and was sent.
    pub scope: Arc<Scope>,
}

/// What `GET /v1/stats` says about connections.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Users with a session.
    pub users: usize,
    /// Sessions with a connection, and pollers between two polls.
    pub clients: usize,
    /// The same by user, in the order of their names, as many as were asked for.
    pub by_user: Vec<(Arc<str>, usize)>,
    /// Connections by transport, in the order of [`Transport::ALL`].
    pub by_transport: [usize; 3],
}

/// One connection's place in the table. Dropped, the connection is gone.
pub(crate) struct Registration {
    sessions: Arc<Sessions>,
    /// What is known of the connection.
    pub scope: Arc<Scope>,
}

/// A connection that was taken in.
pub(crate) struct Registered {
    /// Its place.
    pub registration: Registration,
    /// Its session.
    pub key: SessionKey,
    /// Whether the session begins with this connection.
    pub is_new: bool,
    /// Where this session's last connection was, if this one continues it over another transport.
    pub switched_from: Option<Transport>,
    /// The connections of the session that this one replaces.
    pub older: Vec<Handle>,
    /// The scope of the connection that the session had before, until this one begins.
    pub before: Option<Arc<Scope>>,
}

impl Sessions {
    /// Nobody is connected yet.
    #[must_use]
    pub(crate) fn new(presence: Arc<Presence>) -> Self {
        Self { table: Mutex::default(), presence }
    }

    /// Remembers sessions of before this process as if they had just lost their connections. `true`: one that polls.
    pub(crate) fn restore(&self, sessions: Vec<(SessionKey, bool)>) {
        let mut table = self.table.lock();
        for (key, polls) in sessions {
            let last_transport = if polls { Transport::Poll } else { Transport::Ws };
            let entry = table.enter(&key, IpAddr::V4(Ipv4Addr::UNSPECIFIED), last_transport);
            entry.is_restored = true;
            entry.lapsed_at = Some(Instant::now());
        }
    }

    /// Makes the session's user a member of a topic, as long as the session is remembered; `offline` leaves.
    ///
    /// # Errors
    /// When the session cannot be one.
    pub(crate) fn set_presence(
        &self,
        key: &SessionKey,
        topic: &Topic,
        status: Status,
        info: Data,
        topics_max: usize,
    ) -> Result<(), NoMember> {
        let table = self.table.lock();
        let entry = table.get(key).ok_or(NoMember::Gone)?;
        let shown = Shown { status, info, polls: entry.last_transport == Transport::Poll };
        if self.presence.set(key, topic, shown, topics_max) { Ok(()) } else { Err(NoMember::Full) }
    }

    /// Takes in a connection. One that names a session of the same user continues it: it is not counted a second
    /// time, and the older connection ends shortly.
    ///
    /// # Errors
    /// When a cap is reached.
    pub(crate) fn register(
        self: &Arc<Self>,
        mut scope: Scope,
        who: Who<'_>,
        transport: Transport,
        caps: Caps,
    ) -> Result<Registered, Full> {
        let address = scope.address;
        let user = Arc::clone(&scope.user);
        let mut table = self.table.lock();
        let now = Instant::now();
        let id = match who {
            Who::New => fresh_id(),
            Who::Session(id) => id.into(),
            Who::Unnamed => table.idle_unnamed(&user).unwrap_or_else(fresh_id),
        };
        let key = SessionKey { user, id };
        let beside = table.get(&key).map(|entry| entry.connections.len());
        let continued = beside.is_some_and(|beside| beside > 0);
        if beside.is_some_and(|beside| beside >= 2 * CONNECTIONS_MAX) {
            return Err(Full::User);
        }
        if !continued {
            table.check(&key.user, address, caps)?;
            *table.addresses.entry(address).or_default() += 1;
        }
        let entry = table.enter(&key, address, transport);
        if beside.is_none() {
            entry.unnamed = who == Who::Unnamed;
        }
        if !continued {
            entry.address = address;
        }
        scope.id = Some(Arc::clone(&entry.id));
        let scope = Arc::new(scope);
        let older: Vec<Handle> = entry.connections.iter().map(|older| older.scope.handle.clone()).collect();
        let is_new = beside.is_none() || std::mem::take(&mut entry.is_restored);
        let last_transport = std::mem::replace(&mut entry.last_transport, transport);
        entry.lapsed_at = None;
        let before = entry.newest().map(Arc::clone);
        entry.connections.push(Connection { transport, scope: Arc::clone(&scope) });
        self.presence.connect(&key, Some(transport == Transport::Poll));
        let replaced = Bye { reason: ByeReason::Replaced, reconnect_after: pacing::soon() };
        let too_many = entry.connections.len().saturating_sub(CONNECTIONS_MAX);
        entry.connections[..too_many].iter().for_each(|oldest| oldest.scope.handle.end(replaced));
        if let Some(forgotten) = table.forget_lapsed(&key.user, now) {
            self.presence.retain(&forgotten, |_| false);
        }
        drop(table);
        let switched_from = (!is_new && last_transport != transport).then_some(last_transport);
        let registration = Registration { sessions: Arc::clone(self), scope };
        Ok(Registered { registration, key, is_new, switched_from, older, before })
    }

    /// Ends every session of a user. Returns how many.
    pub(crate) fn end_user(&self, user: &str, bye: Bye) -> usize {
        self.table.lock().of_user(user).iter().filter(|entry| entry.end(bye)).count()
    }

    /// Ends a session, whoever's it is. Returns how many there were.
    pub(crate) fn end_session(&self, id: &str, bye: Bye) -> usize {
        self.table.lock().all().filter(|entry| &*entry.id == id && entry.end(bye)).count()
    }

    /// Ends every connection, each in its own slot: so many may come back in a second. Returns how many there were.
    pub(crate) fn drain(&self, reconnects_per_second: NonZeroU32) -> usize {
        let table = self.table.lock();
        let connections = table.all().flat_map(|entry| &entry.connections);
        let told = connections.zip(0..).map(|(connection, at)| {
            let reconnect_after = pacing::drain_slot(at, reconnects_per_second);
            connection.scope.handle.end(Bye { reason: ByeReason::Drain, reconnect_after });
        });
        told.count()
    }

    /// How many connections there are.
    #[must_use]
    pub(crate) fn connections(&self) -> usize {
        self.table.lock().all().map(|entry| entry.connections.len()).sum()
    }

    /// How to reach a user's session. `None`: the user has no such session.
    #[must_use]
    pub(crate) fn link(&self, user: &str, id: &str) -> Option<Link> {
        let table = self.table.lock();
        let entry = table.of_user(user).iter().find(|entry| &*entry.id == id)?;
        let handle = entry.connections.last().map(|connection| connection.scope.handle.clone());
        Some(Link { id: Arc::clone(&entry.id), handle: handle.unwrap_or_default() })
    }

    /// Up to `max` sessions of a user, each with its newest connection or the last that it had.
    #[must_use]
    pub(crate) fn of_user(&self, user: &str, max: usize) -> Vec<Standing> {
        let table = self.table.lock();
        let standing = |entry: &Entry| {
            let scope = entry.newest()?;
            Some(Standing {
                id: Arc::clone(&entry.id),
                transport: entry.last_transport,
                is_connected: !entry.connections.is_empty(),
                scope: Arc::clone(scope),
            })
        };
        table.of_user(user).iter().filter_map(standing).take(max).collect()
    }

    /// Gives every connection of a session another grant. What it does not allow is dropped from all of them at once,
    /// those that a newer one replaces included.
    pub(crate) fn renew(&self, key: &SessionKey, grant: &Arc<Grant>, lens: Option<&Arc<dyn Lens>>) {
        let table = self.table.lock();
        for Connection { scope, .. } in table.get(key).into_iter().flat_map(|entry| &entry.connections) {
            let dropped = scope.renew(grant);
            // The connection's own commands are no exception: of two grants at once, the same is the last everywhere.
            scope.handle.change(Change::Unsubscribe(dropped));
            scope.handle.change(Change::Lens(lens.cloned()));
            scope.handle.change(Change::Expiry(grant.ends_at_instant()));
        }
        self.presence.retain(key, |topic| grant.may_subscribe(topic));
    }

    /// Counts, naming up to `users_max` users.
    #[must_use]
    pub(crate) fn counts(&self, users_max: usize) -> Counts {
        let table = self.table.lock();
        let mut counts = Counts::default();
        for (user, entries) in &table.users {
            for connection in entries.iter().flat_map(|entry| &entry.connections) {
                counts.by_transport[connection.transport as usize] += 1;
            }
            let is_client =
                |entry: &&Entry| !entry.connections.is_empty() || entry.last_transport == Transport::Poll;
            let clients = entries.iter().filter(is_client).count();
            if clients > 0 {
                counts.clients += clients;
                counts.by_user.push((Arc::clone(user), clients));
            }
        }
        counts.users = counts.by_user.len();
        counts.by_user.sort_unstable();
        counts.by_user.truncate(users_max);
        counts
    }

    /// How many connections each topic has, the busiest first, up to `topics_max`. Every session's own two are left out.
    #[must_use]
    pub(crate) fn by_topic(&self, topics_max: usize) -> Vec<(Topic, usize)> {
        let table = self.table.lock();
        let mut by_topic: HashMap<Topic, usize> = HashMap::new();
        for connection in table.all().flat_map(|entry| &entry.connections) {
            // The first two are the user's own and `all`.
            for topic in connection.scope.held.lock().topics.iter().skip(2) {
                *by_topic.entry(topic.clone()).or_default() += 1;
            }
        }
        drop(table);
        let mut by_topic: Vec<(Topic, usize)> = by_topic.into_iter().collect();
        by_topic.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.as_str().cmp(b.as_str())));
        by_topic.truncate(topics_max);
        by_topic
    }

    /// Forgets the sessions whose time without a connection is over. Returns how many pollers did not come back.
    pub(crate) fn sweep(&self) -> u64 {
        let now = Instant::now();
        let mut table = self.table.lock();
        let over = |(user, entries): (&Arc<str>, &Vec<Entry>)| {
            let over = entries.iter().filter(|entry| entry.is_over(now));
            over.map(|entry| SessionKey { user: Arc::clone(user), id: Arc::clone(&entry.id) })
                .collect::<Vec<_>>()
        };
        let over: Vec<SessionKey> = table.users.iter().flat_map(over).collect();
        for key in &over {
            table.forget(key);
            self.presence.retain(key, |_| false);
        }
        std::mem::take(&mut table.pollers_gone)
    }

    fn leave(&self, scope: &Arc<Scope>) {
        let Some(key) = &scope.session() else { return };
        let mut table = self.table.lock();
        let Some(entry) = table.get_mut(key) else { return };
        let is_this = |connection: &Connection| Arc::ptr_eq(&connection.scope, scope);
        let Some(at) = entry.connections.iter().position(is_this) else { return };
        if entry.newest().is_some_and(|newest| Arc::ptr_eq(newest, scope)) {
            entry.last_scope = Some(Arc::clone(scope));
        }
        entry.connections.remove(at);
        if entry.connections.is_empty() {
            entry.lapsed_at = Some(Instant::now());
            self.presence.connect(key, None);
            let address = entry.address;
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
        self.sessions.leave(&self.scope);
    }
}

impl Registration {
    /// Its session has begun: connections that are older go on beside it for a short time.
    pub(crate) fn begins(&self, older: Vec<Handle>) {
        if let Some(key) = &self.scope.session()
            && let Some(entry) = self.sessions.table.lock().get_mut(key)
        {
            entry.last_scope = None;
        }
        if !older.is_empty() {
            let replaced = Bye { reason: ByeReason::Replaced, reconnect_after: pacing::soon() };
            tokio::spawn(async move {
                tokio::time::sleep(REPLACED_AFTER).await;
                older.iter().for_each(|handle| handle.end(replaced));
            });
        }
    }
}

impl Entry {
    /// The scope of the connection that began last, whether it is there or has gone.
    fn newest(&self) -> Option<&Arc<Scope>> {
        let connections = self.connections.iter().rev().map(|connection| &connection.scope);
        self.last_scope.iter().chain(connections).find(|scope| scope.has_begun())
    }

    fn end(&self, bye: Bye) -> bool {
        self.connections.iter().for_each(|connection| connection.scope.handle.end(bye));
        !self.connections.is_empty()
    }

    fn is_over(&self, now: Instant) -> bool {
        let grace = if self.last_transport == Transport::Poll { GRACE_POLL } else { GRACE };
        self.lapsed_at.is_some_and(|at| now.duration_since(at) >= grace)
    }
}

impl Table {
    fn of_user(&self, user: &str) -> &[Entry] {
        self.users.get(user).map(Vec::as_slice).unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.users.values().flatten()
    }

    fn get(&self, key: &SessionKey) -> Option<&Entry> {
        self.of_user(&key.user).iter().find(|entry| entry.id == key.id)
    }

    fn get_mut(&mut self, key: &SessionKey) -> Option<&mut Entry> {
        self.users.get_mut(&key.user)?.iter_mut().find(|entry| entry.id == key.id)
    }

    /// A session, taken in if it is not there yet.
    fn enter(&mut self, key: &SessionKey, address: IpAddr, last_transport: Transport) -> &mut Entry {
        // Most users have one session, and most sessions one connection: no room is kept for others.
        let entries = self.users.entry(Arc::clone(&key.user)).or_insert_with(|| Vec::with_capacity(1));
        let at = entries.iter().position(|entry| entry.id == key.id).unwrap_or_else(|| {
            entries.push(Entry {
                id: Arc::clone(&key.id),
                connections: Vec::with_capacity(1),
                address,
                last_transport,
                unnamed: false,
                is_restored: false,
                lapsed_at: None,
                last_scope: None,
            });
            entries.len() - 1
        });
        &mut entries[at]
    }

    fn check(&self, user: &Arc<str>, address: IpAddr, caps: Caps) -> Result<(), Full> {
        let connected = |entry: &&Entry| entry.lapsed_at.is_none();
        if let Some(max) = caps.per_user
            && self.of_user(user).iter().filter(connected).count() >= max
        {
            return Err(Full::User);
        }
        if let Some(max) = caps.per_address
            && self.addresses.get(&address).is_some_and(|count| *count >= max)
        {
            return Err(Full::Address);
        }
        Ok(())
    }

    /// A session of this user that no client can name and that has no connection now.
    fn idle_unnamed(&self, user: &Arc<str>) -> Option<Arc<str>> {
        let idle = self.of_user(user).iter().find(|entry| entry.unnamed && entry.lapsed_at.is_some());
        idle.map(|entry| Arc::clone(&entry.id))
    }

    fn forget(&mut self, key: &SessionKey) {
        let Some(entries) = self.users.get_mut(&key.user) else { return };
        let Some(at) = entries.iter().position(|entry| entry.id == key.id) else { return };
        let gone = entries.remove(at);
        if entries.is_empty() {
            self.users.remove(&key.user);
        }
        self.pollers_gone += u64::from(gone.last_transport == Transport::Poll && !gone.is_restored);
    }

    /// Keeps a user who connects anew again and again from filling the table.
    fn forget_lapsed(&mut self, user: &Arc<str>, now: Instant) -> Option<SessionKey> {
        let entries = self.of_user(user);
        if entries.len() <= LAPSED_MAX {
            return None;
        }
        let lapsed =
            entries.iter().filter_map(|entry| Some((now.duration_since(entry.lapsed_at?), &entry.id)));
        let (_, id) = lapsed.max_by_key(|(age, _)| *age)?;
        let oldest = SessionKey { user: Arc::clone(user), id: Arc::clone(id) };
        self.forget(&oldest);
        Some(oldest)
    }
}

/// 128 random bits, as a word that fits into a URL.
fn fresh_id() -> Arc<str> {
    let mut bits = [0; 16];
    if Chance::system().fill(&mut bits).is_err() {
        tracing::error!("the system has no random numbers: session ids can be guessed");
    }
    data_encoding::BASE64URL_NOPAD.encode(&bits).into()
}
