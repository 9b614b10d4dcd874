//! The only path from this node's drafts to the stream: in order and each exactly once, even if the
//! connection fails.

use std::sync::Arc;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::backoff::backoff;
use super::connection::Connection;
use super::entry_id::EntryId;
use super::log_state::LogState;
use super::publish_script::{self, AppendAnswers, Submission};
use super::recent_appends::Recorded;
use super::reply::Failure;
use super::shared::Shared;
use crate::{Appended, Checkpoint, Cursor, Draft, Lease, SourceName, Unavailable};

pub(super) enum PublishJob {
    /// The lease's answer comes first, the checkpoint's last.
    Append {
        lease: Option<Lease>,
        drafts: Vec<Draft>,
        checkpoint: Option<Checkpoint>,
        answer: oneshot::Sender<AppendAnswers>,
    },
    Checkpoint {
        source: SourceName,
        answer: oneshot::Sender<Result<Option<Box<[u8]>>, Unavailable>>,
    },
    Tail {
        answer: oneshot::Sender<Result<Cursor, Unavailable>>,
    },
}

pub(super) struct StreamPublisher {
    shared: Arc<Shared>,
    wait_replicas: u32,
    connection: Option<Connection>,
    failures: u32,
    /// The next attempt to connect is made no earlier than this.
    closed_until: Instant,
}

/// How long drafts are retried before their publisher is asked to retry.
const PATIENCE: Duration = Duration::from_secs(4);
/// Timeout of one script call.
const RESPONSE: Duration = Duration::from_secs(2);
/// After this many failures publishers are refused immediately, until the next attempt to connect
/// is due.
const OPEN_AFTER: u32 = 3;
/// How often, and with which pause, a draft is retried if its server acknowledged it in a
/// generation that this node considers over. In the meantime the tailer looks for the master again.
const DOUBTS_MAX: u32 = 10;
const DOUBT: Duration = Duration::from_millis(150);
/// How long replicas may take to acknowledge.
const WAIT_MS: u64 = 1000;
const SCRIPT_DRAFTS: usize = 128;
const SCRIPT_BYTES: usize = 256 << 10;
const BATCH_DRAFTS: usize = 4096;

impl StreamPublisher {
    pub(super) fn new(shared: Arc<Shared>, wait_replicas: u32) -> Self {
        Self { shared, wait_replicas, connection: None, failures: 0, closed_until: Instant::now() }
    }

    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<PublishJob>) {
        let trim_every = self.trim_every();
        loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.turn(job, &mut jobs).await,
                    None => return,
                },
                // With drafts the script trims as well.
                () = tokio::time::sleep(trim_every) => self.trim().await,
            }
        }
    }

    /// Interval at which a node that publishes nothing trims entries that are too old.
    fn trim_every(&self) -> Duration {
        Duration::from_millis(self.shared.retention.age_ms / 64)
            .clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// Trims the stream while nothing is published. A failure is only reported: the next append
    /// finds out by itself whether the server accepts writes.
    async fn trim(&mut self) {
        if !self.shared.health.is_followed() {
            return;
        }
        let Shared { keys, retention, .. } = &*Arc::clone(&self.shared);
        let trimmed = match (self.connect().await, &mut self.connection) {
            (Ok(()), Some(connection)) => publish_script::run(connection, keys, *retention, 0, &[]).await,
            (Ok(()), None) => return,
            (Err(error), _) => Err(error),
        };
        if let Err(error) = trimmed {
            self.shared.health.set_failed(&error);
            if let Failure::Broken(_) = error {
                self.connection = None;
            }
        }
    }

    async fn turn(&mut self, first: PublishJob, jobs: &mut mpsc::Receiver<PublishJob>) {
        let mut items: Vec<Submission> = Vec::new();
        let mut answers = Vec::new();
        let mut tails = Vec::new();
        let mut positions = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                PublishJob::Append { lease, drafts, checkpoint, answer } => {
                    let first = items.len();
                    let is_group = lease.is_some() || checkpoint.is_some();
                    items.extend(lease.iter().map(Submission::lease));
                    let states = self.shared.states.as_ref();
                    items.extend(drafts.into_iter().map(|draft| Submission::new(draft, states)));
                    items.extend(checkpoint.iter().map(Submission::checkpoint));
                    if is_group {
                        items[first..].iter_mut().for_each(|item| item.group = Some(first));
                    }
                    answers.push((items.len() - first, answer));
                }
                PublishJob::Checkpoint { source, answer } => positions.push((source, answer)),
                PublishJob::Tail { answer } => tails.push(answer),
            }
            next = if items.len() + tails.len() >= BATCH_DRAFTS { None } else { jobs.try_recv().ok() };
        }
        self.append(&mut items).await;
        let mut results = items.into_iter().map(|item| item.answer.unwrap_or(Err(UNKNOWN.into())));
        for (number, answer) in answers {
            let _ = answer.send(results.by_ref().take(number).collect());
        }
        if !tails.is_empty() {
            // Drafts queued earlier are appended by now, and one read answers all callers.
            let tail = self.tail().await;
            for answer in tails {
                let _ = answer.send(tail);
            }
        }
        for (source, answer) in positions {
            let _ = answer.send(self.position(&source).await);
        }
    }

    /// Retries until every item has an answer or [`PATIENCE`] is over. Then operates alone, if that
    /// is configured.
    async fn append(&mut self, items: &mut [Submission]) {
        if !self.shared.alone.has_begun() {
            self.append_together(items).await;
        }
        // Events with a checkpoint or a lease are excluded: these belong to Redis, and the caller
        // submits the events again.
        let mut rest: Vec<&mut Submission> = items
            .iter_mut()
            .filter(|item| item.answer.is_none() && item.draft.is_some() && item.group.is_none())
            .collect();
        let drafts: Vec<Draft> = rest.iter().filter_map(|item| item.draft.clone()).collect();
        if !drafts.is_empty()
            && let Some(answers) = self.shared.alone.append(drafts)
        {
            rest.iter_mut().zip(answers).for_each(|(item, answer)| item.answer = Some(answer));
        }
    }

    async fn append_together(&mut self, items: &mut [Submission]) {
        let until = Instant::now() + PATIENCE;
        let mut doubts = 0;
        while items.iter().any(|item| item.answer.is_none()) && Instant::now() < until {
            if self.is_hopeless() {
                break;
            }
            let result = self.try_append(items).await;
            match result {
                Ok(()) => {
                    if items.iter().all(|item| item.answer.is_some()) {
                        break;
                    }
                    // Both the tailer and the publisher look for the master again.
                    self.shared.health.set_doubt();
                    self.connection = None;
                    doubts += 1;
                    if doubts == DOUBTS_MAX {
                        let error = Failure::Broken("acknowledged by a master that is gone".to_owned());
                        self.shared.health.set_failed(&error);
                        let refused = Err(Unavailable("two servers tell of different logs").into());
                        let doubted = items.iter_mut().filter(|item| item.answer.is_none());
                        doubted.for_each(|item| item.answer = Some(refused));
                    }
                    tokio::time::sleep(DOUBT).await;
                }
                Err(Failure::Refused(error)) => {
                    self.shared.health.set_refused(&error);
                    let refused = Err(Unavailable("Redis refuses to write").into());
                    for item in items.iter_mut().filter(|item| item.answer.is_none()) {
                        item.answer = Some(refused);
                    }
                }
                Err(error @ Failure::Broken(_)) => self.break_off(&error),
            }
        }
        if items.iter().any(|item| item.answer.is_none()) {
            self.shared.health.set_stuck();
        }
    }

    /// Appends the items without an answer. Items that the server refused, and items that this node
    /// knows or believes to be lost, stay without an answer.
    async fn try_append(&mut self, items: &mut [Submission]) -> Result<(), Failure> {
        self.connect().await?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        // Events with a checkpoint are excluded: a checkpoint belongs to Redis, and its caller
        // submits the events again.
        let mut rest: Vec<&mut Submission> = items.iter_mut().filter(|item| item.answer.is_none()).collect();
        let mut results = Vec::with_capacity(rest.len());
        let mut refusal = None;
        while results.len() < rest.len() && refusal.is_none() {
            let run = next_run(&rest[results.len()..]);
            let Shared { keys, retention, .. } = &*self.shared;
            let run = publish_script::run(connection, keys, *retention, self.wait_replicas, &run).await?;
            results.extend(run.answers);
            refusal = run.refusal;
        }
        let is_due = |(item, result): (&&mut Submission, &Result<_, _>)| item.is_lasting() && result.is_ok();
        let has_lasting = rest.iter().zip(&results).any(is_due);
        let is_replicated = !has_lasting || has_replicas(connection, self.wait_replicas).await?;
        if !is_replicated {
            self.failures = 0;
            self.shared.health.set_refused(FEW_REPLICAS);
        } else if !results.is_empty() {
            self.failures = 0;
            self.shared.health.set_published();
        }
        let mut doubted = None;
        for (item, result) in rest.iter_mut().zip(results) {
            if !is_replicated && item.is_lasting() && result.is_ok() {
                item.answer = Some(Err(Unavailable(FEW_REPLICAS).into()));
                continue;
            }
            if item.is_checkpoint() && doubted == item.group {
                // Its group contains an event that this node believes to be lost.
                continue;
            }
            if let (Ok(Appended { cursor, seq: Some(seq), .. }), Some(draft)) = (&result, &item.draft) {
                let id = EntryId { generation: cursor.epoch.number(), seq: *seq };
                if !self.shared.recent.add(id, Recorded::Event(draft.topics.clone())) {
                    // The master is gone and took the event with it. If the master is not gone, the
                    // followed master is in doubt.
                    doubted = item.group;
                    continue;
                }
            }
            item.answer = Some(result);
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Whether an attempt would only repeat several failures of a moment ago.
    fn is_hopeless(&self) -> bool {
        self.connection.is_none() && self.failures >= OPEN_AFTER && Instant::now() < self.closed_until
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        if self.shared.health.take_astray() {
            self.connection = None;
        }
        if self.connection.is_some() {
            return Ok(());
        }
        tokio::time::sleep_until(self.closed_until.min(Instant::now() + PATIENCE)).await;
        self.connection = Some(Connection::to_master(&self.shared.servers, RESPONSE).await?);
        Ok(())
    }

    /// Drops a connection that failed, or records that none could be opened. Only a successful
    /// append or read resets the count of failures: a server may accept connections and fail every
    /// command.
    fn break_off(&mut self, error: &Failure) {
        self.shared.health.set_failed(error);
        self.connection = None;
        self.failures += 1;
        self.closed_until = Instant::now() + backoff(self.failures);
    }

    async fn tail(&mut self) -> Result<Cursor, Unavailable> {
        if let Some(tail) = self.shared.alone.tail() {
            return Ok(tail);
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !self.is_hopeless() {
            match self.look().await {
                Ok(look) => return look.last.map(EntryId::cursor).ok_or(UNKNOWN),
                Err(error) => self.break_off(&error),
            }
        }
        Err(UNKNOWN)
    }

    /// The stored position of a source.
    async fn position(&mut self, source: &SourceName) -> Result<Option<Box<[u8]>>, Unavailable> {
        if self.shared.alone.has_begun() {
            return Err(UNKNOWN);
        }
        // A log that has to be opened first may have lost its checkpoints together with its events.
        self.tail().await?;
        let Some(connection) = &mut self.connection else { return Err(UNKNOWN) };
        let call = connection.call(cmd("HGET").arg(&self.shared.keys.checkpoints).arg(source.as_str())).await;
        match call {
            Ok(Value::BulkString(position)) => Ok(Some(position.into())),
            Ok(Value::Nil) => Ok(None),
            Ok(_) => Err(UNKNOWN),
            Err(error) => {
                self.break_off(&error);
                Err(UNKNOWN)
            }
        }
    }

    async fn look(&mut self) -> Result<LogState, Failure> {
        self.connect().await?;
        let connection =
            self.connection.as_mut().ok_or_else(|| Failure::Broken("there is no connection".to_owned()))?;
        let look = connection.open_log(&self.shared.keys).await?;
        self.failures = 0;
        Ok(look)
    }
}

/// The submissions of the next script call: as many as it accepts, or one group, which is a commit
/// of its own.
fn next_run<'a>(rest: &'a [&mut Submission]) -> Vec<&'a Submission> {
    let Some(group) = rest.first().map(|item| item.group) else { return Vec::new() };
    let of_group = rest.iter().take_while(|item| item.group == group);
    if group.is_some() {
        return of_group.map(|item| &**item).collect();
    }
    let mut bytes = 0;
    let run = of_group.take(SCRIPT_DRAFTS).take_while(|item| {
        bytes += item.bytes.len();
        bytes <= SCRIPT_BYTES || bytes == item.bytes.len()
    });
    run.map(|item| &**item).collect()
}

/// Waits until this many replicas have everything appended on this connection; `false`: they do not
/// within [`WAIT_MS`].
async fn has_replicas(connection: &mut Connection, replicas: u32) -> Result<bool, Failure> {
    if replicas == 0 {
        return Ok(true);
    }
    let answer = connection.call(cmd("WAIT").arg(replicas).arg(WAIT_MS)).await?;
    Ok(matches!(answer, Value::Int(have) if have >= i64::from(replicas)))
}

const FEW_REPLICAS: &str = "too few replicas have it";
const UNKNOWN: Unavailable = Unavailable("Redis cannot be reached");
