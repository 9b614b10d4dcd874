//! All Engine.IO sessions of clients that use polling.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use events::Chance;
use parking_lot::Mutex;
use tokio::time::Instant;
use transport::socketio::{Mailbox, Pings, Revision};

use super::engine::{Engine, Stage};
use crate::session_key::fresh_id;

/// How long a client may take from its handshake to its CONNECT. The slowest known client takes
/// five seconds, while it waits for a WebSocket that does not answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(45);
/// Interval of checks for lost clients.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long, and how many, ids of upgraded sessions are remembered. They distinguish a late request
/// from a request for a session of another gateway.
const UPGRADED_KEPT: Duration = Duration::from_secs(10);
const UPGRADED_MAX: usize = 10_000;

/// All Engine.IO sessions of clients that use polling.
pub(crate) struct Engines {
    table: Mutex<Table>,
    chance: Chance,
}

#[derive(Default)]
struct Table {
    engines: HashMap<Arc<str>, Arc<Engine>>,
    upgraded: HashMap<Arc<str>, Instant>,
    swept: Option<Instant>,
}

/// The result of a lookup by session id.
pub(crate) enum KnownEngine {
    /// The client uses polling.
    Engine(Arc<Engine>),
    /// The session was upgraded to a WebSocket a moment ago.
    Upgraded,
    /// The session has ended, or belongs to another gateway.
    Unknown,
}

/// The limit of sessions is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEngine;

impl Engines {
    /// A table without sessions. `chance` generates the ids.
    #[must_use]
    pub(crate) fn new(chance: Chance) -> Self {
        Self { table: Mutex::default(), chance }
    }

    /// A new id: 128 random bits, in characters that are safe in a URL.
    #[must_use]
    pub(crate) fn fresh_sid(&self) -> Arc<str> {
        fresh_id(&self.chance)
    }

    /// Opens a session for a client of this revision. The limits are `max` sessions in total and
    /// `per_address` sessions from one address.
    ///
    /// # Errors
    /// When a limit is reached.
    pub(crate) fn open(
        &self,
        address: IpAddr,
        (pings, revision): (Pings, Revision),
        max: usize,
        per_address: Option<usize>,
    ) -> Result<Arc<Engine>, NoEngine> {
        let mailbox = Arc::new(Mailbox::new(pings, revision));
        let engine = Arc::new(Engine::new(self.fresh_sid(), address, mailbox));
        let mut table = self.table.lock();
        let of_address = || table.engines.values().filter(|other| other.address == address).count();
        if table.engines.len() >= max || per_address.is_some_and(|most| of_address() >= most) {
            return Err(NoEngine);
        }
        table.engines.insert(Arc::clone(&engine.sid), Arc::clone(&engine));
        Ok(engine)
    }

    /// Finds the session with this id.
    #[must_use]
    pub(crate) fn find(&self, sid: &str) -> KnownEngine {
        let mut table = self.table.lock();
        let Some(engine) = table.engines.get(sid) else {
            return if table.upgraded.contains_key(sid) {
                KnownEngine::Upgraded
            } else {
                KnownEngine::Unknown
            };
        };
        if !engine.mailbox.is_lost() && !engine.mailbox.is_over() {
            return KnownEngine::Engine(Arc::clone(engine));
        }
        let gone = table.engines.remove(sid);
        drop(table);
        gone.iter().for_each(|engine| engine.end());
        KnownEngine::Unknown
    }

    /// Removes a session that has ended.
    fn forget(&self, sid: &str) {
        self.table.lock().engines.remove(sid);
    }

    /// Removes a session that continues over a WebSocket, and remembers its id for a while.
    pub(crate) fn upgraded(&self, sid: &Arc<str>) {
        let mut table = self.table.lock();
        table.engines.remove(sid);
        if table.upgraded.len() < UPGRADED_MAX {
            table.upgraded.insert(Arc::clone(sid), Instant::now());
        }
    }

    /// Number of sessions.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.table.lock().engines.len()
    }

    /// Ends all sessions, because the gateway drains.
    pub(crate) fn end_all(&self) {
        let engines: Vec<Arc<Engine>> = self.table.lock().engines.values().cloned().collect();
        engines.iter().for_each(|engine| engine.end());
    }

    /// Ends the sessions of lost clients. Does nothing if the last sweep was a moment ago.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut table = self.table.lock();
        if table.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return;
        }
        table.swept = Some(now);
        table.upgraded.retain(|_, at| now < *at + UPGRADED_KEPT);
        let engines: Vec<Arc<Engine>> = table.engines.values().cloned().collect();
        drop(table);
        for engine in engines.iter().filter(|engine| is_gone(engine)) {
            engine.end();
            self.forget(&engine.sid);
        }
    }
}

/// Whether a session is over, or its client is lost or did not send its CONNECT or token in time.
fn is_gone(engine: &Engine) -> bool {
    let is_waited_for = matches!(engine.stage(), Stage::Open | Stage::Awaiting(_));
    let never_came = is_waited_for && engine.age() > CONNECT_WITHIN;
    never_came || engine.mailbox.is_lost() || engine.mailbox.is_over()
}
