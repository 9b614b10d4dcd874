//! The call of `publish.lua`: drafts become its arguments, and its answers become theirs.

use super::backoff::{fingerprint, nonce, random};
use super::connection::Connection;
use super::entry_id::EntryId;
use super::keys::Keys;
use super::loss_notice::Notice;
use super::reply::{Failure, text};
use crate::store::codec::put_draft;
use crate::{Appended, Clock, Draft, Rejection, Seq, Topic};

pub(super) type AppendAnswers = Vec<Result<Appended, Rejection>>;

/// A draft on its way, or a notice.
pub(super) struct Submission {
    pub(super) bytes: Vec<u8>,
    /// `None`: it is a notice.
    pub(super) draft: Option<Draft>,
    token: String,
    token_ms: u64,
    /// By which it is known again when its answer was lost: then it was not its publisher who repeated it.
    name: String,
    sort: SubmissionKind,
    pub(super) answer: Option<Result<Appended, Rejection>>,
}

/// What becomes of an item, as the script is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SubmissionKind {
    /// An event, the last of its topics from now on.
    Event,
    /// An event that is kept apart: `expect` does not see it.
    Aside,
    /// Passed on to whoever is there, not kept.
    Ephemeral,
    /// A notice of loss.
    Lost,
}

/// For how long a repeat is recognised.
const ONCE_MS: u64 = 300_000;
/// Likewise for a repeat of this node's own making.
const RETRY_MS: u64 = 30_000;

impl Submission {
    pub(super) fn new(draft: Draft) -> Self {
        let mut bytes = Vec::with_capacity(64 + draft.data.as_bytes().len());
        put_draft(&mut bytes, Clock::system().unix_ms(), &draft);
        let sort = match &draft {
            draft if draft.ephemeral => SubmissionKind::Ephemeral,
            draft if draft.is_latest_only() => SubmissionKind::Aside,
            _ => SubmissionKind::Event,
        };
        let name = format!("{:x}", nonce());
        let (token, token_ms) = match &draft.once {
            Some(token) => (format!("p:{token}"), ONCE_MS),
            None => (format!("n:{name}"), RETRY_MS),
        };
        Self { bytes, draft: Some(draft), token, token_ms, name, sort, answer: None }
    }

    /// The same notice, whoever tells it, is one.
    pub(super) fn notice(Notice { of, lost }: &Notice) -> Self {
        let bytes = format!("{of} {lost}").into_bytes();
        Self {
            token: format!("lost:{of}:{}", fingerprint(&bytes)),
            bytes,
            draft: None,
            token_ms: ONCE_MS,
            name: format!("{:x}", nonce()),
            sort: SubmissionKind::Lost,
            answer: None,
        }
    }

    fn expect(&self) -> Option<Seq> {
        self.draft.as_ref().and_then(|draft| draft.expect)
    }

    /// The topics whose last event the script reads or writes.
    fn lasting(&self) -> &[Topic] {
        match &self.draft {
            Some(draft) if draft.expect.is_some() || self.sort == SubmissionKind::Event => {
                draft.topics.as_slice()
            }
            _ => &[],
        }
    }
}

/// How much of the log Redis keeps.
#[derive(Clone, Copy)]
pub(super) struct Retention {
    /// About how many events.
    pub(super) events_max: u64,
    /// For how long a topic's last seq after its last event.
    pub(super) last_ms: u64,
}

/// Runs the publishing script on some items. Its answers, in their order.
pub(super) async fn run(
    connection: &mut Connection,
    keys: &Keys,
    retention: Retention,
    run: &[&Submission],
) -> Result<AppendAnswers, Failure> {
    let count: usize = run.iter().map(|item| 1 + item.lasting().len()).sum();
    let mut call = connection.publishing(2 + count);
    call.arg(&keys.stream).arg(&keys.fence);
    for item in run {
        call.arg(keys.token(&item.token));
        for topic in item.lasting() {
            call.arg(keys.last(topic));
        }
    }
    call.arg(random()).arg(random());
    call.arg(retention.events_max).arg(retention.last_ms).arg(&keys.ephemeral).arg(run.len());
    for item in run {
        let sort = match item.sort {
            SubmissionKind::Event => "e",
            SubmissionKind::Aside => "a",
            SubmissionKind::Ephemeral => "x",
            SubmissionKind::Lost => "l",
        };
        call.arg(item.token_ms).arg(item.lasting().len());
        call.arg(item.expect().map_or_else(String::new, |seq| seq.to_string())).arg(sort).arg(&item.bytes);
        call.arg(&item.name);
    }
    let answer = connection.call(&call).await?;
    let unknown = || Failure::Broken("the script answered something else".to_owned());
    let redis::Value::Array(answers) = &answer else { return Err(unknown()) };
    let results: Option<AppendAnswers> =
        answers.iter().skip(1).zip(run).map(|(answer, item)| result(text(answer)?, &item.name)).collect();
    results.filter(|results| results.len() == run.len()).ok_or_else(unknown)
}

/// `o` appended, `x` sent, `c` conflict, `d` repeated and then what it was at first and under which name: under the same
/// it was this draft itself.
fn result(answer: &str, name: &str) -> Option<Result<Appended, Rejection>> {
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
