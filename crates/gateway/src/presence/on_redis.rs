//! Members of several gateways: each shows the others the sessions that make its users members.

use std::collections::HashSet;
use std::sync::Arc;

use events::{BoardValue, BoxFuture, Draft, Redis, Store as _, Topic, Unavailable};

use super::keep::{Answers, Keep, Kept, Loaded};
use super::on_disk::{parse, write};
use super::status::Status;

/// Shows members to other gateways as JSON under `TOPIC USER`, with the status that the topic was told as the note.
pub(crate) struct OnRedis(pub(crate) Arc<Redis>);

impl Keep for OnRedis {
    /// Members of an earlier process are shown by it until it has been silent for too long.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>> {
        Box::pin(std::future::ready(Ok(Loaded::default())))
    }

    fn tell(&self, drafts: Vec<Draft>, members: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>> {
        Box::pin(async move {
            let about: Vec<_> = drafts.iter().map(about).collect();
            let answers = self.0.append(drafts).await;
            // A change whose event could not be appended is tried again, and shown then.
            let untold: HashSet<_> = about
                .into_iter()
                .zip(&answers)
                .filter(|(_, answer)| answer.is_err())
                .map(|(about, _)| about)
                .collect();
            let is_told = |kept: &&Kept| !untold.contains(&(kept.topic.clone(), kept.user.to_string()));
            self.0.board().show(members.iter().filter(is_told).map(show).collect());
            Ok(answers)
        })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// The topic and the user of a presence event.
fn about(draft: &Draft) -> (Topic, String) {
    let user = draft.key.as_ref().map_or("", |key| key.as_str());
    (draft.topics.as_slice()[0].clone(), user.to_owned())
}

fn show(kept: &Kept) -> BoardValue {
    let is_here = kept.member.as_ref().is_some_and(|member| !member.sessions.is_empty());
    let (name, value) = write(kept);
    let value = value.filter(|_| is_here).and_then(|value| String::from_utf8(value).ok());
    BoardValue { name, value, note: kept.told.map_or("", Status::as_str).to_owned() }
}

/// The record that another gateway shows; `None`: the value is no record.
pub(super) fn heard(shown: &BoardValue) -> Option<Kept> {
    let told = Status::named(&shown.note);
    match &shown.value {
        Some(value) => parse(&shown.name, value.as_bytes()).map(|kept| Kept { told, ..kept }),
        None => {
            let (topic, user) = shown.name.split_once(' ')?;
            Some(Kept { topic: topic.parse().ok()?, user: user.into(), member: None, told })
        }
    }
}
