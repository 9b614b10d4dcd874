//! JSON that must be an object.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that is written as a JSON object. By itself serde also reads a struct from an array, whose
/// elements it takes for the members in their order.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

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
        let Object(outer) = serde_json::from_str::<Object<Outer<'_>>>(text).unwrap();
        assert_eq!((outer.raw.get(), &*outer.inner.unwrap().0.status), (r#"{"a": [1, 2]}"#, "online"));
        for wrong in [
            r#"[1, {"status": "online"}]"#,
            r#"{"raw": 1, "inner": ["online"]}"#,
            r#"{"raw": 1, "other": 2}"#,
            r#"{"raw": 1} 2"#,
            "null",
            "",
        ] {
            assert!(serde_json::from_str::<Object<Outer<'_>>>(wrong).is_err(), "{wrong}");
            assert!(serde_json::from_slice::<Object<Outer<'_>>>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
