//! Members beside the log on disk: their events and their records are one commit.

use std::sync::Arc;

use events::{BoxFuture, Clock, Data, Disk, Draft, KeptValue, Topic, Unavailable};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keep::{Answers, Keep, Kept, KeptMember, KeptSession, Loaded};
use super::status::Status;

/// Keeps members as JSON under `TOPIC USER`; neither has a space in it.
pub(crate) struct OnDisk {
    disk: Arc<Disk>,
    clock: Clock,
}

/// The key of the time at which this process was last known to run. It is no key of a member.
const ALIVE: &str = "alive";

#[derive(Serialize, Deserialize)]
struct MemberJson {
    info: Box<RawValue>,
    since_ms: u64,
    last_seen_ms: u64,
    sessions: Vec<SessionRecord>,
}

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    id: String,
    status: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    polls: bool,
}

impl OnDisk {
    /// Members in the file of this store, with the time from this clock.
    pub(crate) fn new(disk: Arc<Disk>, clock: Clock) -> Self {
        Self { disk, clock }
    }
}

impl Keep for OnDisk {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>> {
        let mut loaded = Loaded::default();
        for (name, value) in self.disk.take_kept() {
            if name == ALIVE {
                loaded.alive_ms = serde_json::from_slice(&value).unwrap_or_default();
            } else if let Some(kept) = parse(&name, &value) {
                loaded.kept.push(kept);
            } else {
                tracing::warn!(name, "a stored member cannot be read and is dropped");
            }
        }
        Box::pin(std::future::ready(Ok(loaded)))
    }

    fn tell(&self, drafts: Vec<Draft>, members: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>> {
        let mut values: Vec<KeptValue> = members.iter().map(write).collect();
        values.push((ALIVE.to_owned(), Some(self.clock.unix_ms().to_string().into_bytes())));
        Box::pin(self.disk.append_and_keep(drafts, values))
    }
}

pub(super) fn write(kept: &Kept) -> KeptValue {
    let name = format!("{} {}", kept.topic, kept.user);
    let record = |member: &KeptMember| {
        let session = |session: &KeptSession| SessionRecord {
            id: session.id.as_ref().to_owned(),
            status: session.status.as_str().to_owned(),
            polls: session.polls,
        };
        let record = MemberJson {
            info: serde_json::from_slice(member.info.as_bytes()).ok()?,
            since_ms: member.since_ms,
            last_seen_ms: member.last_seen_ms,
            sessions: member.sessions.iter().map(session).collect(),
        };
        serde_json::to_vec(&record).ok()
    };
    (name, kept.member.as_ref().and_then(record))
}

pub(super) fn parse(name: &str, value: &[u8]) -> Option<Kept> {
    let (topic, user) = name.split_once(' ')?;
    let record: MemberJson = serde_json::from_slice(value).ok()?;
    let session = |record: SessionRecord| {
        let status = Status::named(&record.status)?;
        Some(KeptSession { id: record.id.into(), status, polls: record.polls })
    };
    Some(Kept {
        topic: topic.parse::<Topic>().ok()?,
        user: user.into(),
        member: Some(KeptMember {
            info: Data::from_raw(&record.info).ok()?,
            since_ms: record.since_ms,
            last_seen_ms: record.last_seen_ms,
            sessions: record.sessions.into_iter().map(session).collect::<Option<_>>()?,
        }),
        told: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let session = |id: &str, status, polls| KeptSession { id: id.into(), status, polls };
        let member = KeptMember {
            info: Data::from_value(&serde_json::json!({"name": "Ä \u{7} \"", "n": 1.5})).unwrap(),
            since_ms: 1,
            last_seen_ms: u64::MAX,
            sessions: vec![session("a-_1", Status::Online, false), session("b", Status::Away, true)],
        };
        for member in [member.clone(), KeptMember { sessions: Vec::new(), ..member }] {
            let kept = Kept {
                topic: "room:a/1".parse().unwrap(),
                user: "x@y".into(),
                member: Some(member.clone()),
                told: None,
            };
            let (name, value) = write(&kept);
            let read = parse(&name, &value.unwrap()).unwrap();
            assert_eq!((read.topic.as_str(), &*read.user, read.member), ("room:a/1", "x@y", Some(member)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_nobody() {
        for (name, value) in [("alice", "{}"), ("room:1 a", "{}"), ("room 1 a", "1"), ("room:1 a", "")] {
            assert!(parse(name, value.as_bytes()).is_none(), "{name} {value}");
        }
    }
}
