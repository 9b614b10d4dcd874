//! JSON pointers (RFC 6901) into raw JSON: only the members on the way are looked at, and the part that
//! is found keeps its bytes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A path into a JSON value, unescaped. Empty: the whole value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPointer(pub Box<[Box<str>]>);

/// Why a text is no JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPointerError {
    /// It is not empty and does not begin with a slash.
    #[error("a JSON pointer begins with /")]
    NoSlash,
    /// A tilde stands for nothing.
    #[error("~ stands for itself as ~0, / as ~1 (RFC 6901)")]
    Escape,
}

impl JsonPointer {
    /// What the pointer leads to in `json`; `None`: nothing.
    #[must_use]
    pub fn find<'a>(&self, json: &'a RawValue) -> Option<&'a RawValue> {
        self.0.iter().try_fold(json, |json, token| step(json, token))
    }
}

impl FromStr for JsonPointer {
    type Err = JsonPointerError;

    fn from_str(text: &str) -> Result<Self, JsonPointerError> {
        if text.is_empty() {
            return Ok(Self(Box::default()));
        }
        let path = text.strip_prefix('/').ok_or(JsonPointerError::NoSlash)?;
        let is_escaped = |token: &str| {
            token.split('~').skip(1).all(|behind| behind.starts_with('0') || behind.starts_with('1'))
        };
        if !path.split('/').all(is_escaped) {
            return Err(JsonPointerError::Escape);
        }
        Ok(Self(path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~").into()).collect()))
    }
}

/// One step of a pointer: a member of an object, the last of its name as in JavaScript, or an
/// element of an array.
fn step<'a>(json: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    let mut from = serde_json::Deserializer::from_str(json.get());
    match json.get().as_bytes().first()? {
        b'{' => from.deserialize_map(MemberNamed(token)).ok()?,
        b'[' => {
            let is_index = token == "0" || token.starts_with(|first: char| ('1'..='9').contains(&first));
            let index = token.parse().ok().filter(|_| is_index)?;
            from.deserialize_seq(ElementAt(index)).ok()?
        }
        _ => None,
    }
}

struct MemberNamed<'t>(&'t str);

impl<'de> Visitor<'de> for MemberNamed<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        // Raw, because a name may be text that a parser of strings refuses.
        while let Some(name) = map.next_key::<&RawValue>()? {
            if serde_json::from_str::<Cow<'_, str>>(name.get()).is_ok_and(|name| name == self.0) {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct ElementAt(usize);

impl<'de> Visitor<'de> for ElementAt {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut at = 0;
        while let Some(element) = seq.next_element::<&RawValue>()? {
            if at == self.0 {
                found = Some(element);
            }
            at += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_its_bytes() {
        let json: Box<RawValue> =
            serde_json::from_str(r#"{"a":{"b/c":[1, 1.50,{"d":"\ud83d"}]}, "e":null}"#).unwrap();
        let at = |pointer: &str| pointer.parse::<JsonPointer>().unwrap().find(&json).map(RawValue::get);
        assert_eq!(at("/a/b~1c/1"), Some("1.50"));
        assert_eq!(at("/a/b~1c/2/d"), Some(r#""\ud83d""#));
        assert_eq!(at("/e"), Some("null"));
        assert_eq!(at(""), Some(json.get()));
        for missing in ["/x", "/a/b~1c/9", "/a/b~1c/x", "/a/b~1c/01", "/e/f", "/a/b~1c/0/0"] {
            assert_eq!(at(missing), None, "{missing}");
        }
        assert_eq!("a".parse::<JsonPointer>(), Err(JsonPointerError::NoSlash));
        assert_eq!("/a~2".parse::<JsonPointer>(), Err(JsonPointerError::Escape));
    }
}
