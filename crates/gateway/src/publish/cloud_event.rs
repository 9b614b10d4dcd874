//! CloudEvents 1.0 in the JSON event format, as a draft.
//!
//! `type` is the event's type. Its topics are those of the rule or, without one, the extension
//! attribute `topic`, else `subject`. `id` together with `source` is its identity, which the
//! specification calls unique: a repeat is recognised by both. `data` goes through byte for byte;
//! `data_base64` becomes a JSON string.

use std::borrow::Cow;

use data_encoding::BASE64;
use events::Topic;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::draft::DraftBody;
use crate::object;
use crate::problem::Problem;

/// An event with the attributes that matter here. Others are let through: that is what extension
/// attributes are for.
#[derive(Debug, Deserialize)]
pub(crate) struct CloudEvent<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    subject: Option<String>,
    topic: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
}

/// The longest `source`, in bytes: it becomes part of an idempotency token.
const SOURCE_BYTES_MAX: usize = 1024;

impl<'a> CloudEvent<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// When it is no JSON object, a required attribute is missing, or the version is not 1.0.
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, Problem> {
        let event: Self = object::from_slice(json)
            .map_err(|error| Problem::bad_request(format!("not a valid CloudEvent: {error}")))?;
        if event.specversion != "1.0" {
            return Err(Problem::bad_request("specversion: only CloudEvents 1.0 are understood"));
        }
        if event.id.is_empty() || event.source.is_empty() {
            return Err(Problem::bad_request("id and source: each has at least one character"));
        }
        if event.source.len() > SOURCE_BYTES_MAX {
            return Err(Problem::bad_request("source: more than 1024 bytes"));
        }
        if event.data.is_some() && event.data_base64.is_some() {
            return Err(Problem::bad_request("data and data_base64: only one of them"));
        }
        if event.data_base64.is_some_and(|data| !is_base64(data)) {
            return Err(Problem::bad_request("data_base64: not a string of Base64"));
        }
        Ok(event)
    }

    /// The draft. `topics`: what a rule says; `None`: the event says.
    ///
    /// # Errors
    /// When no topic is named, or the name is not a topic.
    pub(crate) fn into_draft(self, topics: Option<Vec<Topic>>) -> Result<DraftBody<'a>, Problem> {
        let topics = match topics {
            Some(topics) => topics,
            None => {
                let topic = self.topic.as_ref().or(self.subject.as_ref());
                let topic = topic.ok_or_else(|| {
                    Problem::bad_request("a CloudEvent needs a topic: the attribute topic, or subject")
                })?;
                vec![topic.parse().map_err(|error| Problem::bad_request(format!("topic: {error}")))?]
            }
        };
        let data = self.data.or(self.data_base64).unwrap_or(RawValue::NULL);
        let mut draft = DraftBody::made(topics, self.r#type, data);
        draft.once = Some(format!("{}\n{}", self.source, self.id));
        draft.id = Some(self.id.into_owned());
        Ok(draft)
    }
}

fn is_base64(data: &RawValue) -> bool {
    let text: Result<Cow<'_, str>, _> = serde_json::from_str(data.get());
    text.is_ok_and(|text| BASE64.decode(text.as_bytes()).is_ok())
}
