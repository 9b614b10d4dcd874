//! A part of a JSON text, found without reading the rest (RFC 6901).

use std::collections::HashMap;

use serde_json::value::RawValue;

/// A JSON pointer: the way to a part, step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<Box<str>>);

impl Pointer {
    /// Reads a pointer: empty, or a slash before each step.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let steps = text.strip_prefix('/')?.split('/');
        Some(Self(steps.map(|step| step.replace("~1", "/").replace("~0", "~").into()).collect()))
    }

    /// The part of `value`, in its own bytes; `None`: it has no such part.
    pub(super) fn find<'a>(&self, value: &'a RawValue) -> Option<&'a RawValue> {
        self.0.iter().try_fold(value, |value, step| {
            if value.get().starts_with('[') {
                let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                return list.get(step.parse::<usize>().ok()?).copied();
            }
            let members: HashMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
            members.get(&**step).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_its_bytes() {
        let json: Box<RawValue> =
            serde_json::from_str(r#"{"a":{"b/c":[1, 1.50,{"d":"\ud83d"}]}, "e":null}"#).unwrap();
        let at = |pointer: &str| Pointer::parse(pointer).unwrap().find(&json).map(RawValue::get);
        assert_eq!(at("/a/b~1c/1"), Some("1.50"));
        assert_eq!(at("/a/b~1c/2/d"), Some(r#""\ud83d""#));
        assert_eq!(at("/e"), Some("null"));
        assert_eq!(at(""), Some(json.get()));
        for missing in ["/x", "/a/b~1c/9", "/a/b~1c/x", "/e/f", "/a/b~1c/0/0"] {
            assert_eq!(at(missing), None, "{missing}");
        }
        assert_eq!(Pointer::parse("a"), None);
    }
}
