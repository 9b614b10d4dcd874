//! The other gateways of the same log: what they have, and what is asked of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use events::{Board, BoardEvent, Topic};
use serde::{Deserialize, Serialize};
use transport::{Bye, ByeReason};

use crate::app::App;
use crate::limits::pacing;

/// How many users a gateway names.
const USERS_MAX: usize = 10_000;

/// How many topics a gateway names.
const TOPICS_MAX: usize = 10_000;

/// What one gateway asks all others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    /// To end the sessions of a user.
    EndUser(String),
    /// To end a session.
    EndSession(String),
    /// Who is connected.
    Counts,
}

/// Who is connected, to one gateway or to all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Sessions of each user.
    pub by_user: BTreeMap<String, usize>,
    /// Users that are not named.
    pub others: usize,
    /// Sessions.
    pub clients: usize,
    /// Connections by transport, in the order of `Transport::ALL`.
    pub by_transport: [usize; 3],
    /// Connections by topic.
    pub by_topic: BTreeMap<String, usize>,
}

impl Counts {
    fn of(app: &App) -> Self {
        let counts = app.registry.counts(USERS_MAX);
        let named = counts.by_user.len();
        let by_topic = app.registry.by_topic(TOPICS_MAX);
        Self {
            by_user: counts.by_user.into_iter().map(|(user, clients)| (user.to_string(), clients)).collect(),
            others: counts.users - named,
            clients: counts.clients,
            by_transport: counts.by_transport,
            by_topic: by_topic.into_iter().map(|(topic, number)| (topic.to_string(), number)).collect(),
        }
    }

    fn add(&mut self, more: Self) {
        for (user, clients) in more.by_user {
            *self.by_user.entry(user).or_default() += clients;
        }
        for (topic, connections) in more.by_topic {
            *self.by_topic.entry(topic).or_default() += connections;
        }
        self.others += more.others;
        self.clients += more.clients;
        for (mine, theirs) in self.by_transport.iter_mut().zip(more.by_transport) {
            *mine += theirs;
        }
    }

    /// The busiest topics, up to `topics_max`.
    #[must_use]
    pub(crate) fn topics(&self, topics_max: usize) -> Vec<(Topic, usize)> {
        let mut topics: Vec<(Topic, usize)> =
            self.by_topic.iter().filter_map(|(topic, number)| Some((topic.parse().ok()?, *number))).collect();
        topics.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.as_str().cmp(b.as_str())));
        topics.truncate(topics_max);
        topics
    }
}

/// Does here what was asked. The answer, and how many sessions were ended.
fn obey(app: &App, asked: &Asked) -> usize {
    let bye = Bye { reason: ByeReason::Disconnected, reconnect_after: pacing::soon() };
    match asked {
        Asked::EndUser(user) => app.registry.end_user(user, bye),
        Asked::EndSession(session) => app.registry.end_session(session, bye),
        Asked::Counts => 0,
    }
}

async fn ask(board: &Board, asked: &Asked) -> Vec<String> {
    match serde_json::to_string(asked) {
        Ok(text) => board.ask(text).await,
        Err(_) => Vec::new(),
    }
}

/// Ends sessions, here and everywhere. How many.
pub(crate) async fn end(app: &App, asked: &Asked) -> usize {
    let here = obey(app, asked);
    let Some(board) = &app.board else { return here };
    let answers = ask(board, asked).await;
    here + answers.iter().filter_map(|answer| serde_json::from_str::<usize>(answer).ok()).sum::<usize>()
}

/// Who is connected, here and everywhere.
pub(crate) async fn counts(app: &App) -> Counts {
    let mut counts = Counts::of(app);
    if let Some(board) = &app.board {
        for answer in ask(board, &Asked::Counts).await {
            if let Ok(more) = serde_json::from_str(&answer) {
                counts.add(more);
            }
        }
    }
    counts
}

/// Listens to the others, for ever.
pub(crate) async fn listen(app: Arc<App>) {
    let Some(board) = &app.board else { return std::future::pending().await };
    while let Some(news) = board.next().await {
        match news {
            BoardEvent::Shows { node, shown, is_all } => app.presence.hear(&node, &shown, is_all),
            BoardEvent::Gone(node) => app.presence.hear(&node, &[], true),
            BoardEvent::Asks { question, text } => {
                let Ok(asked) = serde_json::from_str(&text) else { continue };
                let answer = match asked {
                    Asked::Counts => serde_json::to_string(&Counts::of(&app)),
                    asked => serde_json::to_string(&obey(&app, &asked)),
                };
                board.answer(question, answer.unwrap_or_default()).await;
            }
        }
    }
}
