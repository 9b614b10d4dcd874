//! A draft as bytes, the same in every store that keeps it outside this process.

use bytes::Bytes;

use crate::{Data, Draft, Key, Topics};

const TTL: u8 = 1;
const KEY: u8 = 2;
const ID: u8 = 4;
const ONCE: u8 = 8;
const EPHEMERAL: u8 = 16;
/// The key is one user's own.
const OWNER: u8 = 32;

/// Appends a draft. What it expects has been decided by then, and is left out.
pub(super) fn put_draft(body: &mut Vec<u8>, draft: &Draft) {
    let owner = draft.key.as_ref().map(Key::owner).filter(|owner| !owner.is_empty());
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    body.push(
        flag(draft.ttl_ms.is_some(), TTL)
            | flag(draft.key.is_some(), KEY)
            | flag(draft.id.is_some(), ID)
            | flag(draft.once.is_some(), ONCE)
            | flag(draft.ephemeral, EPHEMERAL)
            | flag(owner.is_some(), OWNER),
    );
    body.extend(draft.ttl_ms.iter().flat_map(|ttl_ms| ttl_ms.to_le_bytes()));
    let key = draft.key.as_ref().map(|key| key.as_str());
    let id = draft.id.as_ref().map(|id| id.as_str());
    for text in [key, owner, id, draft.once.as_deref()].into_iter().flatten() {
        put(body, text.as_bytes());
    }
    body.push(u8::try_from(draft.topics.as_slice().len()).unwrap_or(u8::MAX));
    draft.topics.iter().for_each(|topic| put(body, topic.as_str().as_bytes()));
    put(body, draft.kind.as_str().as_bytes());
    put(body, draft.data.as_bytes());
}

/// Appends some bytes and their length.
pub(super) fn put(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(bytes);
}

/// What is left to read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.take(4)?.try_into().ok().map(u32::from_le_bytes)?;
        self.take(length as usize)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// A draft; `None` if the bytes are none.
    pub(super) fn draft(&mut self) -> Option<Draft> {
        let flags = self.byte()?;
        let is = |flag: u8| flags & flag != 0;
        let ttl_ms = if is(TTL) { Some(self.number()?) } else { None };
        let mut key: Option<Key> = if is(KEY) { Some(self.text()?.parse().ok()?) } else { None };
        if is(OWNER) {
            let owner = self.text()?;
            key = key.map(|key| key.owned_by(owner));
        }
        let id = if is(ID) { Some(self.text()?.parse().ok()?) } else { None };
        let once = if is(ONCE) { Some(self.text()?.into()) } else { None };
        let topics = (0..self.byte()?)
            .map(|_| self.text().and_then(|text| text.parse().ok()))
            .collect::<Option<Vec<_>>>()?;
        Some(Draft {
            topics: Topics::new(topics).ok()?,
            kind: self.text()?.parse().ok()?,
            data: Data::from_store(Bytes::copy_from_slice(self.bytes()?)),
            key,
            id,
            once,
            ttl_ms,
            ephemeral: is(EPHEMERAL),
            expect: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_key_is_comes_along() {
        let draft = |key: Option<Key>| Draft {
            topics: Topics::one("a".parse().unwrap()),
            kind: "t".parse().unwrap(),
            data: Data::from_value(&1).unwrap(),
            key,
            id: Some("id".parse().unwrap()),
            once: None,
            ttl_ms: None,
            ephemeral: true,
            expect: None,
        };
        let key: Key = "k".parse().unwrap();
        for key in [None, Some(key.clone()), Some(key.owned_by("alice"))] {
            let mut bytes = Vec::new();
            put_draft(&mut bytes, &draft(key.clone()));
            let read = Fields(&bytes).draft().unwrap();
            assert_eq!((read.key, read.id), (key, draft(None).id));
        }
    }
}
