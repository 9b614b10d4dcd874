//! What the frames of the file say.

use super::frame::{self, Sort};
use crate::store::codec::{Fields, put, put_draft};
use crate::topic_floors::FloorSeed;
use crate::{Appended, Cursor, Draft, Epoch, Lacking, Seq};

/// An event, or a note that events are lacking, as it is kept.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was written: rises with every commit of this file, the failed ones included, so that of two frames
    /// that claim the same seq the later is known.
    pub(super) stamp: u64,
    /// In which epoch it was numbered.
    pub(super) epoch: Epoch,
    pub(super) seq: Seq,
    pub(super) time_ms: u64,
    pub(super) content: EntryContent,
}

/// What an entry says.
#[derive(Debug)]
pub(super) enum EntryContent {
    Event(Draft),
    /// Events of these topics never came into the store.
    Lacking(Lacking),
}

impl Entry {
    /// The frame of an event.
    pub(super) fn seal(stamp: u64, epoch: Epoch, seq: Seq, time_ms: u64, draft: &Draft) -> Vec<u8> {
        frame::seal(Sort::Entry, |body| {
            for number in [seq.number(), stamp, epoch.number(), time_ms] {
                body.extend_from_slice(&number.to_le_bytes());
            }
            put_draft(body, draft);
        })
    }

    /// The frame of a note that events are lacking.
    pub(super) fn seal_lacking(
        stamp: u64,
        epoch: Epoch,
        seq: Seq,
        time_ms: u64,
        lacking: &Lacking,
    ) -> Vec<u8> {
        frame::seal(Sort::Lacking, |body| {
            for number in [seq.number(), stamp, epoch.number(), time_ms] {
                body.extend_from_slice(&number.to_le_bytes());
            }
            if let Lacking::Topics(topics) = lacking {
                topics.iter().for_each(|topic| put(body, topic.as_str().as_bytes()));
            }
        })
    }

    /// The content of a frame; `None` if it is not whole.
    pub(super) fn unseal(bytes: &[u8]) -> Option<Self> {
        let event = frame::unseal(Sort::Entry, bytes);
        let mut fields = Fields(event.or_else(|| frame::unseal(Sort::Lacking, bytes))?);
        let seq = Seq::new(fields.number()?)?;
        let (stamp, epoch, time_ms) = (fields.number()?, Epoch::new(fields.number()?), fields.number()?);
        let content = if event.is_some() {
            EntryContent::Event(fields.draft()?)
        } else {
            EntryContent::Lacking(lacking(fields)?)
        };
        Some(Self { stamp, epoch, seq, time_ms, content })
    }
}

/// Topics up to the end of the bytes; none: all.
fn lacking(mut fields: Fields<'_>) -> Option<Lacking> {
    let mut topics = Vec::new();
    while !fields.0.is_empty() {
        topics.push(fields.text()?.parse().ok()?);
    }
    Some(if topics.is_empty() { Lacking::All } else { Lacking::Topics(topics) })
}

/// What is known of the log as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Rises whenever this is written.
    pub(super) generation: u64,
    /// The identity of the log's life.
    pub(super) epoch: Epoch,
    /// Up to here, entries were trimmed.
    pub(super) floor: Seq,
    /// This life began here: what is at or below is what was whole of the lives before it, and may have gaps.
    pub(super) start: Seq,
    /// Up to here, trimmed events may be of any topic: the floors of topics say nothing about them.
    pub(super) floors_from: Seq,
    /// Decides which topics share a floor.
    pub(super) floor_seed: FloorSeed,
}

impl Meta {
    /// A log without a past.
    pub(super) fn new(epoch: Epoch, floor_seed: FloorSeed) -> Self {
        let (floor, start, floors_from) = (Seq::ZERO, Seq::ZERO, Seq::ZERO);
        Self { generation: 0, epoch, floor, start, floors_from, floor_seed }
    }

    pub(super) fn seal(&self) -> Vec<u8> {
        frame::seal(Sort::Meta, |body| {
            let Self { generation, epoch, floor, start, floors_from, floor_seed: FloorSeed(seed) } = self;
            let numbers = [FORMAT, *generation, epoch.number(), floor.number(), start.number()];
            for number in numbers.into_iter().chain([floors_from.number(), seed[0], seed[1]]) {
                body.extend_from_slice(&number.to_le_bytes());
            }
        })
    }

    pub(super) fn unseal(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(frame::unseal(Sort::Meta, bytes)?);
        if fields.number()? != FORMAT {
            return None;
        }
        let (generation, epoch) = (fields.number()?, Epoch::new(fields.number()?));
        let (floor, start) = (Seq::new(fields.number()?)?, Seq::new(fields.number()?)?);
        // A file from before there were floors of topics ends here.
        let floors_from = fields.number().and_then(Seq::new).unwrap_or(floor);
        let floor_seed = FloorSeed([0; 2].map(|none| fields.number().unwrap_or(none)));
        Some(Self { generation, epoch, floor, start, floors_from, floor_seed })
    }
}

/// The version of everything in these frames.
const FORMAT: u64 = 1;

/// The seq of the last event of a topic whose entry was trimmed, and its time.
pub(super) fn seal_last(topic: &str, seq: Seq, time_ms: u64) -> Vec<u8> {
    frame::seal(Sort::Last, |body| {
        body.extend_from_slice(&seq.number().to_le_bytes());
        body.extend_from_slice(&time_ms.to_le_bytes());
        put(body, topic.as_bytes());
    })
}

/// Topic, seq and time.
pub(super) fn unseal_last(bytes: &[u8]) -> Option<(&str, Seq, u64)> {
    let mut fields = Fields(frame::unseal(Sort::Last, bytes)?);
    let (seq, time_ms) = (Seq::new(fields.number()?)?, fields.number()?);
    Some((fields.text()?, seq, time_ms))
}

/// Up to `floor`, trimmed events were of topics of this place.
pub(super) fn seal_floor(place: u32, floor: Seq) -> Vec<u8> {
    frame::seal(Sort::Floor, |body| {
        body.extend_from_slice(&u64::from(place).to_le_bytes());
        body.extend_from_slice(&floor.number().to_le_bytes());
    })
}

/// Place and floor.
pub(super) fn unseal_floor(bytes: &[u8]) -> Option<(u32, Seq)> {
    let mut fields = Fields(frame::unseal(Sort::Floor, bytes)?);
    Some((u32::try_from(fields.number()?).ok()?, Seq::new(fields.number()?)?))
}

/// The result of an idempotency token whose entry was trimmed or never kept, and its time.
pub(super) fn seal_token(token: &str, appended: &Appended, time_ms: u64) -> Vec<u8> {
    frame::seal(Sort::Token, |body| {
        let Cursor { epoch, seq } = appended.cursor;
        let own = appended.seq.map_or(u64::MAX, Seq::number);
        for number in [epoch.number(), seq.number(), own, time_ms] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        put(body, token.as_bytes());
    })
}

/// Token, result and time.
pub(super) fn unseal_token(bytes: &[u8]) -> Option<(&str, Appended, u64)> {
    let mut fields = Fields(frame::unseal(Sort::Token, bytes)?);
    let cursor = Cursor { epoch: Epoch::new(fields.number()?), seq: Seq::new(fields.number()?)? };
    let (seq, time_ms) = (Seq::new(fields.number()?), fields.number()?);
    Some((fields.text()?, Appended { cursor, seq, duplicate: false }, time_ms))
}

/// A value that is kept beside the log.
pub(super) fn seal_kept(name: &str, value: &[u8]) -> Vec<u8> {
    frame::seal(Sort::Value, |body| {
        put(body, name.as_bytes());
        put(body, value);
    })
}

/// Name and value.
pub(super) fn unseal_kept(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let mut fields = Fields(frame::unseal(Sort::Value, bytes)?);
    Some((fields.text()?, fields.bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Data, Topics};

    #[test]
    fn every_part_of_an_event_comes_back() {
        let draft = Draft {
            topics: Topics::new(["a", "b"].map(|name| name.parse().unwrap())).unwrap(),
            kind: "schöne \"types\"".parse().unwrap(),
            data: Data::from_value(&serde_json::json!({"x": [1, null]})).unwrap(),
            key: Some("k".parse().unwrap()),
            id: Some("i".parse().unwrap()),
            once: Some("publisher/i".into()),
            ttl_ms: Some(7),
            ephemeral: false,
            expect: Some(Seq::ZERO),
        };
        let (seq, epoch) = (Seq::new(5).unwrap(), Epoch::new(36));
        let frame = Entry::seal(1, epoch, seq, 99, &draft);
        let entry = Entry::unseal(&frame).unwrap();
        assert_eq!((entry.stamp, entry.epoch, entry.seq, entry.time_ms), (1, epoch, seq, 99));
        let EntryContent::Event(back) = entry.content else { panic!("an event") };
        assert_eq!((back.topics, back.kind, back.data), (draft.topics, draft.kind, draft.data));
        assert_eq!((back.key, back.id, back.once), (draft.key, draft.id, draft.once));
        assert_eq!((back.ttl_ms, back.expect), (Some(7), None));
    }

    #[test]
    fn what_is_lacking_comes_back() {
        let (seq, epoch) = (Seq::new(5).unwrap(), Epoch::new(36));
        for lacking in [Lacking::All, Lacking::Topics(vec!["a".parse().unwrap(), "b".parse().unwrap()])] {
            let entry = Entry::unseal(&Entry::seal_lacking(1, epoch, seq, 99, &lacking)).unwrap();
            let EntryContent::Lacking(back) = entry.content else { panic!("lacking") };
            assert_eq!((entry.seq, back), (seq, lacking));
        }
    }

    #[test]
    fn the_other_records_come_back() {
        let numbers = [10, 2000].map(|number| Seq::new(number).unwrap());
        let meta = Meta {
            generation: 3,
            epoch: Epoch::new(7),
            floor: numbers[0],
            start: numbers[1],
            floors_from: Seq::new(4).unwrap(),
            floor_seed: FloorSeed([5, 6]),
        };
        assert_eq!(Meta::unseal(&meta.seal()), Some(meta));
        let body = |seq: Seq| seq.number().to_le_bytes();
        let older = frame::seal(Sort::Meta, |bytes| {
            bytes.extend([1_u64, 3, 7].iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend(numbers.map(body).as_flattened());
        });
        let floor_seed = FloorSeed::default();
        assert_eq!(Meta::unseal(&older), Some(Meta { floors_from: numbers[0], floor_seed, ..meta }));
        assert_eq!(unseal_floor(&seal_floor(16_383, numbers[1])), Some((16_383, numbers[1])));
        let seq = Seq::new(3).unwrap();
        assert_eq!(unseal_last(&seal_last("a", seq, 9)), Some(("a", seq, 9)));
        for own in [Some(seq), None] {
            let cursor = Cursor { epoch: Epoch::new(1), seq };
            let appended = Appended { cursor, seq: own, duplicate: false };
            assert_eq!(unseal_token(&seal_token("t", &appended, 4)), Some(("t", appended, 4)));
        }
    }
}
