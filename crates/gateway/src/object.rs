//! JSON that must be an object: the one place that reads it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that is written as a JSON object. By itself serde also reads a struct from an array, whose
/// elements it takes for the members in their order.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

/// Reads the members of an object.
///
/// # Errors
/// When the text is no JSON object, or a member is missing or wrong.
pub(crate) fn from_str<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
    serde_json::from_str(json).map(|Object(members)| members)
}

/// Reads the members of an object from bytes that need not be text.
///
/// # Errors
/// When the bytes are no JSON object, or a member is missing or wrong.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    // A parser of text need not check each string by itself; one of bytes says where the text is none.
    let parsed = str::from_utf8(json).map_or_else(|_| serde_json::from_slice(json), serde_json::from_str);
    parsed.map(|Object(members)| members)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer<'a> {
        #[serde(borrow)]
        raw: &'a RawValue,
        inner: Option<Object<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        status: String,
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        let text = r#" {"raw": {"a": [1, 2]}, "inner": {"status": "online"}} "#;
        let outer: Outer<'_> = from_str(text).unwrap();
        assert_eq!((outer.raw.get(), &*outer.inner.unwrap().0.status), (r#"{"a": [1, 2]}"#, "online"));
        for wrong in [
            r#"[1, {"status": "online"}]"#,
            r#"{"raw": 1, "inner": ["online"]}"#,
            r#"{"raw": 1, "other": 2}"#,
            r#"{"raw": 1} 2"#,
            "null",
            "",
        ] {
            assert!(from_str::<Outer<'_>>(wrong).is_err(), "{wrong}");
            assert!(from_slice::<Outer<'_>>(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(from_slice::<Outer<'_>>(b"{\"raw\": 1, \"inner\": {\"status\": \"\xff\"}}").is_err());
    }
}
