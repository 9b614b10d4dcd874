//! Whose a connection is, what it may see, what it sees, and how far it has been sent that.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use events::{Seq, Topic, TypeFilter};
use parking_lot::Mutex;
use transport::Handle;

use crate::auth::Grant;
use crate::sessions::Key;
use crate::time;

/// What is known of a connection, or of a request with commands: to the table, to its session and to its commands. The
/// grant is locked before the topics, and those before the rest.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Whose it is.
    pub user: Arc<str>,
    /// The id of its session; `None`: it has none.
    pub id: Option<Arc<str>>,
    /// Where it comes from.
    pub address: IpAddr,
    /// By which its session is reached.
    pub handle: Handle,
    /// What the client's commands may do.
    pub grant: Mutex<Arc<Grant>>,
    /// What it is subscribed to.
    pub topics: Mutex<Vec<Topic>>,
    /// The types it wants; `None`: all.
    pub types: Option<TypeFilter>,
    /// The session has what lies above.
    began: AtomicU64,
    /// It began with a cursor, so what lies below was somebody's to give.
    resumed: AtomicBool,
    /// The client was sent what it may see up to here.
    sent: AtomicU64,
    /// The topics that came later than the session, and above which seq it has them.
    late: Mutex<Vec<(Topic, Seq)>>,
}

impl Scope {
    /// Of no session: a grant, topics that it allows, and the types that are wanted of them.
    #[must_use]
    pub(crate) fn new(
        grant: Arc<Grant>,
        topics: Vec<Topic>,
        types: Option<TypeFilter>,
        address: IpAddr,
    ) -> Self {
        Self {
            user: Arc::clone(&grant.user),
            id: None,
            address,
            handle: Handle::default(),
            grant: Mutex::new(grant),
            topics: Mutex::new(topics),
            types,
            began: AtomicU64::new(0),
            resumed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            late: Mutex::default(),
        }
    }

    /// Its session.
    #[must_use]
    pub(crate) fn session(&self) -> Option<Key> {
        Some(Key { user: Arc::clone(&self.user), id: Arc::clone(self.id.as_ref()?) })
    }

    /// When the grant ends, as the client reads it; empty if it does not.
    #[must_use]
    pub(crate) fn expires_at(&self) -> String {
        self.grant.lock().expires_at.map(time::rfc3339).unwrap_or_default()
    }

    /// Has another grant from now on. Returns the topics that it does not allow, and which are dropped.
    pub(crate) fn renew(&self, grant: &Arc<Grant>) -> Vec<Topic> {
        *self.grant.lock() = Arc::clone(grant);
        let mut topics = self.topics.lock();
        let (kept, dropped) = topics.drain(..).partition(|topic| grant.may_subscribe(topic));
        *topics = kept;
        dropped
    }

    /// The connection begins at `at`, which is the client's own cursor if it `resumed`. What its session had before,
    /// over the connection with the scope `before`, it has still.
    pub(crate) fn begin(&self, at: Seq, resumed: bool, before: Option<&Self>) {
        self.sent.store(at.number(), Ordering::Relaxed);
        let Some(before) = before.filter(|before| resumed && before.began() <= at) else {
            self.began.store(at.number(), Ordering::Relaxed);
            self.resumed.store(resumed, Ordering::Relaxed);
            return;
        };
        self.began.store(before.began().number(), Ordering::Relaxed);
        self.resumed.store(before.has_resumed(), Ordering::Relaxed);
        let topics = self.topics.lock();
        let had = before.topics.lock();
        let mut late = before.late.lock().clone();
        late.retain(|(topic, _)| topics.contains(topic) && had.contains(topic));
        late.extend(topics.iter().filter(|topic| !had.contains(topic)).map(|topic| (topic.clone(), at)));
        *self.late.lock() = late;
    }

    /// Topics that were added get their events above `at`.
    pub(crate) fn subscribed(&self, new: &[Topic], at: Seq) {
        let topics = self.topics.lock();
        let mut late = self.late.lock();
        late.retain(|(topic, _)| topics.contains(topic) && !new.contains(topic));
        late.extend(new.iter().map(|topic| (topic.clone(), at)));
    }

    /// History broke: the session goes on from `at`.
    pub(crate) fn restarted(&self, at: Seq) {
        self.begin(at, false, None);
    }

    /// The client was sent everything up to `at`.
    pub(crate) fn sent_up_to(&self, at: Seq) {
        self.sent.store(at.number(), Ordering::Relaxed);
    }

    /// Above which seq the session has its topics.
    #[must_use]
    pub(crate) fn began(&self) -> Seq {
        seq(&self.began)
    }

    /// Whether that is a cursor with which the client came.
    #[must_use]
    pub(crate) fn has_resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Up to which seq the client was sent what it may see.
    #[must_use]
    pub(crate) fn sent(&self) -> Seq {
        seq(&self.sent)
    }

    /// Above which seq the session has this topic, if that came later than the session.
    #[must_use]
    pub(crate) fn late(&self, topic: &Topic) -> Option<Seq> {
        self.late.lock().iter().find(|(late, _)| late == topic).map(|(_, at)| *at)
    }
}

fn seq(number: &AtomicU64) -> Seq {
    Seq::new(number.load(Ordering::Relaxed)).unwrap_or(Seq::MAX)
}
