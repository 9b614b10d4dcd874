//! The one path by which events reach this node's log: reads the stream from where the log is, for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Value, cmd};

use super::id::Id;
use super::link::{Link, LinkError, Look, text};
use super::publisher::Notice;
use super::recent::Recent;
use super::{Keys, Status};
use crate::log::Fact;
use crate::store::codec::Fields;
use crate::{Epoch, Log, Seq, Sequenced, Topic};

/// How long one read waits for something new: so often is looked whether the server still is what it was.
const BLOCK: Duration = Duration::from_millis(500);

/// How many entries are read at once.
const COUNT: usize = 512;

/// How many generations this node remembers.
const GENERATIONS_MAX: usize = 256;

pub(super) struct Tailer {
    pub(super) log: Arc<Log>,
    pub(super) clients: Arc<[Client]>,
    pub(super) keys: Arc<Keys>,
    pub(super) status: Arc<Status>,
    pub(super) recent: Arc<Recent>,
    pub(super) notices: tokio::sync::mpsc::Sender<Notice>,
    /// How far this node has followed each generation, oldest first. The last is where it is; empty: nowhere yet.
    pub(super) followed: Vec<Id>,
    /// Whether the place where this node is was just found to be part of the surviving log.
    pub(super) certain: bool,
}

/// What stands in the stream.
enum Item {
    Event(Sequenced),
    /// A generation began; the one before ended there.
    Generation {
        previous: Id,
    },
    Lost(Vec<Topic>),
    /// Nothing that this version knows.
    Other,
}

/// Why reading stopped.
enum Stop {
    Link(LinkError),
    /// What was read does not follow from where this node is.
    Astray,
}

impl<E: Into<LinkError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}

impl Tailer {
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            match Link::to_master(&self.clients, BLOCK + Duration::from_secs(2)).await {
                Ok(mut link) => match self.follow(&mut link).await {
                    Stop::Astray => failures = 0,
                    Stop::Link(error) => {
                        failures = if self.status.is_followed() { 0 } else { failures + 1 };
                        self.status.set_lost(&error);
                    }
                },
                Err(error) => {
                    failures += 1;
                    self.status.set_lost(&error);
                }
            }
            tokio::time::sleep(super::backoff(failures)).await;
        }
    }

    async fn follow(&mut self, link: &mut Link) -> Stop {
        loop {
            let result = self.follow_until_astray(link).await;
            match result {
                Err(Stop::Link(error)) => return Stop::Link(error),
                // Looks again: it knows then where it is, or starts over.
                Ok(()) | Err(Stop::Astray) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn follow_until_astray(&mut self, link: &mut Link) -> Result<(), Stop> {
        let look = link.look_open(&self.keys).await?;
        self.resync(&look);
        if let Some(last) = look.last {
            self.skip_trimmed(link, last).await?;
        }
        loop {
            let at = self.followed.last().copied().unwrap_or_default();
            let entries = self.read(link, at).await?;
            if entries.is_empty() {
                // The only way to notice that the stream was deleted, or is another one with lower ids.
                let look = link.look(&self.keys).await?;
                if !look.is_master || !look.is_open || look.last != self.followed.last().copied() {
                    return Ok(());
                }
                self.status.set_followed();
                continue;
            }
            let full = entries.len() == COUNT;
            self.take_in(entries)?;
            if !full {
                self.status.set_followed();
            }
        }
    }

    async fn read(&mut self, link: &mut Link, after: Id) -> Result<Vec<(Id, Item)>, Stop> {
        let mut call = cmd("XREAD");
        call.arg("COUNT").arg(COUNT).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        call.arg("STREAMS").arg(&self.keys.stream).arg(after.to_string());
        let answer = link.call(&call).await?;
        let unknown = || LinkError::Broken("XREAD answered something else".to_owned());
        match answer {
            Value::Nil => Ok(Vec::new()),
            answer => Ok(parse(answer).ok_or_else(unknown)?),
        }
    }

    /// Finds the newest point that this node and the surviving log share, and forgets what it has above.
    fn resync(&mut self, look: &Look) {
        let at = self.followed.last().copied().unwrap_or_default();
        let current = look.last.map_or(0, |last| last.generation);
        let mut lost = BTreeSet::new();
        for id in &self.followed {
            if id.generation != current {
                // Of a generation that nobody knows any more, nothing survives.
                lost.extend(self.recent.end(id.generation, look.end_of(id.generation).unwrap_or_default()));
            }
        }
        let shared = self.followed.iter().rposition(|id| look.end_of(id.generation).is_some());
        self.followed.truncate(shared.map_or(0, |index| index + 1));
        if let Some(id) = self.followed.last_mut() {
            id.seq = id.seq.min(look.end_of(id.generation).unwrap_or_default());
        }
        let now = self.followed.last().copied().unwrap_or_default();
        if now.generation == current && now != at {
            // A generation never goes back: this is another log.
            self.followed.clear();
        }
        self.certain = true;
        if self.followed.is_empty() {
            return;
        }
        if now != at {
            // The generation goes on from there: perhaps with entries that a master in between never had.
            let epoch = Epoch::new(now.generation);
            self.log.apply(Fact::Epoch { epoch, end: Some(now.seq), start: now.seq });
        }
        self.tell_lost(lost, now);
    }

    /// Has every node told of what was acknowledged and is lost.
    fn tell_lost(&self, lost: BTreeSet<Topic>, of: Id) {
        if !lost.is_empty() {
            let topics = lost.into_iter().collect();
            if self.notices.try_send(Notice { topics, of }).is_err() {
                self.status.set_notice_dropped();
            }
        }
    }

    /// The stream has nothing after `at`, and yet ends at `last`: all of it was trimmed.
    async fn skip_trimmed(&mut self, link: &mut Link, last: Id) -> Result<(), Stop> {
        let mut call = cmd("XREVRANGE");
        call.arg(&self.keys.stream).arg("+").arg("-").arg("COUNT").arg(1);
        let newest = link.call(&call).await?;
        let at = self.followed.last().copied().unwrap_or_default();
        if !matches!(&newest, Value::Array(entries) if entries.is_empty()) || at == last {
            return Ok(());
        }
        let end = (at != Id::default()).then_some(at.seq);
        if at.generation != last.generation {
            let epoch = Epoch::new(last.generation);
            self.log.apply(Fact::Epoch { epoch, end, start: last.seq });
            self.followed.push(last);
        }
        self.log.apply(Fact::Trimmed { through: last.seq });
        if let Some(at) = self.followed.last_mut() {
            *at = last;
        }
        Ok(())
    }

    /// Takes in entries that follow where this node is.
    fn take_in(&mut self, entries: Vec<(Id, Item)>) -> Result<(), Stop> {
        let mut events = Vec::with_capacity(entries.len());
        for (id, item) in entries {
            let Some(at) = self.followed.last().copied() else {
                self.begin(id, &item);
                self.take_item(id, item, &mut events);
                continue;
            };
            if id.generation == at.generation && id.seq > at.seq {
                if id.seq != at.seq.next() {
                    self.flush(&mut events);
                    self.log.apply(Fact::Trimmed { through: before(id.seq) });
                }
            } else {
                self.flush(&mut events);
                let start = match &item {
                    Item::Generation { .. } => id.seq,
                    _ => before(id.seq),
                };
                let is_next = matches!(&item, Item::Generation { previous }
                    if previous.generation == at.generation && previous.seq >= at.seq);
                let end = match item {
                    Item::Generation { previous }
                        if previous.generation == at.generation && previous.seq >= at.seq =>
                    {
                        previous.seq
                    }
                    // What lay between was trimmed, the marker perhaps with it.
                    _ if self.certain => at.seq,
                    _ => return Err(Stop::Astray),
                };
                let lost = self.recent.end(at.generation, end);
                if end > at.seq {
                    self.log.apply(Fact::Trimmed { through: end });
                }
                self.log.apply(Fact::Epoch { epoch: Epoch::new(id.generation), end: Some(end), start });
                if !is_next {
                    self.log.apply(Fact::Trimmed { through: start });
                }
                self.tell_lost(lost, Id { seq: end, ..at });
                if self.followed.len() == GENERATIONS_MAX {
                    self.followed.remove(0);
                }
                self.followed.push(Id { seq: start, ..id });
            }
            self.certain = false;
            self.take_item(id, item, &mut events);
        }
        self.flush(&mut events);
        Ok(())
    }

    /// The first entry of a log that this node knows nothing of.
    fn begin(&mut self, id: Id, item: &Item) {
        let start = match item {
            Item::Generation { .. } => id.seq,
            _ => before(id.seq),
        };
        self.log.apply(Fact::Epoch { epoch: Epoch::new(id.generation), end: None, start });
        self.followed.push(Id { seq: start, ..id });
        self.certain = false;
    }

    fn take_item(&mut self, id: Id, item: Item, events: &mut Vec<Sequenced>) {
        match item {
            Item::Event(event) => {
                self.recent.add(id, &event.draft.topics);
                events.push(Sequenced { seq: Some(id.seq), ..event });
            }
            Item::Lost(topics) => {
                self.flush(events);
                self.log.apply(Fact::Lost { topics, through: id.seq });
            }
            Item::Generation { .. } => {}
            Item::Other => {
                self.flush(events);
                self.log.apply(Fact::Trimmed { through: id.seq });
            }
        }
        if let Some(at) = self.followed.last_mut() {
            *at = id;
        }
    }

    fn flush(&self, events: &mut Vec<Sequenced>) {
        if !events.is_empty() {
            self.log.apply(Fact::Events(std::mem::take(events)));
        }
    }
}

fn before(seq: Seq) -> Seq {
    Seq::new(seq.number().saturating_sub(1)).unwrap_or_default()
}

/// `[[stream, [[id, [field, value, …]], …]]]`.
fn parse(answer: Value) -> Option<Vec<(Id, Item)>> {
    let array = |value: Value| match value {
        Value::Array(values) => Some(values),
        _ => None,
    };
    let stream = array(array(answer)?.into_iter().next()?)?.into_iter().nth(1)?;
    array(stream)?
        .into_iter()
        .map(|entry| {
            let mut parts = array(entry)?.into_iter();
            let id = text(&parts.next()?)?.parse().ok()?;
            let fields = match parts.next()? {
                Value::Array(fields) => fields,
                _ => Vec::new(),
            };
            Some((id, item(&fields)))
        })
        .collect()
}

fn item(fields: &[Value]) -> Item {
    let field = |name: &str| {
        let pair = fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name));
        pair.map(|pair| &pair[1])
    };
    let known = || match field("k").and_then(text) {
        None => {
            let Value::BulkString(bytes) = field("d")? else { return None };
            let (time_ms, draft) = Fields(bytes).draft()?;
            Some(Item::Event(Sequenced { seq: None, time_ms, draft }))
        }
        Some("gen") => Some(Item::Generation { previous: text(field("prev")?)?.parse().ok()? }),
        Some("lost") => {
            let topics = text(field("topics")?)?.split(',').map(|topic| topic.parse().ok());
            Some(Item::Lost(topics.collect::<Option<_>>()?))
        }
        Some(_) => None,
    };
    known().unwrap_or(Item::Other)
}
