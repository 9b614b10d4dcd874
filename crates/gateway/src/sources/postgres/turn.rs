//! One turn of an outbox: the oldest rows are published and deleted in one transaction.
//!
//! A turn takes all visible rows in the order of their ids, and deletes the rows that the store
//! has. There is no cursor: transactions commit in a different order than their rows got ids, and a
//! cursor would pass rows that appear late. If one transaction begins after another has committed,
//! it has the higher ids. The order of each writer is therefore kept.
//!
//! The whole turn holds an advisory lock that ends with its transaction, so that gateways take
//! turns. This also works through a pooler that gives each transaction another server connection.
//! For the same reason no statement is prepared.

use std::collections::BTreeSet;
use std::time::Duration;

use events::{Appended, Draft, Rejection, Unavailable};
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Failure, PgSession};
use super::floor::{Floor, Look};
use super::sql::Statements;
use super::table::OutboxTable;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::problem::Code;
use crate::publish::{Author, DraftBody};
use crate::sources::parts::SourceParts;

/// Most rows of a turn.
pub(super) const ROWS_MAX: usize = 500;
/// Most drafts of one append, and the approximate number of their bytes.
const BATCH_DRAFTS_MAX: usize = 128;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Approximate number of draft bytes that one turn reads.
const TURN_BYTES_MAX: i64 = 1 << 20;
/// Waiting rows are counted up to this number, at this interval.
const COUNTED_MAX: i64 = 10_000;
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Most characters of the reason in the column `error`.
const ERROR_CHARS_MAX: usize = 500;
/// Most bytes of a draft besides its data: 64 topics of 256 bytes and the other members.
const BESIDE_DATA_MAX: usize = 24 << 10;
/// Timeout of one statement. The server's own limit is the same.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Age beyond which a turn appends nothing more. After 15 s the server ends its transaction, and
/// another gateway may have published these rows and later ones. A process can be frozen at any
/// line.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// Takes the turns of one gateway at one outbox.
pub(super) struct Turns {
    statements: Statements,
    floor: Floor,
    parts: SourceParts,
    /// A draft with more bytes is refused without being read.
    draft_bytes_max: i64,
    /// The number of waiting rows at the last count, and the time of the next count.
    counted: i64,
    count_at: Instant,
}

/// The result of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Another gateway had the turn.
    Elsewhere,
    /// None of the rows that were there at the beginning of the turn is left.
    Done,
    /// There are more rows.
    More,
    /// The store did not accept all rows. They stay in the table.
    Refused(Unavailable),
}

/// A parameter of a statement. Because its type is given, no statement needs to be prepared.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A row of the outbox.
struct OutboxRow<'a> {
    id: i64,
    /// The draft; `None`: too large.
    draft: Option<&'a [u8]>,
    /// The row's `at` and the server's time, in microseconds since 1970.
    at: i64,
    now: i64,
}

/// The results for the rows of a turn.
#[derive(Default)]
struct Outcome {
    /// Rows that the store has.
    done: Vec<i64>,
    /// Rows that are not valid drafts, each with its reason.
    bad: Vec<i64>,
    reasons: Vec<String>,
    /// Why the store did not accept a row. No row after it was handed in.
    refused: Option<Unavailable>,
}

impl Turns {
    /// Turns at a table.
    pub(super) fn new(table: &OutboxTable, parts: SourceParts) -> Self {
        let draft_bytes_max = i64::try_from(parts.data_bytes_max + BESIDE_DATA_MAX).unwrap_or(i64::MAX);
        let now = parts.clock.now();
        let (statements, floor) = (Statements::of(table), Floor::new(now));
        Self { statements, floor, parts, draft_bytes_max, counted: 0, count_at: now }
    }

    /// Takes one turn.
    ///
    /// # Errors
    /// The server's error. The connection is then unusable. Dropping it rolls back its transaction:
    /// published rows come again and are recognised by their ids.
    pub(super) async fn take(&mut self, session: &PgSession) -> Result<Turn, Failure> {
        let began = self.parts.clock.now();
        if !self.begin(session).await? {
            session.within(STATEMENT_TIMEOUT, session.client().batch_execute("rollback")).await?;
            return Ok(Turn::Elsewhere);
        }
        let from = self.floor.from(began);
        let rows = self.read(session, from).await?;
        let took = began.elapsed();
        let rows = rows.iter().map(OutboxRow::of).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|error| session.failure(&error))?;
        let writers = if self.floor.needs_writers(began) { Some(self.writers(session).await?) } else { None };
        let is_all = is_all(&rows);
        self.measure(session, &rows, is_all, from).await?;
        let outcome = self.publish(&rows, began).await?;
        self.settle(session, &outcome).await?;
        if let Some(refused) = outcome.refused {
            return Ok(Turn::Refused(refused));
        }
        let found = rows.first().zip(rows.last()).map(|(first, last)| (first.id, last.id));
        self.floor.looked(Look { from, found, is_all, writers, took }, self.parts.clock.now());
        if is_all {
            self.parts.metrics.sources.set_outbox(0.0, 0);
        }
        Ok(if is_all { Turn::Done } else { Turn::More })
    }

    /// Whether the table has the trigger that wakes gateways up.
    pub(super) async fn wakes(&self, session: &PgSession) -> Result<bool, Failure> {
        let row = session.client().query_typed_one(&self.statements.wakes, &[]);
        session.within(STATEMENT_TIMEOUT, async { row.await?.try_get(0) }).await
    }

    /// Begins the transaction. Returns whether this gateway has its turn.
    async fn begin(&self, session: &PgSession) -> Result<bool, Failure> {
        let answers = session.client().simple_query(&self.statements.begin);
        let answers = session.within(STATEMENT_TIMEOUT, answers).await?;
        Ok(answers.iter().any(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
            _ => false,
        }))
    }

    async fn read(&self, session: &PgSession, from: i64) -> Result<Vec<tokio_postgres::Row>, Failure> {
        let parameters: [Parameter<'_>; 4] = [
            (&from, Type::INT8),
            (&(ROWS_MAX as i64), Type::INT8),
            (&self.draft_bytes_max, Type::INT8),
            (&TURN_BYTES_MAX, Type::INT8),
        ];
        let rows = session.client().query_typed(&self.statements.take, &parameters);
        session.within(STATEMENT_TIMEOUT, rows).await
    }

    async fn writers(&self, session: &PgSession) -> Result<BTreeSet<String>, Failure> {
        let rows = session.client().query_typed(&self.statements.writers, &[]);
        let writers = async { rows.await?.iter().map(|row| row.try_get(0)).collect() };
        session.within(STATEMENT_TIMEOUT, writers).await
    }

    /// Updates the metrics of the outbox. Rows beyond those of a turn are counted from time to
    /// time.
    async fn measure(
        &mut self,
        session: &PgSession,
        rows: &[OutboxRow<'_>],
        is_all: bool,
        from: i64,
    ) -> Result<(), Failure> {
        let now = self.parts.clock.now();
        let mut count = (rows.len() as i64).max(if is_all { 0 } else { self.counted });
        if !is_all && self.count_at <= now {
            let parameters: [Parameter<'_>; 2] = [(&from, Type::INT8), (&COUNTED_MAX, Type::INT8)];
            let counted = session.client().query_typed_one(&self.statements.count, &parameters);
            count = session.within(STATEMENT_TIMEOUT, async { counted.await?.try_get(0) }).await?;
            self.counted = count;
            self.count_at = now + COUNT_EVERY;
        }
        let lag_micros = rows.first().map_or(0, |row| if row.at > 0 { (row.now - row.at).max(0) } else { 0 });
        self.parts.metrics.sources.set_outbox(lag_micros as f64 / 1e6, count.unsigned_abs());
        Ok(())
    }

    /// Hands the drafts of the rows to the store, in order and in batches.
    async fn publish(&self, rows: &[OutboxRow<'_>], began: Instant) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut batch = Batch::default();
        for row in rows {
            match self.draft(row) {
                Ok(draft) => {
                    if !batch.has_room(&draft) && !self.append(&mut batch, &mut outcome, began).await? {
                        return Ok(outcome);
                    }
                    batch.push(row.id, draft);
                }
                Err((reason, text)) => {
                    self.parts.metrics.sources.rejected(SourceKind::Outbox, reason);
                    outcome.bad.push(row.id);
                    outcome.reasons.push(text);
                }
            }
        }
        self.append(&mut batch, &mut outcome, began).await?;
        if let Some(first) = outcome.bad.first() {
            let rows = outcome.bad.len();
            tracing::warn!(rows, first, "rows of the outbox are no drafts: see their column `error`");
        }
        Ok(outcome)
    }

    /// The draft of a row, or why it is not valid, as a code and as a sentence.
    fn draft(&self, row: &OutboxRow<'_>) -> Result<Draft, (RejectReason, String)> {
        let Some(json) = row.draft else {
            let text = format!("too_large: more than {} bytes", self.draft_bytes_max);
            return Err((RejectReason::TooLarge, text));
        };
        let draft = DraftBody::parse(json).and_then(|mut body| {
            // `at` is part of the id because ids start again after TRUNCATE … RESTART IDENTITY.
            body.id.get_or_insert_with(|| format!("ob:{}:{}", row.id, row.at));
            self.parts.publishing.check(body, &Author::Source(SourceKind::Outbox))
        });
        draft.map_err(|problem| {
            let reason = match problem.code {
                Code::TooLarge => RejectReason::TooLarge,
                _ => RejectReason::BadDraft,
            };
            // A text of PostgreSQL cannot contain NUL.
            let text = format!("{}: {}", problem.code.as_str(), problem.detail).replace('\0', "");
            (reason, text.chars().take(ERROR_CHARS_MAX).collect())
        })
    }

    /// Appends a batch and empties it. Returns whether the store has all of it.
    async fn append(
        &self,
        batch: &mut Batch,
        outcome: &mut Outcome,
        began: Instant,
    ) -> Result<bool, Failure> {
        let Batch { ids, drafts, .. } = std::mem::take(batch);
        if drafts.is_empty() {
            return Ok(true);
        }
        if began.elapsed() > FRESH_FOR {
            return Err(Failure::new("the turn took too long: its rows are left to the next one"));
        }
        let metrics = &self.parts.metrics.sources;
        let answers = self.parts.publishing.append(SourceKind::Outbox.origin(), drafts).await;
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(Appended { duplicate, .. }) => {
                    outcome.done.push(id);
                    if duplicate {
                        metrics.duplicate(SourceKind::Outbox);
                    } else {
                        metrics.published(SourceKind::Outbox, 1);
                    }
                }
                Err(Rejection::Unavailable(why)) => outcome.refused = outcome.refused.or(Some(why)),
                // A draft of a source has no expectation.
                Err(Rejection::Conflict { .. }) => {
                    outcome.refused = outcome.refused.or(Some(Unavailable("the store answers a conflict")));
                }
            }
        }
        // Publishers on other connections get their turn first.
        tokio::task::yield_now().await;
        Ok(outcome.refused.is_none())
    }

    /// Deletes or marks the settled rows and commits, all in one round trip.
    async fn settle(&self, session: &PgSession, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome { done, bad, reasons, .. } = outcome;
        let client = session.client();
        let delete = async {
            if done.is_empty() {
                return Ok(0);
            }
            client.execute_typed(&self.statements.delete, &[(done, Type::INT8_ARRAY)]).await
        };
        let reject = async {
            if bad.is_empty() {
                return Ok(0);
            }
            let parameters: [Parameter<'_>; 2] = [(bad, Type::INT8_ARRAY), (reasons, Type::TEXT_ARRAY)];
            client.execute_typed(&self.statements.reject, &parameters).await
        };
        let commit = client.batch_execute("commit");
        let all = async {
            // The statements are sent in this order. A commit after a failed statement is a
            // rollback.
            let (deleted, rejected, committed) = tokio::join!(biased; delete, reject, commit);
            deleted.and(rejected).and(committed)
        };
        session.within(STATEMENT_TIMEOUT, all).await?;
        let taken = done.len() + bad.len();
        self.parts.metrics.sources.received(SourceKind::Outbox, taken as u64);
        Ok(())
    }
}

impl<'a> OutboxRow<'a> {
    fn of(row: &'a tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { id: row.try_get(0)?, draft: row.try_get(1)?, at: row.try_get(2)?, now: row.try_get(3)? })
    }
}

/// Whether a turn has read all rows, so that neither of its two bounds has cut any off.
fn is_all(rows: &[OutboxRow<'_>]) -> bool {
    let bytes: usize = rows.iter().filter_map(|row| row.draft).map(<[u8]>::len).sum();
    rows.len() < ROWS_MAX && (bytes as i64) < TURN_BYTES_MAX
}

/// Drafts for one append, with the ids of their rows.
#[derive(Default)]
struct Batch {
    ids: Vec<i64>,
    drafts: Vec<Draft>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, draft: &Draft) -> bool {
        self.drafts.is_empty()
            || (self.drafts.len() < BATCH_DRAFTS_MAX
                && self.bytes + draft.data.as_bytes().len() <= BATCH_BYTES_MAX)
    }

    fn push(&mut self, id: i64, draft: Draft) {
        self.bytes += draft.data.as_bytes().len();
        self.ids.push(id);
        self.drafts.push(draft);
    }
}
