//! Applies a rule to a message. The result is drafts, or the reason for the lack of one. Pure.
//!
//! A payload is parsed into raw JSON and never into a tree. Only the members that a pointer names
//! are decoded; all other bytes pass through unchanged. A payload that other parsers refuse, such
//! as one with half a surrogate pair or with a number beyond the range of a float, therefore
//! arrives as it was sent.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use events::{Draft, Topic};
use serde_json::value::{RawValue, to_raw_value};

use super::rule::{Members, Shape, SourceRule, Template, TemplatePart};
use crate::metrics::labels::RejectReason;
use crate::problem::{Code, Problem};
use crate::publish::{CloudEvent, DraftBody};

/// A message that a source received.
#[derive(Clone, Debug)]
pub(crate) struct SourceMessage {
    /// The rule for the channel of the message.
    pub rule: Arc<SourceRule>,
    /// The channel.
    pub channel: Box<str>,
    /// The part of the channel that the first `*` of the pattern matched.
    pub first: Option<Box<str>>,
    /// The payload.
    pub payload: Bytes,
    /// The id that the source itself gives the message, for deduplication; `None`: the source gives
    /// none. An id from the rule or from the payload takes precedence.
    pub id: Option<Box<str>>,
}

/// The most drafts in one payload.
const DRAFTS_MAX: usize = 100;

/// Validates the body of a draft.
type Check<'a> = dyn FnMut(DraftBody<'_>) -> Result<Draft, Problem> + 'a;

impl SourceMessage {
    /// The bytes that the message takes in a queue.
    pub(super) fn cost_bytes(&self) -> usize {
        const MESSAGE_COST: usize = 128;
        self.payload.len() + self.channel.len() + MESSAGE_COST
    }

    /// Applies the rule. Gives, for each draft of the payload, the draft or the reason for its
    /// rejection.
    pub(crate) fn drafts(&self, check: &mut Check<'_>) -> Vec<Result<Draft, RejectReason>> {
        let Ok(text) = str::from_utf8(&self.payload) else { return vec![Err(RejectReason::NotUtf8)] };
        if let Shape::Members(made) = &self.rule.shape
            && made.is_text
        {
            let Ok(data) = to_raw_value(text) else { return vec![Err(RejectReason::BadDraft)] };
            return vec![self.made(made, &data, &data, check)];
        }
        let Ok(json) = serde_json::from_str::<&RawValue>(text) else {
            return vec![Err(RejectReason::NotJson)];
        };
        match &self.rule.shape {
            Shape::Draft => self.listed(json, check),
            Shape::CloudEvent { topics, key } => vec![self.cloud_event(json, topics, key.as_ref(), check)],
            Shape::Members(made) => {
                let data = made.data.as_ref().map_or(Some(json), |pointer| pointer.find(json));
                vec![match data {
                    Some(data) => self.made(made, json, data, check),
                    None => Err(RejectReason::BadDraft),
                }]
            }
        }
    }

    /// A draft or an array of drafts.
    fn listed(&self, json: &RawValue, check: &mut Check<'_>) -> Vec<Result<Draft, RejectReason>> {
        let mut single = |draft: &RawValue, at: Option<usize>| {
            let mut body = DraftBody::parse(draft.get().as_bytes()).map_err(reason)?;
            if body.id.is_none() {
                body.once = self.id.as_ref().map(|id| match at {
                    Some(at) => format!("{id}:{at}"),
                    None => id.to_string(),
                });
            }
            check(body).map_err(reason)
        };
        if !json.get().starts_with('[') {
            return vec![single(json, None)];
        }
        match serde_json::from_str::<Vec<&RawValue>>(json.get()) {
            Ok(drafts) if drafts.len() > DRAFTS_MAX => vec![Err(RejectReason::TooLarge)],
            Ok(drafts) => drafts.iter().enumerate().map(|(at, draft)| single(draft, Some(at))).collect(),
            Err(_) => vec![Err(RejectReason::NotJson)],
        }
    }

    fn made(
        &self,
        made: &Members,
        json: &RawValue,
        data: &RawValue,
        check: &mut Check<'_>,
    ) -> Result<Draft, RejectReason> {
        let topics = self.topics(&made.topics, json)?;
        let kind = self.fill(&made.kind, json).ok_or(RejectReason::BadDraft)?;
        let mut body = DraftBody::made(topics, Cow::Owned(kind), data);
        body.key = made.key.as_ref().and_then(|key| self.fill(key, json));
        body.id = made.id.as_ref().and_then(|id| self.fill(id, json));
        body.ttl_ms = made.ttl_ms;
        body.ephemeral = made.is_ephemeral;
        if body.id.is_none() {
            body.once = self.id.as_ref().map(ToString::to_string);
        }
        check(body).map_err(reason)
    }

    fn cloud_event(
        &self,
        json: &RawValue,
        topics: &[Template],
        key: Option<&Template>,
        check: &mut Check<'_>,
    ) -> Result<Draft, RejectReason> {
        let event = CloudEvent::parse(json.get().as_bytes()).map_err(reason)?;
        let topics = if topics.is_empty() { None } else { Some(self.topics(topics, json)?) };
        let mut body = event.into_draft(topics).map_err(reason)?;
        if let Some(key) = key {
            body.key = self.fill(key, json);
        }
        check(body).map_err(reason)
    }

    /// The topics of the templates. A template with a missing part is skipped.
    fn topics(&self, templates: &[Template], json: &RawValue) -> Result<Vec<Topic>, RejectReason> {
        let filled = templates.iter().filter_map(|template| self.fill(template, json));
        let topics = filled.map(|topic| topic.parse().map_err(|_| RejectReason::BadDraft));
        let topics: Vec<Topic> = topics.collect::<Result<_, _>>()?;
        if topics.is_empty() { Err(RejectReason::NoTopic) } else { Ok(topics) }
    }

    /// Fills in the parts of a template; `None`: a part is missing or empty.
    fn fill(&self, template: &Template, json: &RawValue) -> Option<String> {
        let mut text = String::new();
        for part in &template.0 {
            let part: Cow<'_, str> = match part {
                TemplatePart::Text(part) => Cow::Borrowed(part),
                TemplatePart::Channel => Cow::Borrowed(&self.channel),
                TemplatePart::First => Cow::Borrowed(self.first.as_deref()?),
                TemplatePart::Pointer(pointer) => Cow::Owned(word(pointer.find(json)?)?),
            };
            if part.is_empty() {
                return None;
            }
            text += &part;
        }
        Some(text)
    }
}

fn reason(problem: Problem) -> RejectReason {
    if problem.code == Code::TooLarge { RejectReason::TooLarge } else { RejectReason::BadDraft }
}

/// The text of a JSON string, an integer or a boolean, as used in a topic or a key. Other JSON
/// values have no such text.
fn word(json: &RawValue) -> Option<String> {
    let text = json.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b't' | b'f' => Some(text.to_owned()),
        b'-' | b'0'..=b'9' => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
