//! Members of an event's data that only some clients may see.
//!
//! A rule names topics, a member (a JSON pointer, RFC 6901), and the scope that a grant needs to see it.
//! The rest of an event is encoded once for each set of rules, when the first reader without the
//! scopes reads it, and then shared.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use events::{Data, Event, Lens, Topic};
use moka::sync::Cache;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::auth::{Grant, TopicPattern};

/// One rule: `TOPICS=/json/pointer[,SCOPE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    topics: TopicPattern,
    /// The reference tokens of the pointer, at least one.
    path: Vec<String>,
    /// The scope that shows the member; `None`: no client sees it.
    scope: Option<String>,
}

/// The text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected TOPICS=/json/pointer or TOPICS=/json/pointer,SCOPE")]
pub struct RuleError;

impl Rule {
    /// The most rules of a gateway.
    pub const MAX: usize = Mask::BITS as usize;

    fn is_lacked_by(&self, grant: &Grant) -> bool {
        self.scope.as_ref().is_none_or(|scope| !grant.lists.scopes.contains(scope))
    }

    fn told(&self) -> String {
        let pointer: String = self
            .path
            .iter()
            .map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1")))
            .collect();
        self.scope.as_ref().map_or_else(|| pointer.clone(), |scope| format!("{pointer} (scope {scope})"))
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (topics, rest) = text.split_once('=').ok_or(RuleError)?;
        let (pointer, scope) = match rest.rsplit_once(',') {
            Some((pointer, scope)) => (pointer, Some(scope)),
            None => (rest, None),
        };
        let tokens = pointer.strip_prefix('/').ok_or(RuleError)?.split('/');
        let is_word = |scope: &str| !scope.is_empty() && !scope.contains(char::is_whitespace);
        if !scope.is_none_or(is_word) {
            return Err(RuleError);
        }
        Ok(Self {
            topics: topics.parse().map_err(|_| RuleError)?,
            path: tokens.map(unescaped).collect::<Option<_>>().ok_or(RuleError)?,
            scope: scope.map(str::to_owned),
        })
    }
}

/// A reference token without its escapes (RFC 6901 section 4).
fn unescaped(token: &str) -> Option<String> {
    let mut text = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '~' => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

/// A set of rules, a bit for each.
type Mask = u64;

/// All rules, and the events that have been encoded by them.
pub(crate) struct Redaction {
    rules: Vec<Rule>,
    /// By the address of the event in memory and the rules that apply. The event is kept with it, so that
    /// no other event can have the address.
    seen: Cache<(usize, Mask), Seen>,
}

#[derive(Clone)]
struct Seen {
    _whole: Event,
    part: Event,
}

impl Redaction {
    /// Bytes of encoded events that are kept.
    const SEEN_BYTES: u64 = 16 << 20;

    /// Up to [`Rule::MAX`] rules.
    #[must_use]
    pub(crate) fn new(rules: &[Rule]) -> Arc<Self> {
        let cost =
            |_: &(usize, Mask), seen: &Seen| u32::try_from(seen.part.json().len() + 200).unwrap_or(u32::MAX);
        Arc::new(Self {
            rules: rules.to_vec(),
            seen: Cache::builder()
                .max_capacity(Self::SEEN_BYTES)
                .weigher(cost)
                .time_to_idle(Duration::from_secs(60))
                .build(),
        })
    }

    /// Whether these are its rules.
    #[must_use]
    pub(crate) fn is_of(&self, rules: &[Rule]) -> bool {
        self.rules == rules
    }

    /// The view of the bearer of a grant on events; `None`: events in full.
    #[must_use]
    pub(crate) fn lens(self: &Arc<Self>, grant: &Grant) -> Option<Arc<View>> {
        let lacks = self.mask(|rule| rule.is_lacked_by(grant));
        (lacks != 0).then(|| Arc::new(View { redaction: Arc::clone(self), lacks }))
    }

    /// The members that are hidden from the bearer of a grant in a topic's events, and the missing scopes.
    #[must_use]
    pub(crate) fn hidden(&self, grant: &Grant, topic: &Topic) -> Vec<String> {
        let rules = self.rules.iter().filter(|rule| rule.topics.matches(topic) && rule.is_lacked_by(grant));
        rules.map(Rule::told).collect()
    }

    fn mask(&self, holds: impl Fn(&Rule) -> bool) -> Mask {
        self.rules.iter().enumerate().filter(|(_, rule)| holds(rule)).map(|(at, _)| 1 << at).sum()
    }

    fn strip(&self, mask: Mask, data: &[u8]) -> Data {
        let mut data: Box<RawValue> = match serde_json::from_slice(data) {
            Ok(data) => data,
            Err(_) => return Data::null(),
        };
        for (_, rule) in self.rules.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0) {
            match without(&data, &rule.path) {
                Ok(Some(stripped)) => data = stripped,
                Ok(None) => {}
                // Data that cannot be parsed is not shown at all.
                Err(_) => return Data::null(),
            }
        }
        Data::from_raw(&data).unwrap_or_else(|_| Data::null())
    }
}

/// The view of the bearers of equal scopes.
pub(crate) struct View {
    redaction: Arc<Redaction>,
    /// The rules whose scopes are missing.
    lacks: Mask,
}

impl View {
    fn mask(&self, topic: &str) -> Mask {
        let Ok(topic) = topic.parse::<Topic>() else { return self.lacks };
        self.redaction.mask(|rule| rule.topics.matches(&topic)) & self.lacks
    }

    /// The visible part of `data` in this topic.
    #[must_use]
    pub(crate) fn strip(&self, topic: &Topic, data: &[u8]) -> Data {
        self.redaction.strip(self.mask(topic.as_str()), data)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({:b})", self.lacks)
    }
}

impl Lens for View {
    fn see(&self, event: &Event) -> Event {
        let mask = self.mask(event.topic());
        if mask == 0 {
            return event.clone();
        }
        let redaction = &self.redaction;
        let seen = redaction.seen.get_with((event.json().as_ptr().addr(), mask), || {
            let data = redaction.strip(mask, event.data());
            Seen { _whole: event.clone(), part: event.with_data(&data) }
        });
        seen.part
    }
}

/// `data` without the member at `path`; `None`: there is no such member. An element of an array becomes
/// `null`, so that the others keep their places. Numbers and the order of members stay as they are.
fn without(data: &RawValue, path: &[String]) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    let Some((first, rest)) = path.split_first() else { return Ok(None) };
    let mut found = false;
    let text = match serde_json::from_str::<Parts<'_>>(data.get())? {
        Parts::Other => return Ok(None),
        Parts::Object(members) => {
            let mut kept = Vec::with_capacity(members.len());
            // A name may occur twice; neither is shown.
            for (name, value) in members {
                let value = if name != *first {
                    value.get().to_owned()
                } else if rest.is_empty() {
                    found = true;
                    continue;
                } else {
                    inner(value, rest, &mut found)?
                };
                kept.push(format!("{}:{value}", serde_json::to_string(&name)?));
            }
            format!("{{{}}}", kept.join(","))
        }
        Parts::Array(elements) => {
            let mut kept = Vec::with_capacity(elements.len());
            for (at, value) in elements.into_iter().enumerate() {
                kept.push(if at.to_string() != *first {
                    value.get().to_owned()
                } else if rest.is_empty() {
                    found = true;
                    "null".to_owned()
                } else {
                    inner(value, rest, &mut found)?
                });
            }
            format!("[{}]", kept.join(","))
        }
    };
    if found { RawValue::from_string(text).map(Some) } else { Ok(None) }
}

fn inner(value: &RawValue, rest: &[String], found: &mut bool) -> Result<String, serde_json::Error> {
    let stripped = without(value, rest)?;
    *found |= stripped.is_some();
    Ok(stripped.as_deref().unwrap_or(value).get().to_owned())
}

/// A JSON value taken apart by one level.
enum Parts<'a> {
    Object(Vec<(String, &'a RawValue)>),
    Array(Vec<&'a RawValue>),
    Other,
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Parts::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parts<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element()? {
            values.push(value);
        }
        Ok(Parts::Array(values))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }

    fn visit_unit<E>(self) -> Result<Parts<'de>, E> {
        Ok(Parts::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Lists;

    fn strip(rules: &[&str], data: &str) -> String {
        let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let redaction = Redaction::new(&rules);
        let data = redaction.strip(redaction.mask(|_| true), data.as_bytes());
        String::from_utf8(data.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn only_the_member_goes() {
        let data = r#"{"z":1.50,"a":{"b":[1,{"c":"s","d":1e400}],"e":null},"a~/b":2}"#;
        for (rule, left) in [
            ("t=/a/b/1/c", r#"{"z":1.50,"a":{"b":[1,{"d":1e400}],"e":null},"a~/b":2}"#),
            ("t=/a/b/0", r#"{"z":1.50,"a":{"b":[null,{"c":"s","d":1e400}],"e":null},"a~/b":2}"#),
            ("t=/a~0~1b", r#"{"z":1.50,"a":{"b":[1,{"c":"s","d":1e400}],"e":null}}"#),
            ("t=/a,staff", r#"{"z":1.50,"a~/b":2}"#),
            ("t=/nothing", data),
            ("t=/z/deeper", data),
        ] {
            assert_eq!(strip(&[rule], data), left, "{rule}");
        }
        assert_eq!(strip(&["t=/a", "t=/z", "t=/a~0~1b"], data), "{}");
        assert_eq!(
            strip(&["t=/a"], r#"{"a":1,"\u0061":2,"b":{"a":3}}"#),
            r#"{"b":{"a":3}}"#,
            "however it is written"
        );
        assert_eq!(strip(&["t=/a"], r#""text""#), r#""text""#);
    }

    #[test]
    fn rules_are_checked() {
        for text in ["", "t", "t=", "t=a", "t=/a,", "t=/a,b c", "t=/~2", "t x=/a", "=/a"] {
            assert_eq!(text.parse::<Rule>(), Err(RuleError), "{text}");
        }
        let rule: Rule = "room:*=/a/b,staff".parse().unwrap();
        assert_eq!((rule.path, rule.scope), (vec!["a".to_owned(), "b".to_owned()], Some("staff".to_owned())));
    }

    #[test]
    fn who_has_the_scope_looks_through_nothing() {
        let redaction = Redaction::new(&["room:*=/a,staff".parse().unwrap()]);
        let mut grant = Grant::of_developer("alice").unwrap();
        let lens = redaction.lens(&grant).unwrap();
        assert_eq!(lens.strip(&"room:1".parse().unwrap(), br#"{"a":1}"#).as_bytes(), b"{}");
        assert_eq!(lens.strip(&"job:1".parse().unwrap(), br#"{"a":1}"#).as_bytes(), br#"{"a":1}"#);
        grant.lists = Arc::new(Lists { scopes: ["staff".to_owned()].into(), ..Lists::default() });
        assert!(redaction.lens(&grant).is_none());
        assert!(Redaction::new(&[]).lens(&Grant::of_developer("bob").unwrap()).is_none());
    }
}
