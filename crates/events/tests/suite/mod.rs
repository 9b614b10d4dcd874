//! What every store owes the log and its publishers. A store's tests open it and run [`conformance!`] on that.

pub(crate) mod faulty;
mod publishing;
mod reading;

use std::any::Any;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use events::{
    Appended, Cursor, Data, Draft, Event, Limit, Log, Reader, Rejection, Reset, Seq, Store, Topic, Topics,
};
pub(crate) use publishing::*;
pub(crate) use reading::*;

/// A store that is open, and the log that it feeds.
pub(crate) struct Subject {
    pub(crate) log: Arc<Log>,
    pub(crate) store: Arc<dyn Store>,
    /// What lives as long as the store: a directory, a server.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(180);

/// Makes a test of each thing that a store owes. `$open` is an `async fn(&Options) -> Subject` that opens an empty
/// store.
macro_rules! conformance {
    ($open:path) => {
        conformance!($open:
            each_draft_gets_the_next_seq,
            an_empty_batch_has_no_answers,
            a_big_batch_stays_whole_and_in_order,
            bad_drafts_spoil_no_others,
            a_token_appends_once,
            a_token_that_was_refused_is_free,
            concurrent_repeats_append_once,
            what_is_kept_apart_is_in_order_and_not_expected,
            expect_holds_or_names_the_last,
            one_of_those_who_expect_the_same_wins,
            an_event_in_several_topics_is_one,
            the_tail_is_the_last_acknowledged,
            an_epoch_is_one_life,
            a_store_that_is_open_is_ready,
            what_is_acknowledged_is_read_in_order,
            every_part_of_a_draft_arrives,
            ephemeral_events_take_no_seq_and_are_not_replayed,
            what_outlived_its_time_is_not_replayed,
            a_cursor_goes_on_where_it_was,
            what_is_lacking_resets_the_readers_of_its_topics,
        );
    };
    ($open:path: $($owed:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $owed() {
                $crate::suite::$owed(async |options| $open(options).await).await;
            }
        )+
    };
}

pub(crate) fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

pub(crate) fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

/// A draft for these topics.
pub(crate) fn draft(topics: &[&str], data: u64) -> Draft {
    Draft::new(
        Topics::new(topics.iter().map(|name| topic(name))).unwrap(),
        "t".parse().unwrap(),
        Data::from_value(&data).unwrap(),
    )
}

pub(crate) fn once(token: &str, draft: Draft) -> Draft {
    Draft { once: Some(token.into()), ..draft }
}

impl Subject {
    pub(crate) async fn append(&self, drafts: Vec<Draft>) -> Vec<Result<Appended, Rejection>> {
        let append = self.store.append(drafts);
        tokio::time::timeout(PATIENCE, append).await.expect("an append is answered")
    }

    pub(crate) async fn append_one(&self, draft: Draft) -> Result<Appended, Rejection> {
        let mut answers = self.append(vec![draft]).await;
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Appends what nothing speaks against.
    pub(crate) async fn publish(&self, draft: Draft) -> Appended {
        self.append_one(draft).await.unwrap()
    }

    /// Reads until the reader is at `cursor`, sleeping when it has to.
    pub(crate) async fn read_to(&self, reader: &mut Reader, cursor: Cursor) -> Result<Vec<Event>, Reset> {
        let mut out = Vec::new();
        loop {
            let span = reader.read(Limit { events: 100, bytes: 1 << 20 }, &mut out)?;
            if span.cursor == cursor {
                return Ok(out);
            }
            if !span.more {
                let ready = poll_fn(|cx| reader.poll_ready(cx));
                let woken = tokio::time::timeout(PATIENCE, ready).await;
                woken.unwrap_or_else(|_| panic!("still at {}, waiting for {cursor}", span.cursor));
            }
        }
    }
}

pub(crate) fn data(event: &Event) -> u64 {
    json(event)["data"].as_u64().unwrap()
}

pub(crate) fn json(event: &Event) -> serde_json::Value {
    serde_json::from_slice(event.json()).unwrap()
}
