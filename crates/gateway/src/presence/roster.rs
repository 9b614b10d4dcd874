//! The members of one topic: pure, with the time passed in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use events::{Data, Topic};

use super::keep::{KeptMember, KeptSession};
use super::status::Status;

/// A change of one member that a presence event announces.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The topic.
    pub topic: Topic,
    /// The user.
    pub user: Arc<str>,
    /// The kind of the change.
    pub kind: ChangeKind,
    /// The user's status after the change.
    pub status: Status,
    /// JSON that the user shows.
    pub info: Data,
    /// The number of members after the change, without those that are offline.
    pub count: usize,
    /// When the user joined, in milliseconds since 1970.
    pub since_ms: u64,
    /// What the event before this one announced; for an undo.
    before: Option<(Status, u64)>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// The user joined.
    Join,
    /// The user has another status or info.
    Update,
    /// The user left.
    Leave,
}

/// One member as `GET /v1/presence` lists it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The user.
    pub user: Arc<str>,
    /// The user's status.
    pub status: Status,
    /// JSON that the user shows.
    pub info: Data,
    /// When the user joined, in milliseconds since 1970.
    pub since_ms: u64,
    /// When the user was last present, in milliseconds since 1970.
    pub last_seen_ms: u64,
    /// How many sessions make the user a member.
    pub sessions: usize,
}

/// The members of one topic, and the users who have left and are still listed.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: HashMap<Arc<str>, Member>,
    /// Members that are not offline.
    present: usize,
    /// Members that are present according to the events so far.
    told: usize,
}

#[derive(Debug)]
struct Member {
    sessions: Vec<Session>,
    info: Data,
    since_ms: u64,
    last_seen_ms: u64,
    /// When the last session left; later than `last_seen_ms` if the session had a grace period.
    left_ms: u64,
    /// Counts the values of `info`.
    version: u64,
    /// The status, and the number of the `info`, that was announced last. `None`: no member.
    told: Option<(Status, u64)>,
    /// Whether the user waits for an event or for a record.
    is_changed: bool,
    /// Whether the user waits to be forgotten.
    is_departure_noted: bool,
}

#[derive(Debug)]
struct Session {
    id: Arc<str>,
    status: Status,
    polls: bool,
    is_connected: bool,
    /// The gateway that has the session; `None`: this one. While a session moves, both have it.
    node: Option<Arc<str>>,
}

impl Session {
    fn is_here(&self, id: &str) -> bool {
        self.node.is_none() && *self.id == *id
    }
}

/// The presence of one session in a topic.
#[derive(Clone, Debug)]
pub(crate) struct SessionPresence {
    /// The status; never offline.
    pub status: Status,
    /// JSON that the user shows.
    pub info: Data,
    /// Whether the session polls.
    pub polls: bool,
}

/// The consequences of a change of the roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The user needs an event or a record, and was not waiting for one already.
    pub changed: bool,
    /// The user's last session has left.
    pub left: bool,
}

/// Whether a user who has left is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgetting {
    /// The user is forgotten.
    Done,
    /// The user is forgotten, though a change still waits for an event or a record.
    Dropped,
    /// The user is not forgotten: the user is back, or is not known.
    Needless,
    /// The user has come back since, and left again at this time.
    Later(u64),
    /// The leave has to be announced first.
    Untold,
    /// The change has to be announced or stored first; the join was never announced.
    Pending,
}

impl Member {
    fn status(&self) -> Status {
        self.sessions.iter().map(|session| session.status).max().unwrap_or(Status::Offline)
    }

    fn is_connected(&self) -> bool {
        self.sessions.iter().any(|session| session.is_connected)
    }

    fn new(info: Data, now_ms: u64) -> Self {
        Self {
            sessions: Vec::new(),
            info,
            since_ms: now_ms,
            last_seen_ms: now_ms,
            left_ms: now_ms,
            version: 0,
            told: None,
            is_changed: false,
            is_departure_noted: false,
        }
    }
}

impl Roster {
    /// How many members are not offline.
    #[must_use]
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    /// Whether no user is listed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a session of this gateway shows exactly this.
    #[must_use]
    pub(crate) fn shows(&self, user: &Arc<str>, session: &str, status: Status, info: &Data) -> bool {
        let member = self.members.get(user).filter(|member| member.info == *info);
        let mut sessions = member.into_iter().flat_map(|member| &member.sessions);
        sessions.any(|known| known.is_here(session) && known.status == status)
    }

    /// A session makes its user a member, or shows something else.
    pub(crate) fn join(
        &mut self,
        user: &Arc<str>,
        session: &Arc<str>,
        shown: SessionPresence,
        now_ms: u64,
    ) -> Effect {
        let SessionPresence { status, info, polls } = shown;
        self.change(user, now_ms, Some(&info), |member| {
            let is_other = member.info != info;
            if is_other {
                member.info = info.clone();
                member.version += 1;
            }
            let now = Session { id: Arc::clone(session), status, polls, is_connected: true, node: None };
            if let Some(known) = member.sessions.iter_mut().find(|known| known.is_here(session)) {
                let is_same = (known.status, known.polls) == (status, polls);
                *known = now;
                return is_other || !is_same;
            }
            member.sessions.push(now);
            true
        })
    }

    /// A session is no longer a member.
    pub(crate) fn leave(&mut self, user: &Arc<str>, session: &str, now_ms: u64) -> Effect {
        self.change(user, now_ms, None, |member| {
            let before = member.sessions.len();
            member.sessions.retain(|known| !known.is_here(session));
            member.sessions.len() < before
        })
    }

    /// A session has a connection, over which it `polls` or not, or none for now.
    pub(crate) fn connect(
        &mut self,
        user: &Arc<str>,
        session: &str,
        polls: Option<bool>,
        now_ms: u64,
    ) -> Effect {
        self.change(user, now_ms, None, |member| {
            let Some(known) = member.sessions.iter_mut().find(|known| known.is_here(session)) else {
                // The session comes from another gateway, with what it shows there.
                let there = member.sessions.iter().find(|known| *known.id == *session);
                let come = there.zip(polls).map(|(there, polls)| Session {
                    id: Arc::clone(&there.id),
                    status: there.status,
                    polls,
                    is_connected: true,
                    node: None,
                });
                let has_come = come.is_some();
                member.sessions.extend(come);
                return has_come;
            };
            known.is_connected = polls.is_some();
            polls.is_some_and(|polls| std::mem::replace(&mut known.polls, polls) != polls)
        })
    }

    /// Takes in a user from the record of an earlier process. The record's status was announced.
    pub(crate) fn restore(&mut self, user: &Arc<str>, kept: KeptMember) {
        let KeptMember { info, since_ms, last_seen_ms, sessions } = kept;
        let session = |KeptSession { id, status, polls }| Session {
            id,
            status,
            polls,
            is_connected: false,
            node: None,
        };
        let sessions = sessions.into_iter().map(session).collect();
        let mut member =
            Member { sessions, last_seen_ms, left_ms: last_seen_ms, ..Member::new(info, since_ms) };
        let status = member.status();
        if status != Status::Offline {
            member.told = Some((status, member.version));
            self.present += 1;
            self.told += 1;
        }
        self.members.insert(Arc::clone(user), member);
    }

    /// Changes a member by `change`, which says whether the record changes.
    fn change(
        &mut self,
        user: &Arc<str>,
        now_ms: u64,
        joins_with: Option<&Data>,
        change: impl FnOnce(&mut Member) -> bool,
    ) -> Effect {
        if let Some(info) = joins_with
            && !self.members.contains_key(user)
        {
            self.members.insert(Arc::clone(user), Member::new(info.clone(), now_ms));
        }
        let Some(member) = self.members.get_mut(user) else { return Effect::default() };
        let was_there = member.status() != Status::Offline;
        let was_connected = member.is_connected();
        let is_kept_anew = change(member);
        let after = member.status();
        let is_there = after != Status::Offline;
        if was_connected || member.is_connected() {
            member.last_seen_ms = member.last_seen_ms.max(now_ms);
        }
        match (was_there, is_there) {
            (false, true) => {
                self.present += 1;
                member.since_ms = now_ms;
            }
            (true, false) => {
                self.present -= 1;
                member.left_ms = now_ms;
            }
            _ => {}
        }
        let is_news = is_kept_anew || member.told != is_there.then_some((after, member.version));
        let changed = is_news && !member.is_changed;
        member.is_changed |= is_news;
        Effect { changed, left: was_there && !is_there }
    }

    /// The event that a user needs, if the user still differs from the last event. From now on it
    /// counts as announced.
    pub(crate) fn tell(&mut self, topic: &Topic, user: &Arc<str>) -> Option<Told> {
        let member = self.members.get_mut(user)?;
        member.is_changed = false;
        let status = member.status();
        let now = (status != Status::Offline).then_some((status, member.version));
        let before = std::mem::replace(&mut member.told, now);
        let kind = match (before, now) {
            (None, Some(_)) => ChangeKind::Join,
            (Some(_), None) => ChangeKind::Leave,
            (Some(before), Some(now)) if before != now => ChangeKind::Update,
            _ => return None,
        };
        match kind {
            ChangeKind::Join => self.told += 1,
            ChangeKind::Leave => self.told -= 1,
            ChangeKind::Update => {}
        }
        Some(Told {
            topic: topic.clone(),
            user: Arc::clone(user),
            kind,
            status,
            info: member.info.clone(),
            count: self.told,
            since_ms: member.since_ms,
            before,
        })
    }

    /// The record of a user; `None`: no record.
    #[must_use]
    pub(crate) fn kept(&self, user: &Arc<str>) -> Option<KeptMember> {
        let member = self.members.get(user)?;
        let session = |session: &Session| KeptSession {
            id: Arc::clone(&session.id),
            status: session.status,
            polls: session.polls,
        };
        Some(KeptMember {
            info: member.info.clone(),
            since_ms: member.since_ms,
            last_seen_ms: member.last_seen_ms,
            sessions: member.sessions.iter().filter(|session| session.node.is_none()).map(session).collect(),
        })
    }

    /// The status of a user according to the events so far.
    #[must_use]
    pub(crate) fn believed(&self, user: &Arc<str>) -> Status {
        let told = self.members.get(user).and_then(|member| member.told);
        told.map_or(Status::Offline, |(status, _)| status)
    }

    /// The sessions of a user that another gateway has.
    #[must_use]
    pub(crate) fn sessions_at(&self, user: &Arc<str>, node: &str) -> Vec<Arc<str>> {
        let sessions = self.members.get(user).into_iter().flat_map(|member| &member.sessions);
        let there = sessions.filter(|session| session.node.as_deref() == Some(node));
        there.map(|session| Arc::clone(&session.id)).collect()
    }

    /// Whether a session makes a user a member, wherever it is.
    #[must_use]
    pub(crate) fn is_known(&self, user: &Arc<str>, session: &str) -> bool {
        let member = self.members.get(user);
        member.is_some_and(|member| member.sessions.iter().any(|known| *known.id == *session))
    }

    /// The users with a session on another gateway.
    #[must_use]
    pub(crate) fn users_at(&self, node: &str) -> Vec<Arc<str>> {
        let is_there = |member: &Member| member.sessions.iter().any(|s| s.node.as_deref() == Some(node));
        self.members.iter().filter(|(_, member)| is_there(member)).map(|(user, _)| Arc::clone(user)).collect()
    }

    /// Takes in what another gateway shows of a user (`None`: nothing), and the status that it has
    /// announced, if it says so.
    pub(crate) fn hear(
        &mut self,
        user: &Arc<str>,
        node: &Arc<str>,
        theirs: Option<KeptMember>,
        told: Option<Status>,
        now_ms: u64,
    ) -> Effect {
        let was_there = self.members.get(user).is_some_and(|member| member.status() != Status::Offline);
        let info = theirs.as_ref().map(|theirs| theirs.info.clone());
        let since_ms = theirs.as_ref().map(|theirs| theirs.since_ms);
        let (mut was_told, mut is_told) = (false, false);
        let effect = self.change(user, now_ms, info.as_ref(), |member| {
            member.sessions.retain(|session| session.node.as_ref() != Some(node));
            for KeptSession { id, status, polls } in theirs.into_iter().flat_map(|theirs| theirs.sessions) {
                let node = Some(Arc::clone(node));
                member.sessions.push(Session { id, status, polls, is_connected: true, node });
            }
            if let Some(info) = info.as_ref().filter(|info| **info != member.info) {
                member.info = info.clone();
                member.version += 1;
            }
            was_told = member.told.is_some();
            if let Some(told) = told {
                member.told = (told != Status::Offline).then_some((told, member.version));
            }
            is_told = member.told.is_some();
            false
        });
        self.told = self.told + usize::from(is_told) - usize::from(was_told);
        if let Some(since_ms) = since_ms
            && let Some(member) = self.members.get_mut(user)
        {
            member.since_ms = if was_there { member.since_ms.min(since_ms) } else { since_ms };
        }
        effect
    }

    /// The event of a change could not be appended.
    pub(crate) fn untell(&mut self, told: &Told) {
        let Some(member) = self.members.get_mut(&told.user) else { return };
        member.told = told.before;
        match told.kind {
            ChangeKind::Join => self.told -= 1,
            ChangeKind::Leave => self.told += 1,
            ChangeKind::Update => {}
        }
    }

    /// The event or the record of a user has to be tried again. `false`: the user is waiting for that
    /// already.
    pub(crate) fn retry(&mut self, user: &Arc<str>) -> bool {
        self.members.get_mut(user).is_none_or(|member| !std::mem::replace(&mut member.is_changed, true))
    }

    /// Forgets a user who has been offline since before `left_before_ms`, unless an event has to come
    /// first. With `must`, a user without any event is forgotten too.
    pub(crate) fn forget(&mut self, user: &Arc<str>, left_before_ms: u64, must: bool) -> Forgetting {
        let Some(member) = self.members.get_mut(user) else { return Forgetting::Needless };
        if member.status() != Status::Offline {
            member.is_departure_noted = false;
            return Forgetting::Needless;
        }
        if member.left_ms > left_before_ms {
            return Forgetting::Later(member.left_ms);
        }
        if member.told.is_some() {
            member.is_departure_noted = false;
            return Forgetting::Untold;
        }
        if member.is_changed && !must {
            return Forgetting::Pending;
        }
        let forgetting = if member.is_changed { Forgetting::Dropped } else { Forgetting::Done };
        self.members.remove(user);
        forgetting
    }

    /// When a user left, if the departure was not noted before; from now on it counts as noted.
    pub(crate) fn note_departure(&mut self, user: &Arc<str>) -> Option<u64> {
        let member = self.members.get_mut(user).filter(|member| member.status() == Status::Offline)?;
        let is_new = !std::mem::replace(&mut member.is_departure_noted, true);
        is_new.then_some(member.left_ms)
    }

    /// Whether the user is listed and waits for an event or a record.
    pub(crate) fn is_changed(&self, user: &Arc<str>) -> bool {
        self.members.get(user).is_some_and(|member| member.is_changed)
    }

    /// The listed users in the order in which they joined, up to `members_max`.
    #[must_use]
    pub(crate) fn list(&self, members_max: usize, now_ms: u64) -> Vec<Listed> {
        let mut members: Vec<(&Arc<str>, &Member)> = self.members.iter().collect();
        members.sort_unstable_by_key(|(user, member)| (member.since_ms, *user));
        members.truncate(members_max);
        let listed = |(user, member): (&Arc<str>, &Member)| Listed {
            user: Arc::clone(user),
            status: member.status(),
            info: member.info.clone(),
            since_ms: member.since_ms,
            last_seen_ms: if member.is_connected() { now_ms } else { member.last_seen_ms },
            sessions: member.sessions.iter().map(|session| &session.id).collect::<HashSet<_>>().len(),
        };
        members.into_iter().map(listed).collect()
    }
}
