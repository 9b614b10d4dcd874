//! The start of a reader: from the client's cursor, as far as this node and the store can judge it.

use std::time::Duration;

use events::ResetReason as Reset;
use events::{Cursor, Located, Reader, Start, Topic};
use transport::After;

use crate::app::App;
use crate::auth::Grant;
use crate::metrics::labels::ResumeOutcome;
use crate::problem::{Code, Problem};

/// How long a node that is behind a cursor is given to catch up.
const BEHIND_PATIENCE: Duration = Duration::from_secs(5);

/// Where a session begins. A node that is behind the cursor waits; only the store itself can say that it is behind.
///
/// # Errors
/// When the cursor cannot be judged now.
pub(crate) async fn start_at(app: &App, after: After) -> Result<Start, Problem> {
    let cursor = match after {
        After::Latest => return Ok(Start::Latest),
        After::Earliest => return Ok(Start::Earliest),
        After::Cursor(cursor) => cursor,
    };
    let mut outcome = ResumeOutcome::Complete;
    let start = match app.log.locate(cursor) {
        Located::Here(cursor) => Start::After(cursor),
        Located::Phantom { end } => Start::Broken(Reset::Epoch, end),
        Located::Ahead | Located::Unknown => {
            outcome = ResumeOutcome::Waited;
            let tail = app.store.tail().await.inspect_err(|_| app.metrics.resumed(ResumeOutcome::Refused))?;
            wait_for(app, cursor, tail).await?
        }
    };
    match start {
        Start::Broken(Reset::Ahead, _) => outcome = ResumeOutcome::Ahead,
        Start::Broken(..) => outcome = ResumeOutcome::Epoch,
        _ => {}
    }
    app.metrics.resumed(outcome);
    Ok(start)
}

/// Waits until this node has reached the store's `tail`, and decides then.
async fn wait_for(app: &App, cursor: Cursor, tail: Cursor) -> Result<Start, Problem> {
    let deadline = tokio::time::Instant::now() + BEHIND_PATIENCE;
    loop {
        match app.log.locate(cursor) {
            Located::Here(cursor) => return Ok(Start::After(cursor)),
            Located::Phantom { end } => return Ok(Start::Broken(Reset::Epoch, end)),
            Located::Ahead if tail.epoch == cursor.epoch && tail.seq < cursor.seq => {
                return Ok(Start::Broken(Reset::Ahead, app.log.tail_cursor()));
            }
            Located::Unknown if app.log.locate(tail) == Located::Here(tail) => {
                return Ok(Start::Broken(Reset::Epoch, app.log.tail_cursor()));
            }
            Located::Ahead | Located::Unknown => {}
        }
        if tokio::time::Instant::now() >= deadline {
            app.metrics.resumed(ResumeOutcome::Refused);
            return Err(Problem::new(Code::Unavailable, "this gateway is behind the cursor"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A reader of one topic's history, as the bearer of a grant may see it; without a grant, in full.
///
/// # Errors
/// When the cursor cannot be judged now.
pub(crate) async fn history_reader(
    app: &App,
    topic: Topic,
    after: After,
    grant: Option<&Grant>,
) -> Result<Reader, Problem> {
    app.store.loaded()?;
    let start = start_at(app, after).await?;
    let mut reader = Reader::of_rings(&app.log, &[topic], start);
    reader.look_through(grant.and_then(|grant| app.lens(grant)));
    Ok(reader)
}
