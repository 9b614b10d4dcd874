//! What is wrong with the files at the moment, and what has been.

use parking_lot::Mutex;

use crate::Unavailable;
use crate::store::StoreStatus;

/// Written by the writer, read by all others.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    /// Why appends fail at the moment.
    refusal: Option<Unavailable>,
    /// What went wrong last, until appends succeed.
    error: Option<String>,
    failures: u64,
    tokens_evicted: u64,
    /// A sync failed once.
    has_failed_to_sync: bool,
}

impl Health {
    /// Appends succeed.
    pub(super) fn accepts(&self) {
        let mut state = self.0.lock();
        (state.refusal, state.error) = (None, None);
    }

    /// Appends fail.
    pub(super) fn refuses(&self, refusal: Unavailable) {
        self.0.lock().refusal = Some(refusal);
    }

    /// Something failed, whether it can be mended or not.
    pub(super) fn failed(&self, error: String) {
        let mut state = self.0.lock();
        state.failures += 1;
        state.error = Some(error);
    }

    /// A sync failed: the disk is not to be trusted even if the next one does not.
    pub(super) fn failed_to_sync(&self) {
        self.0.lock().has_failed_to_sync = true;
    }

    /// So many idempotency tokens were forgotten before their time since the start.
    pub(super) fn tokens_evicted(&self, number: u64) {
        self.0.lock().tokens_evicted = number;
    }

    /// Why appends fail at the moment.
    pub(super) fn refusal(&self) -> Option<Unavailable> {
        self.0.lock().refusal
    }

    pub(super) fn status(&self) -> StoreStatus {
        let state = self.0.lock();
        StoreStatus {
            failures: state.failures,
            tokens_evicted: state.tokens_evicted,
            error: state.error.clone(),
            warning: state.has_failed_to_sync.then_some(
                "the disk failed to sync: what it did not take is written again, but look at the disk",
            ),
            ..StoreStatus::default()
        }
    }
}
