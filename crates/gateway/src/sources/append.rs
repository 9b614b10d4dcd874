//! Appends drafts to a store that may be unavailable, and retries until the store has them.

use std::time::Duration;

use events::{Appended, Draft, Rejection};

use super::reading::{BATCH_BYTES, BATCH_DRAFTS};
use crate::metrics::Metrics;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::publish::Publishing;

/// Pause before an append is retried. It doubles from the first value to the last.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(50);
pub(super) const RETRY_LAST: Duration = Duration::from_secs(2);

/// Appends the drafts in order, one batch at a time. Returns when the store has all of them.
pub(super) async fn append_until_taken(
    publishing: &Publishing,
    metrics: &Metrics,
    kind: SourceKind,
    drafts: Vec<Draft>,
) {
    for batch in batches(drafts) {
        append_batch(publishing, metrics, kind, batch).await;
    }
}

async fn append_batch(publishing: &Publishing, metrics: &Metrics, kind: SourceKind, mut drafts: Vec<Draft>) {
    let mut pause = RETRY_FIRST;
    while !drafts.is_empty() {
        let answers = publishing.append(kind.origin(), drafts.clone()).await;
        let mut answers = answers.into_iter();
        drafts.retain(|_| match answers.next() {
            Some(Ok(Appended { duplicate: true, .. })) => {
                metrics.sources.duplicate(kind);
                false
            }
            Some(Ok(_)) => {
                metrics.sources.published(kind, 1);
                false
            }
            Some(Err(Rejection::Conflict { .. })) => {
                metrics.sources.rejected(kind, RejectReason::BadDraft);
                false
            }
            Some(Err(Rejection::Unavailable(_))) | None => true,
        });
        if !drafts.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
    }
}

/// The drafts in batches, in order.
fn batches(drafts: Vec<Draft>) -> Vec<Vec<Draft>> {
    let mut batches: Vec<Vec<Draft>> = Vec::new();
    let mut bytes = BATCH_BYTES;
    for draft in drafts {
        let cost = draft.data.as_bytes().len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_DRAFTS && bytes + cost <= BATCH_BYTES => {
                bytes += cost;
                batch.push(draft);
            }
            _ => {
                bytes = cost;
                batches.push(vec![draft]);
            }
        }
    }
    batches
}
