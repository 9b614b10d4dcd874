//! The JSON Schemas of `proto/schemas`, ready to judge real texts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use jsonschema::{Registry, Validator};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

/// The order of a batch's members (B2 of PROTOCOL.md).
pub(crate) const BATCH_ORDER: [&str; 12] = [
    "after", "cursor", "hello", "user", "live", "more", "refused", "reset", "bye", "expiring", "state",
    "events",
];

/// The order of an event's members (V1).
pub(crate) const EVENT_ORDER: [&str; 8] = ["seq", "topic", "topics", "type", "key", "id", "time", "data"];

/// Every schema by the name of its file, without `.json`.
pub(crate) struct SchemaSet {
    validators: BTreeMap<String, Validator>,
    /// The schemas as they were read.
    pub(crate) sources: BTreeMap<String, Value>,
}

impl SchemaSet {
    /// Reads and compiles them all.
    pub(crate) fn load() -> Self {
        let sources: BTreeMap<String, Value> = files(&repository().join("proto/schemas"))
            .into_iter()
            .map(|path| (stem(&path), parse(&read(&path))))
            .collect();
        let base = "https://throughline.invalid/schemas/";
        let mut registry = Registry::new();
        for (name, schema) in &sources {
            registry =
                registry.add(format!("{base}{name}.json"), schema.clone()).expect("a schema has a place");
        }
        let registry = registry.prepare().expect("every reference leads somewhere");
        let compile = |name: &String| {
            jsonschema::options()
                .offline()
                .should_validate_formats(true)
                .with_registry(&registry)
                .build(&json!({ "$ref": format!("{base}{name}.json") }))
                .unwrap_or_else(|error| panic!("{name}.json: {error}"))
        };
        let validators = sources.keys().map(|name| (name.clone(), compile(name))).collect();
        Self { validators, sources }
    }

    /// What is wrong with `value` by the schema `name`; `None`: nothing.
    pub(crate) fn fault(&self, name: &str, value: &Value) -> Option<String> {
        let validator = self.validators.get(name).unwrap_or_else(|| panic!("there is no schema {name}"));
        let faults: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        (!faults.is_empty()).then(|| format!("not a {name}: {}\n{value}", faults.join("; ")))
    }

    /// Parses `text` and panics unless it fits the schema `name`. Batches and events are also checked for the order
    /// of their members and for white space.
    #[track_caller]
    pub(crate) fn check(&self, name: &str, text: &str) -> Value {
        let value = parse(text);
        if let Some(fault) = self.fault(name, &value) {
            panic!("{fault}");
        }
        if name == "batch" {
            check_batch_text(text);
        }
        value
    }
}

#[track_caller]
fn check_batch_text(text: &str) {
    let Members(members) = serde_json::from_str(text).expect("a batch is an object");
    assert!(in_order(members.iter().map(|(name, _)| name.as_str()), &BATCH_ORDER), "B2: {text}");
    let events =
        members.iter().find(|(name, _)| name == "events").map_or("[]", |(_, events)| events.as_str());
    let events: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_str(events).expect("events are an array");
    for event in events {
        let Members(members) = serde_json::from_str(event.get()).expect("an event is an object");
        assert!(in_order(members.iter().map(|(name, _)| name.as_str()), &EVENT_ORDER), "V1: {text}");
    }
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            '"' if !escaped => in_string = !in_string,
            c if c.is_ascii_whitespace() => assert!(in_string, "B1: white space in {text}"),
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
    }
}

/// Whether `names` is a part of `order`, in that order.
fn in_order<'a>(names: impl Iterator<Item = &'a str>, order: &[&str]) -> bool {
    let mut rest = order.iter();
    names.into_iter().all(|name| rest.any(|next| *next == name))
}

/// The members of an object as they stand in its text.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let raw: Box<serde_json::value::RawValue> = map.next_value()?;
                    members.push((name, raw.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The JSON files in `folder` and below, in the order of their names.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no JSON in {}", folder.display());
    found
}

/// The name of a file without its ending.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON value, or a panic that shows the text.
#[track_caller]
pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
