//! The one path by which this node's drafts reach the stream: in order, each once, whatever happens to the connection.

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Value, cmd};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::id::Id;
use super::link::{Link, LinkError, text};
use super::recent::Recent;
use super::{Keys, Status};
use crate::log::unix_ms;
use crate::store::codec::put_draft;
use crate::{Appended, Cursor, Draft, Rejection, Seq, Topic, Topics, Unavailable};

pub(super) type Answers = Vec<Result<Appended, Rejection>>;

pub(super) enum Job {
    Append { drafts: Vec<Draft>, answer: oneshot::Sender<Answers> },
    Tail { answer: oneshot::Sender<Result<Cursor, Unavailable>> },
}

/// Acknowledged events of these topics died with an old master.
pub(super) struct Notice {
    pub(super) topics: Vec<Topic>,
    /// Where its log ended.
    pub(super) of: Id,
}

pub(super) struct Publisher {
    pub(super) clients: Arc<[Client]>,
    pub(super) keys: Arc<Keys>,
    pub(super) status: Arc<Status>,
    pub(super) recent: Arc<Recent>,
    pub(super) events_max: u64,
    pub(super) wait_replicas: u32,
    pub(super) link: Option<Link>,
    pub(super) failures: u32,
    /// Not before this moment is connecting tried again.
    pub(super) closed_until: Instant,
}

/// A draft on its way.
struct Item {
    bytes: Vec<u8>,
    topics: Option<Topics>,
    token: String,
    token_ms: u64,
    /// The publisher gave the token; else it only makes repeats after a lost answer harmless.
    is_own_token: bool,
    expect: Option<Seq>,
    sort: &'static str,
    answer: Option<Result<Appended, Rejection>>,
}

/// How long drafts are tried before their publisher is told to come again.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long the server may take for one script.
const RESPONSE: Duration = Duration::from_secs(2);
/// After so many failures publishers are refused at once until connecting is due again.
const OPEN_AFTER: u32 = 3;
/// How long replicas may take.
const WAIT_MS: u64 = 1000;
/// For how long a repeat is recognised.
const ONCE_MS: u64 = 300_000;
/// Likewise for a repeat of this node's own making.
const RETRY_MS: u64 = 30_000;
/// For how long a topic's last seq is kept after its last event.
const LAST_MS: u64 = 3_600_000;
const SCRIPT_DRAFTS: usize = 128;
const SCRIPT_BYTES: usize = 256 << 10;
const BATCH_DRAFTS: usize = 4096;

impl Publisher {
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, mut notices: mpsc::Receiver<Notice>) {
        loop {
            tokio::select! {
                job = jobs.recv() => {
                    let Some(job) = job else { return };
                    self.turn(job, &mut jobs).await;
                }
                Some(notice) = notices.recv() => self.tell(&notice).await,
            }
        }
    }

    async fn turn(&mut self, first: Job, jobs: &mut mpsc::Receiver<Job>) {
        let mut items: Vec<Item> = Vec::new();
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append { drafts, answer } => {
                    answers.push((drafts.len(), answer));
                    items.extend(drafts.into_iter().map(Item::new));
                }
                Job::Tail { answer } => {
                    // What was queued before is appended before.
                    self.append(&mut items).await;
                    let _ = answer.send(self.tail().await);
                }
            }
            next = if items.len() >= BATCH_DRAFTS { None } else { jobs.try_recv().ok() };
        }
        self.append(&mut items).await;
        let mut results = items.into_iter().map(|item| item.answer.unwrap_or(Err(UNKNOWN.into())));
        for (number, answer) in answers {
            let _ = answer.send(results.by_ref().take(number).collect());
        }
    }

    /// Tries until every item has an answer or patience is over.
    async fn append(&mut self, items: &mut [Item]) {
        let until = Instant::now() + PATIENCE;
        while items.iter().any(|item| item.answer.is_none()) && Instant::now() < until {
            if self.link.is_none() && self.failures >= OPEN_AFTER && Instant::now() < self.closed_until {
                // It was tried a moment ago, and again and again before: nobody needs to wait for that.
                return;
            }
            let result = self.try_append(items).await;
            match result {
                Ok(()) => {}
                Err(LinkError::Refused(error)) => {
                    self.status.set_refused(&error);
                    let refused = Err(Unavailable("Redis refuses to write").into());
                    for item in items.iter_mut().filter(|item| item.answer.is_none()) {
                        item.answer = Some(refused);
                    }
                }
                Err(LinkError::Broken(_)) => self.link = None,
            }
        }
    }

    async fn try_append(&mut self, items: &mut [Item]) -> Result<(), LinkError> {
        self.connect().await?;
        let Some(link) = &mut self.link else { return Ok(()) };
        let mut rest: Vec<&mut Item> = items.iter_mut().filter(|item| item.answer.is_none()).collect();
        let mut results = Vec::with_capacity(rest.len());
        let mut from = 0;
        while from < rest.len() {
            let mut bytes = 0;
            let run = rest[from..].iter().take(SCRIPT_DRAFTS).take_while(|item| {
                bytes += item.bytes.len();
                bytes <= SCRIPT_BYTES || bytes == item.bytes.len()
            });
            let run: Vec<&Item> = run.map(|item| &**item).collect();
            results.extend(script(link, &self.keys, self.events_max, &run).await?);
            from += run.len();
        }
        if self.wait_replicas > 0 {
            let mut wait = cmd("WAIT");
            wait.arg(self.wait_replicas).arg(WAIT_MS);
            match link.call(&wait).await? {
                Value::Int(replicas) if replicas >= i64::from(self.wait_replicas) => {}
                _ => {
                    let few = Err(Unavailable("too few replicas have it").into());
                    rest.iter_mut().for_each(|item| item.answer = Some(few));
                    return Ok(());
                }
            }
        }
        self.status.set_published();
        for (item, result) in rest.iter_mut().zip(results) {
            if let (Ok(Appended { cursor, seq: Some(seq), .. }), Some(topics)) = (&result, &item.topics) {
                let id = Id { generation: cursor.epoch.number(), seq: *seq };
                if !self.recent.add(id, topics) {
                    // Its master is gone and took it along: once more.
                    return Err(LinkError::Broken("acknowledged by a master that is gone".to_owned()));
                }
            }
            item.answer =
                Some(result.map(|appended| Appended {
                    duplicate: appended.duplicate && item.is_own_token,
                    ..appended
                }));
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), LinkError> {
        if self.link.is_some() {
            return Ok(());
        }
        tokio::time::sleep_until(self.closed_until.min(Instant::now() + PATIENCE)).await;
        match Link::to_master(&self.clients, RESPONSE).await {
            Ok(link) => {
                self.failures = 0;
                self.link = Some(link);
                Ok(())
            }
            Err(error) => {
                self.failures += 1;
                self.closed_until = Instant::now() + super::backoff(self.failures);
                Err(error)
            }
        }
    }

    async fn tail(&mut self) -> Result<Cursor, Unavailable> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.connect().await.is_ok()
                && let Some(link) = &mut self.link
            {
                match link.look_open(&self.keys).await {
                    Ok(look) => return look.last.map(Id::cursor).ok_or(UNKNOWN),
                    Err(_) => self.link = None,
                }
            }
        }
        Err(UNKNOWN)
    }

    /// Publishes that acknowledged events of some topics are lost, so that every node resets their readers.
    async fn tell(&mut self, notice: &Notice) {
        let topics: Vec<&str> = notice.topics.iter().map(Topic::as_str).collect();
        let bytes = topics.join(",").into_bytes();
        let token = format!("lost:{}:{}", notice.of, super::fingerprint(&bytes));
        let item = || Item {
            bytes: bytes.clone(),
            topics: None,
            token: token.clone(),
            token_ms: ONCE_MS,
            is_own_token: true,
            expect: None,
            sort: "l",
            answer: None,
        };
        // It is owed until it is told; publishers wait meanwhile, as they would for the server.
        loop {
            let mut items = [item()];
            self.append(&mut items).await;
            if matches!(items[0].answer, Some(Ok(_))) {
                return;
            }
            tokio::time::sleep(super::backoff(self.failures)).await;
        }
    }
}

const UNKNOWN: Unavailable = Unavailable("Redis cannot be reached");

impl Item {
    fn new(draft: Draft) -> Self {
        let mut bytes = Vec::with_capacity(64 + draft.data.as_bytes().len());
        put_draft(&mut bytes, unix_ms(), &draft);
        let is_own_token = draft.once.is_some();
        let token = draft.once.map_or_else(|| format!("n:{}", super::nonce()), |token| format!("p:{token}"));
        Self {
            bytes,
            topics: Some(draft.topics),
            token,
            token_ms: if is_own_token { ONCE_MS } else { RETRY_MS },
            is_own_token,
            expect: draft.expect,
            sort: if draft.ephemeral { "x" } else { "e" },
            answer: None,
        }
    }
}

/// Runs the publishing script on some items. Its answers, in their order.
async fn script(link: &mut Link, keys: &Keys, events_max: u64, run: &[&Item]) -> Result<Answers, LinkError> {
    let topics = |item: &Item| item.topics.as_ref().map_or(0, |topics| topics.as_slice().len());
    let count: usize = run.iter().map(|item| 1 + topics(item)).sum();
    let mut call = link.publishing(2 + count);
    call.arg(&keys.stream).arg(&keys.fence);
    for item in run {
        call.arg(keys.token(&item.token));
        for topic in item.topics.iter().flatten() {
            call.arg(keys.last(topic));
        }
    }
    call.arg(super::random()).arg(events_max).arg(LAST_MS).arg(&keys.ephemeral).arg(run.len());
    for item in run {
        call.arg(item.token_ms).arg(topics(item));
        call.arg(item.expect.map_or_else(String::new, |seq| seq.to_string())).arg(item.sort).arg(&item.bytes);
    }
    let answer = link.call(&call).await?;
    let unknown = || LinkError::Broken("the script answered something else".to_owned());
    let Value::Array(answers) = &answer else { return Err(unknown()) };
    let results: Option<Answers> =
        answers.iter().skip(1).map(|answer| text(answer).and_then(result)).collect();
    results.filter(|results| results.len() == run.len()).ok_or_else(unknown)
}

/// `o` appended, `x` sent, `c` conflict, `d` repeated and then what it was at first.
fn result(answer: &str) -> Option<Result<Appended, Rejection>> {
    let (duplicate, first) = match answer.strip_prefix('d') {
        Some(first) => (true, first),
        None => (false, answer),
    };
    let (sort, rest) = first.split_at_checked(1)?;
    if sort == "c" {
        return Some(Err(Rejection::Conflict { last: Seq::new(rest.parse().ok()?)? }));
    }
    let id: Id = rest.parse().ok()?;
    let seq = (sort == "o").then_some(id.seq);
    Some(Ok(Appended { cursor: id.cursor(), seq, duplicate }))
}
