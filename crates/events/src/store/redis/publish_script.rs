//! The call of `publish.lua`: encodes drafts as its arguments and decodes its answers.

use redis::Value;

use super::backoff::{fingerprint, nonce, random};
use super::connection::Connection;
use super::entry_id::EntryId;
use super::keys::Keys;
use super::loss_notice::Notice;
use super::reply::{Failure, text};
use super::retention::Retention;
use crate::state_map::StateRules;
use crate::store::codec::put_draft;
use crate::{Appended, Checkpoint, Draft, Lease, Rejection, Seq, Topic, Unavailable};

pub(super) type AppendAnswers = Vec<Result<Appended, Rejection>>;

/// A draft on its way into the stream, a checkpoint, or a notice of loss.
pub(super) struct Submission {
    pub(super) bytes: Vec<u8>,
    /// `None`: it is a checkpoint or a notice.
    pub(super) draft: Option<Draft>,
    /// Submissions of one group go into one script call; `None`: the submission may go with any
    /// others.
    pub(super) group: Option<usize>,
    token: String,
    token_ms: u64,
    /// Distinguishes a repeat by this node, after a lost answer, from a repeat by the publisher.
    name: String,
    kind: SubmissionKind,
    /// The state change of the event, if it changes the state of a topic.
    state: Option<StateChange>,
    pub(super) answer: Option<Result<Appended, Rejection>>,
}

/// The change that an event makes to the states of its topics.
struct StateChange {
    topics: Vec<Topic>,
    /// User and key.
    field: String,
    is_tombstone: bool,
    keys_max: usize,
    bytes_max: usize,
    age_ms: u64,
}

impl StateChange {
    fn of(draft: &Draft, rules: &StateRules) -> Option<Self> {
        let key = draft.key.as_ref().filter(|_| !draft.ephemeral && !draft.is_latest_only())?;
        let topics: Vec<Topic> = draft.topics.iter().filter(|topic| rules.include(topic)).cloned().collect();
        (!topics.is_empty()).then(|| Self {
            topics,
            field: format!("{}\0{}", key.owner(), key.as_str()),
            is_tombstone: draft.data.as_bytes() == b"null",
            keys_max: rules.keys_max(),
            bytes_max: rules.bytes_max(),
            age_ms: rules.age_us_max() / 1000,
        })
    }
}

/// What the script does with a submission.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SubmissionKind {
    /// An event. It becomes the last event of its topics.
    Event,
    /// An event that sets a key in the state of a topic.
    StateSet,
    /// An event that removes a key from the state of a topic.
    StateTombstone,
    /// An event of a type where only the latest of each key counts: `expect` does not consider it.
    LatestOnly,
    /// An event that is sent to the connected nodes and not kept.
    Ephemeral,
    /// A notice of loss.
    Lost,
    /// The position of a source, after everything that precedes it.
    Checkpoint,
    /// The lease that the following submissions require.
    Lease,
}

impl SubmissionKind {
    /// Whether it becomes the last event of its topics.
    const fn is_last(self) -> bool {
        matches!(self, Self::Event | Self::StateSet | Self::StateTombstone)
    }

    /// The letter that the script uses for it.
    const fn letter(self) -> &'static str {
        match self {
            Self::Event => "e",
            Self::StateSet => "s",
            Self::StateTombstone => "n",
            Self::LatestOnly => "a",
            Self::Ephemeral => "x",
            Self::Lost => "l",
            Self::Checkpoint => "k",
            Self::Lease => "f",
        }
    }
}

/// The answer to drafts that arrived after another node took their lease.
const NO_LEASE: &str = "another gateway publishes for the source";
/// How long a repeat by the publisher is recognised.
const ONCE_MS: u64 = 300_000;
/// How long a repeat by this node is recognised.
const RETRY_MS: u64 = 30_000;

impl Submission {
    pub(super) fn new(draft: Draft, states: Option<&StateRules>) -> Self {
        let mut bytes = Vec::with_capacity(64 + draft.data.as_bytes().len());
        put_draft(&mut bytes, &draft);
        let kind = match &draft {
            draft if draft.ephemeral => SubmissionKind::Ephemeral,
            draft if draft.is_latest_only() => SubmissionKind::LatestOnly,
            _ => SubmissionKind::Event,
        };
        let state = states.and_then(|rules| StateChange::of(&draft, rules));
        let kind = match &state {
            Some(StateChange { is_tombstone: true, .. }) => SubmissionKind::StateTombstone,
            Some(_) => SubmissionKind::StateSet,
            None => kind,
        };
        let name = format!("{:x}", nonce());
        let (token, token_ms) = match &draft.once {
            Some(token) => (format!("p:{token}"), ONCE_MS),
            None => (format!("n:{name}"), RETRY_MS),
        };
        Self { bytes, draft: Some(draft), group: None, token, token_ms, name, kind, state, answer: None }
    }

    /// A checkpoint. Its name is the source. It has no token, because storing it twice changes
    /// nothing.
    pub(super) fn checkpoint(checkpoint: &Checkpoint) -> Self {
        Self {
            bytes: checkpoint.position().to_vec(),
            draft: None,
            group: None,
            token: "-".to_owned(),
            token_ms: 0,
            name: checkpoint.source().to_string(),
            kind: SubmissionKind::Checkpoint,
            state: None,
            answer: None,
        }
    }

    /// A lease. It precedes the drafts that require it, in their group.
    pub(super) fn lease(lease: &Lease) -> Self {
        Self {
            bytes: lease.token.as_bytes().to_vec(),
            draft: None,
            group: None,
            token: lease.source.to_string(),
            token_ms: 0,
            name: "-".to_owned(),
            kind: SubmissionKind::Lease,
            state: None,
            answer: None,
        }
    }

    /// The key that the script checks for this submission.
    fn key(&self, keys: &Keys) -> String {
        match self.kind {
            SubmissionKind::Lease => keys.lease(&self.token),
            _ => keys.token(&self.token),
        }
    }

    /// Whether replicas must have it.
    pub(super) fn is_lasting(&self) -> bool {
        self.kind != SubmissionKind::Ephemeral
    }

    pub(super) fn is_checkpoint(&self) -> bool {
        self.kind == SubmissionKind::Checkpoint
    }

    /// A notice of loss. The same notice from several nodes is appended once.
    pub(super) fn notice(Notice { of, lost }: &Notice) -> Self {
        let bytes = format!("{of} {lost}").into_bytes();
        Self {
            token: format!("lost:{of}:{}", fingerprint(&bytes)),
            bytes,
            draft: None,
            group: None,
            token_ms: ONCE_MS,
            name: format!("{:x}", nonce()),
            kind: SubmissionKind::Lost,
            state: None,
            answer: None,
        }
    }

    fn expect(&self) -> Option<Seq> {
        self.draft.as_ref().and_then(|draft| draft.expect)
    }

    /// The topics whose last id the script reads or writes.
    fn lasting(&self) -> &[Topic] {
        match &self.draft {
            Some(draft) if draft.expect.is_some() || self.kind.is_last() => draft.topics.as_slice(),
            _ => &[],
        }
    }
}

/// The result of a script call.
pub(super) struct Run {
    /// The answers to the first submissions.
    pub(super) answers: AppendAnswers,
    /// Why the server accepted none of the remaining submissions; `None`: none remain.
    pub(super) refusal: Option<Failure>,
}

/// Runs the publishing script on submissions that must reach at least `replicas` replicas.
pub(super) async fn run(
    connection: &mut Connection,
    keys: &Keys,
    retention: Retention,
    replicas: u32,
    run: &[&Submission],
) -> Result<Run, Failure> {
    let states = |item: &Submission| item.state.as_ref().map_or(0, |state| 1 + 2 * state.topics.len());
    let count: usize = run.iter().map(|item| 1 + item.lasting().len() + states(item)).sum();
    let mut call = connection.publishing(keys, count);
    for item in run {
        call.arg(item.key(keys));
        for topic in item.lasting() {
            call.arg(keys.last(topic));
        }
        if let Some(state) = &item.state {
            call.arg(&keys.states);
            for topic in &state.topics {
                call.arg(keys.state(topic)).arg(keys.state_order(topic));
            }
        }
    }
    call.arg(random()).arg(random());
    call.arg(retention.bytes_max).arg(retention.age_ms).arg(retention.last_ms);
    call.arg(replicas).arg(&keys.ephemeral).arg(run.len());
    for item in run {
        call.arg(item.token_ms).arg(item.lasting().len());
        call.arg(item.expect().map_or_else(String::new, |seq| seq.to_string()));
        call.arg(item.kind.letter()).arg(&item.bytes).arg(&item.name);
        if let Some(StateChange { topics, field, keys_max, bytes_max, age_ms, .. }) = &item.state {
            call.arg(topics.len()).arg(field).arg(keys_max).arg(bytes_max).arg(age_ms);
        }
    }
    let answer = connection.call(&call).await?;
    read_answers(&answer, run).ok_or_else(|| Failure::Broken("the script answered something else".to_owned()))
}

fn read_answers(answer: &Value, run: &[&Submission]) -> Option<Run> {
    let Value::Array(parts) = answer else { return None };
    if parts.len() != run.len() + 1 {
        return None;
    }
    let mut answers = AppendAnswers::with_capacity(run.len());
    for (part, item) in parts[1..].iter().zip(run) {
        let part = text(part)?;
        if part.starts_with("eLEASE") {
            // A call with a lease contains one group, so nothing else is refused.
            answers.push(Err(Unavailable(NO_LEASE).into()));
            continue;
        }
        if let Some(message) = part.strip_prefix('e') {
            return Some(Run { answers, refusal: Some(Failure::of_message(message)) });
        }
        answers.push(read_answer(part, &item.name)?);
    }
    Some(Run { answers, refusal: None })
}

/// `o`: appended, `x`: sent, `k`: checkpoint stored, `c`: conflict, `d`: repeated, followed by the
/// first answer and its name. If the name is the same, the first submission was this draft itself.
fn read_answer(answer: &str, name: &str) -> Option<Result<Appended, Rejection>> {
    let (duplicate, first) = match answer.strip_prefix('d') {
        Some(repeat) => {
            let (first, of) = repeat.split_once(' ').unwrap_or((repeat, ""));
            (of != name, first)
        }
        None => (false, answer),
    };
    let (sort, rest) = first.split_at_checked(1)?;
    if sort == "c" {
        return Some(Err(Rejection::Conflict { last: Seq::new(rest.parse().ok()?)? }));
    }
    let id: EntryId = rest.parse().ok()?;
    let seq = (sort == "o").then_some(id.seq);
    Some(Ok(Appended { cursor: id.cursor(), seq, duplicate }))
}
