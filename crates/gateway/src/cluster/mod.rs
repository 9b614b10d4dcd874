//! The other gateways of the same log: their sessions and members, and questions to all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use events::{Board, BoardEvent, Topic};
use serde::{Deserialize, Serialize};
use transport::{Bye, ByeReason};

use crate::limits::pacing::Pacing;
use crate::presence::Presence;
use crate::registry::{Registry, ShownTransport};

/// The most users that a gateway names.
const USERS_MAX: usize = 10_000;

/// The most topics that a gateway names.
const TOPICS_MAX: usize = 10_000;

/// A question or a request to all gateways.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterQuestion {
    /// To end the sessions of a user.
    EndUser(String),
    /// To end a session.
    EndSession(String),
    /// To end the connections of a user's own session, as if its client had closed them.
    Leave {
        /// The user.
        user: String,
        /// The session's id.
        session: String,
    },
    /// The connections.
    Counts,
}

/// The connections of one gateway or of all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClusterCounts {
    /// Sessions of each user.
    pub by_user: BTreeMap<String, usize>,
    /// Users that are not named.
    pub others: usize,
    /// Sessions.
    pub clients: usize,
    /// Connections by transport, in the order of `ShownTransport`.
    pub by_transport: [usize; ShownTransport::COUNT],
    /// Connections by topic.
    pub by_topic: BTreeMap<String, usize>,
}

impl ClusterCounts {
    fn of(registry: &Registry) -> Self {
        let counts = registry.counts(USERS_MAX);
        let named = counts.by_user.len();
        let by_topic = registry.by_topic(TOPICS_MAX);
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

/// All gateways of the log, this one included.
pub(crate) struct Cluster {
    /// The board; `None`: the log belongs to this process.
    board: Option<Arc<Board>>,
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    pacing: Pacing,
}

impl Cluster {
    /// The gateways that share this board with the sessions and members of this one.
    #[must_use]
    pub(crate) fn new(
        board: Option<Arc<Board>>,
        registry: Arc<Registry>,
        presence: Arc<Presence>,
        pacing: Pacing,
    ) -> Self {
        Self { board, registry, presence, pacing }
    }

    /// Ends sessions on all gateways. Returns their number.
    pub(crate) async fn end(&self, question: &ClusterQuestion) -> usize {
        let here = self.obey(question);
        let answers = self.ask(question).await;
        here + answers.iter().filter_map(|answer| serde_json::from_str::<usize>(answer).ok()).sum::<usize>()
    }

    /// The connections of all gateways.
    pub(crate) async fn counts(&self) -> ClusterCounts {
        let mut counts = ClusterCounts::of(&self.registry);
        for answer in self.ask(&ClusterQuestion::Counts).await {
            if let Ok(more) = serde_json::from_str(&answer) {
                counts.add(more);
            }
        }
        counts
    }

    /// Listens to the other gateways, for ever.
    pub(crate) async fn listen(&self) {
        let Some(board) = &self.board else { return std::future::pending().await };
        while let Some(event) = board.next().await {
            match event {
                BoardEvent::Shows { node, shown, is_all } => self.presence.hear(&node, &shown, is_all),
                BoardEvent::Gone(node) => self.presence.hear(&node, &[], true),
                BoardEvent::Asks { question, text } => {
                    let Ok(asked) = serde_json::from_str(&text) else { continue };
                    let answer = match asked {
                        ClusterQuestion::Counts => serde_json::to_string(&ClusterCounts::of(&self.registry)),
                        asked => serde_json::to_string(&self.obey(&asked)),
                    };
                    board.answer(question, answer.unwrap_or_default()).await;
                }
            }
        }
    }

    /// Carries out a request on this gateway. Returns the number of sessions that ended.
    fn obey(&self, question: &ClusterQuestion) -> usize {
        let bye = Bye { reason: ByeReason::Disconnected, reconnect_after: self.pacing.soon() };
        match question {
            ClusterQuestion::EndUser(user) => self.registry.end_user(user, bye),
            ClusterQuestion::EndSession(session) => self.registry.end_session(session, bye),
            ClusterQuestion::Leave { user, session } => self.registry.leave_session(user, session),
            ClusterQuestion::Counts => 0,
        }
    }

    /// The answers of all other gateways that answer in time.
    async fn ask(&self, question: &ClusterQuestion) -> Vec<String> {
        match (&self.board, serde_json::to_string(question)) {
            (Some(board), Ok(text)) => board.ask(text).await,
            _ => Vec::new(),
        }
    }
}
