//! The source `notify`: turns notifications on channels of PostgreSQL into events, by one rule for
//! each channel.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::connection::{Connector, Failure};
use super::listener::{Hears, NotifyListener};
use crate::metrics::Metrics;
use crate::sources::apply::SourceMessage;
use crate::sources::queue::Ear;
use crate::sources::rule::SourceRule;

/// Listens to the channels of these rules for ever. `ear` is the entrance of the source's queue.
pub(crate) async fn run(connector: Connector, rules: Vec<SourceRule>, ear: Ear, metrics: Arc<Metrics>) {
    let rules: HashMap<Box<str>, Arc<SourceRule>> =
        rules.into_iter().map(|rule| (rule.pattern.clone(), Arc::new(rule))).collect();
    let channels = rules.keys().map(ToString::to_string).collect();
    let hears = IntoQueue { rules: Arc::new(rules), ear };
    NotifyListener::new(connector, channels, hears, Some(metrics)).run().await;
}

/// Adds notifications to the queue, which drops the oldest when it is full.
#[derive(Clone)]
struct IntoQueue {
    rules: Arc<HashMap<Box<str>, Arc<SourceRule>>>,
    ear: Ear,
}

impl Hears for IntoQueue {
    fn heard(&self, channel: &str, payload: &str) {
        if let Some(rule) = self.rules.get(channel) {
            self.ear.hear(SourceMessage {
                rule: Arc::clone(rule),
                channel: channel.into(),
                first: None,
                payload: Bytes::copy_from_slice(payload.as_bytes()),
                id: None,
            });
        }
    }

    fn up(&self) {
        self.ear.up();
    }

    fn confirm(&self, at: Instant) {
        self.ear.confirm(at);
    }

    fn down(&self, reason: &'static str, failure: &Failure) {
        self.ear.down(reason, failure);
    }
}
