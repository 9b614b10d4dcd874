//! The rule of a source, which maps a message to drafts. Parses text into data; `apply` uses the
//! data.
//!
//! `PATTERN => RULE`. PATTERN selects the channels of the rule, in the syntax of the source. RULE
//! is one of:
//!
//! ```text
//! draft                          the payload is a draft, or an array of at most 100 drafts
//! cloudevents [topics=…] [key=…] the payload is a CloudEvent 1.0 in structured mode
//! topics=user:{/userId},job:{/jobId} type=sync:progress [key={/jobId}] [data={/pointer}]
//!     [id={/eventId}] [ttl=60] [ephemeral] [text]
//! ```
//!
//! `{/a/b}` is a JSON pointer (RFC 6901) into the payload, `{channel}` is the channel, `{1}` is the
//! part that the first `*` of the pattern matched, and `{{` is a brace.

use std::str::FromStr;

use crate::json_pointer::{JsonPointer, JsonPointerError};

/// A rule together with its channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    /// The channels, in the syntax of the source: a glob, a name or a key.
    pub pattern: Box<str>,
    /// How a payload becomes a draft.
    pub shape: Shape,
}

/// How a payload becomes a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The payload is a draft, or an array of drafts.
    Draft,
    /// The payload is a CloudEvent in structured mode. `topics` and `key` come from the rule.
    /// Without `topics`, the event's own `topic` or `subject` is the topic.
    CloudEvent {
        /// Templates of the topics; empty: the event gives the topic.
        topics: Vec<Template>,
        /// Template of the key.
        key: Option<Template>,
    },
    /// The draft is made from members of the payload.
    Members(Members),
}

/// How a draft is made from members of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// One or more topics. A topic with a missing part is omitted.
    pub topics: Vec<Template>,
    /// The type. If a part is missing, the message is rejected.
    pub kind: Template,
    /// The key. If a part is missing, the draft has no key.
    pub key: Option<Template>,
    /// The id. If a part is missing, the draft has no id.
    pub id: Option<Template>,
    /// The part of the payload that becomes the data; `None`: the whole payload.
    pub data: Option<JsonPointer>,
    /// Time to live, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Whether the event is ephemeral.
    pub is_ephemeral: bool,
    /// Whether the payload is plain text. Its JSON string becomes the data.
    pub is_text: bool,
}

/// Text with parts that each message fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Literal text.
    Text(Box<str>),
    /// A string, an integer or a boolean of the payload.
    Pointer(JsonPointer),
    /// The channel.
    Channel,
    /// The part of the channel that the first `*` of the pattern matched.
    First,
}

/// Why a text is not a rule, for the author of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceRuleError(String);

fn wrong<T>(text: impl Into<String>) -> Result<T, SourceRuleError> {
    Err(SourceRuleError(text.into()))
}

/// The pointer in a pair of braces.
fn pointer(text: &str) -> Result<JsonPointer, SourceRuleError> {
    text.parse().map_err(|error| match error {
        JsonPointerError::NoSlash => {
            SourceRuleError(format!("{{{text}}}: expected {{/pointer}}, {{channel}} or {{1}}"))
        }
        JsonPointerError::Escape => SourceRuleError(format!("{{{text}}}: {error}")),
    })
}

/// Separator of the pattern and the rule.
const ARROW: &str = "=>";
/// Ten years, the longest time to live of a draft.
const TTL_SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;

impl SourceRule {
    /// The most rules of one source.
    pub const RULES_MAX: usize = 256;
}

impl FromStr for SourceRule {
    type Err = SourceRuleError;

    fn from_str(text: &str) -> Result<Self, SourceRuleError> {
        let (pattern, rule) = text.split_once(ARROW).ok_or_else(|| {
            SourceRuleError("expected 'PATTERN => RULE', such as 'job:* => draft'".to_owned())
        })?;
        let pattern = pattern.trim();
        if pattern.is_empty() {
            return wrong("nothing stands before the =>: name a channel or a pattern");
        }
        let shape: Shape = rule.parse()?;
        if !pattern.contains('*') && shape.uses_first() {
            return wrong("{1} is what the first * of the pattern matched, and the pattern has none");
        }
        Ok(Self { pattern: pattern.into(), shape })
    }
}

impl FromStr for Shape {
    type Err = SourceRuleError;

    fn from_str(rule: &str) -> Result<Self, SourceRuleError> {
        let mut words = Words::default();
        for word in rule.split_ascii_whitespace() {
            words.take(word)?;
        }
        words.shape()
    }
}

impl Shape {
    fn uses_first(&self) -> bool {
        let (topics, others): (&[Template], [Option<&Template>; 3]) = match self {
            Self::Draft => return false,
            Self::CloudEvent { topics, key } => (topics, [key.as_ref(), None, None]),
            Self::Members(made) => (&made.topics, [Some(&made.kind), made.key.as_ref(), made.id.as_ref()]),
        };
        topics.iter().chain(others.into_iter().flatten()).any(|text| text.0.contains(&TemplatePart::First))
    }
}

/// The words of a rule, each at most once.
#[derive(Default)]
struct Words {
    is_draft: bool,
    is_cloud_event: bool,
    topics: Option<Vec<Template>>,
    kind: Option<Template>,
    key: Option<Template>,
    id: Option<Template>,
    data: Option<JsonPointer>,
    ttl_ms: Option<u64>,
    is_ephemeral: bool,
    is_text: bool,
}

impl Words {
    fn take(&mut self, word: &str) -> Result<(), SourceRuleError> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let is_new = match (name, value) {
            ("draft", None) => !std::mem::replace(&mut self.is_draft, true),
            ("cloudevents", None) => !std::mem::replace(&mut self.is_cloud_event, true),
            ("ephemeral", None) => !std::mem::replace(&mut self.is_ephemeral, true),
            ("text", None) => !std::mem::replace(&mut self.is_text, true),
            ("topics", Some(value)) => self.topics.replace(templates(value)?).is_none(),
            ("type", Some(value)) => self.kind.replace(value.parse()?).is_none(),
            ("key", Some(value)) => self.key.replace(value.parse()?).is_none(),
            ("id", Some(value)) => self.id.replace(value.parse()?).is_none(),
            ("data", Some(value)) => self.data.replace(data(value)?).is_none(),
            ("ttl", Some(value)) => self.ttl_ms.replace(ttl_ms(value)?).is_none(),
            _ => {
                return wrong(format!(
                    "{word:?} is no word of a rule: expected draft, cloudevents, topics=, type=, key=, \
                     data=, id=, ttl=, ephemeral or text"
                ));
            }
        };
        if is_new { Ok(()) } else { wrong(format!("{name} stands twice")) }
    }

    fn shape(self) -> Result<Shape, SourceRuleError> {
        let has_only_topics_and_key = self.kind.is_none()
            && self.id.is_none()
            && self.data.is_none()
            && self.ttl_ms.is_none()
            && !self.is_ephemeral
            && !self.is_text;
        if self.is_draft {
            let is_alone = has_only_topics_and_key
                && !self.is_cloud_event
                && self.topics.is_none()
                && self.key.is_none();
            return if is_alone {
                Ok(Shape::Draft)
            } else {
                wrong("draft stands alone: the payload says the rest")
            };
        }
        if self.is_cloud_event {
            if !has_only_topics_and_key {
                return wrong("beside cloudevents only topics= and key= may stand: the event says the rest");
            }
            return Ok(Shape::CloudEvent { topics: self.topics.unwrap_or_default(), key: self.key });
        }
        let Some(topics) = self.topics else { return wrong("the rule lacks topics=, or draft") };
        let Some(kind) = self.kind else { return wrong("the rule lacks type=") };
        let made = Members {
            topics,
            kind,
            key: self.key,
            id: self.id,
            data: self.data,
            ttl_ms: self.ttl_ms,
            is_ephemeral: self.is_ephemeral,
            is_text: self.is_text,
        };
        if made.is_text && made.has_pointers() {
            return wrong("text says that the payload is no JSON: remove {/…} or text");
        }
        Ok(Shape::Members(made))
    }
}

impl Members {
    fn has_pointers(&self) -> bool {
        let templates = self.topics.iter().chain([&self.kind]).chain(&self.key).chain(&self.id);
        let is_pointer = |part: &TemplatePart| matches!(part, TemplatePart::Pointer(_));
        self.data.is_some() || templates.flat_map(|template| &template.0).any(is_pointer)
    }
}

/// The templates of a comma-separated list. A comma inside braces does not separate.
fn templates(list: &str) -> Result<Vec<Template>, SourceRuleError> {
    let mut is_inside = false;
    let parts = list.split(|character| {
        match character {
            '{' => is_inside = true,
            '}' => is_inside = false,
            _ => {}
        }
        character == ',' && !is_inside
    });
    parts.map(str::parse).collect()
}

fn data(text: &str) -> Result<JsonPointer, SourceRuleError> {
    match text.parse::<Template>()?.0.as_slice() {
        [TemplatePart::Pointer(pointer)] => Ok(pointer.clone()),
        _ => wrong("data= takes one pointer, such as data={/payload}"),
    }
}

fn ttl_ms(text: &str) -> Result<u64, SourceRuleError> {
    let seconds = text.parse::<u64>().ok().filter(|seconds| (1..=TTL_SECONDS_MAX).contains(seconds));
    match seconds {
        Some(seconds) => Ok(seconds * 1000),
        None => wrong(format!("ttl= takes whole seconds from 1 to {TTL_SECONDS_MAX}")),
    }
}

impl FromStr for Template {
    type Err = SourceRuleError;

    fn from_str(text: &str) -> Result<Self, SourceRuleError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            literal += before;
            if let Some(behind) = behind.strip_prefix('{') {
                literal.push('{');
                rest = behind;
                continue;
            }
            let Some((name, behind)) = behind.split_once('}') else {
                return wrong(format!("a {{ has no }} in {text:?}; {{{{ is a brace"));
            };
            if !literal.is_empty() {
                parts.push(TemplatePart::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(match name {
                "channel" => TemplatePart::Channel,
                "1" => TemplatePart::First,
                text => TemplatePart::Pointer(pointer(text)?),
            });
            rest = behind;
        }
        literal += rest;
        if !literal.is_empty() {
            parts.push(TemplatePart::Text(literal.into()));
        }
        if parts.is_empty() {
            return wrong("a word of the rule ends with its =: say what stands behind it");
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_all_that_it_is_made_of() {
        let text = "job:* => topics=user:{/userId},job:{1} type=sync:{/a~1b/0} key={channel} id={/e} \
                    data={/d} ttl=60 ephemeral";
        let rule: SourceRule = text.parse().unwrap();
        assert_eq!(&*rule.pattern, "job:*");
        let Shape::Members(made) = rule.shape else { panic!("members") };
        let pointer = |tokens: &[&str]| JsonPointer(tokens.iter().map(|token| (*token).into()).collect());
        let text = |text: &str| TemplatePart::Text(text.into());
        assert_eq!(
            made.topics,
            [
                Template(vec![text("user:"), TemplatePart::Pointer(pointer(&["userId"]))]),
                Template(vec![text("job:"), TemplatePart::First])
            ]
        );
        assert_eq!(made.kind, Template(vec![text("sync:"), TemplatePart::Pointer(pointer(&["a/b", "0"]))]));
        assert_eq!(made.key, Some(Template(vec![TemplatePart::Channel])));
        assert_eq!((made.data, made.ttl_ms), (Some(pointer(&["d"])), Some(60_000)));
        assert!(made.is_ephemeral && !made.is_text);
    }

    #[test]
    fn braces_and_the_other_shapes() {
        assert_eq!("a => draft".parse::<SourceRule>().unwrap().shape, Shape::Draft);
        let cloud = "a => cloudevents topics={/subject}".parse::<SourceRule>().unwrap().shape;
        assert!(matches!(cloud, Shape::CloudEvent { topics, key: None } if topics.len() == 1));
        let brace: Template = "a{{b}".parse().unwrap();
        assert_eq!(brace, Template(vec![TemplatePart::Text("a{b}".into())]));
        let whole: Template = "{}".parse().unwrap();
        assert_eq!(whole, Template(vec![TemplatePart::Pointer(JsonPointer(Box::default()))]));
        assert_eq!(templates("{/a,b},c").unwrap().len(), 2, "a comma of a pointer separates nothing");
    }

    #[test]
    fn a_wrong_rule_says_what_is_wrong_in_one_line() {
        for (text, expected) in [
            ("job:*", "PATTERN => RULE"),
            (" => draft", "nothing stands before"),
            ("a =>", "lacks topics="),
            ("a => topics=x", "lacks type="),
            ("a => type=x", "lacks topics="),
            ("a => draft type=x", "draft stands alone"),
            ("a => draft cloudevents", "draft stands alone"),
            ("a => cloudevents type=x", "only topics= and key="),
            ("a => topics=x type=t type=u", "type stands twice"),
            ("a => draft draft", "draft stands twice"),
            ("a => topics= type=t", "ends with its ="),
            ("a => topics=x, type=t", "ends with its ="),
            ("a => topics={x} type=t", "expected {/pointer}"),
            ("a => topics={/x type=t", "has no }"),
            ("a => topics={/~2} type=t", "~0"),
            ("a => topics=job:{1} type=t", "the pattern has none"),
            ("a => topics=x type=t ttl=0", "ttl="),
            ("a => topics=x type=t ttl=1.5", "ttl="),
            ("a => topics=x type=t data=y", "one pointer"),
            ("a => topics=x type=t data={/a}{/b}", "one pointer"),
            ("a => topics=x type={/t} text", "no JSON"),
            ("a => topics=x type=t colour=red", "no word of a rule"),
        ] {
            let error = text.parse::<SourceRule>().expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
