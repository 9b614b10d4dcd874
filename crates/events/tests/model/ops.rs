//! What may happen, in any order: the strategy from which proptest draws a life of a log.

use std::time::Duration;

use events::Options;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// How many topics, types and keys there are.
pub(crate) const TOPICS: usize = 5;
pub(crate) const KINDS: usize = 3;
pub(crate) const KEYS: usize = 2;
pub(crate) const TOKENS: usize = 3;

/// How many clients live side by side.
pub(crate) const CLIENTS: usize = 3;

/// One life of a log.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) bounds: Bounds,
    /// Drafts go through the memory store; else the test itself is the store, and can have any history.
    pub(crate) through_memory: bool,
    pub(crate) ops: Vec<Op>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events_max: Option<usize>,
    pub(crate) bytes_max: Option<usize>,
    pub(crate) age_seconds_max: Option<u64>,
    pub(crate) log_bytes_max: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Publish(Vec<Post>),
    /// A client reads once.
    Read {
        client: usize,
        events: usize,
        bytes: usize,
    },
    /// A client reads until there is no more.
    Drain {
        client: usize,
    },
    /// A client is new.
    Open {
        client: usize,
        topics: Vec<usize>,
        earliest: bool,
    },
    /// A client's connection breaks.
    Cut {
        client: usize,
    },
    /// A client comes back with its cursor, over whatever transport: maybe with other topics and types.
    Resume {
        client: usize,
        topics: Vec<usize>,
        types: Option<Vec<usize>>,
    },
    /// A client comes with a cursor that this node has not reached and the store never will.
    ResumeAhead {
        client: usize,
        topics: Vec<usize>,
    },
    Subscribe {
        client: usize,
        topics: Vec<usize>,
    },
    Unsubscribe {
        client: usize,
        topics: Vec<usize>,
    },
    Advance {
        seconds: u64,
    },
    Sweep {
        topics: usize,
    },
    /// A new epoch that goes on `back` seqs below the tail.
    Fork {
        back: u64,
        jump: u64,
    },
    /// A new epoch that knows nothing of what was.
    Forget {
        start: u64,
    },
    Trimmed {
        through: i64,
    },
    Lost {
        topics: Vec<usize>,
        above: u64,
    },
}

/// One draft.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) topics: Vec<usize>,
    pub(crate) kind: usize,
    pub(crate) key: Option<usize>,
    /// So many seconds and a half, so that no event expires at the very moment of a read.
    pub(crate) ttl_seconds: Option<u64>,
    pub(crate) ephemeral: bool,
    pub(crate) padding: usize,
    /// Expects the topic's last seq plus this.
    pub(crate) expect: Option<u64>,
    pub(crate) token: Option<usize>,
}

impl Bounds {
    pub(crate) fn options(self) -> Options {
        let roomy = Options::default();
        Options {
            ring_events_max: self.events_max.unwrap_or(1000),
            ring_bytes_max: self.bytes_max.unwrap_or(roomy.ring_bytes_max),
            // Half a second more, so that no event ages at the very moment of a sweep.
            ring_age_max: self
                .age_seconds_max
                .map_or(Duration::from_secs(1 << 40), |seconds| Duration::from_millis(seconds * 1000 + 500)),
            log_bytes_max: self.log_bytes_max.unwrap_or(roomy.log_bytes_max),
            topic_idle_max: Duration::ZERO,
            state: None,
        }
    }

    /// Whether nothing but the count of events can evict.
    pub(crate) fn is_count_only(self) -> bool {
        self.bytes_max.is_none() && self.age_seconds_max.is_none() && self.log_bytes_max.is_none()
    }
}

pub(crate) fn life() -> impl Strategy<Value = Life> {
    any::<bool>().prop_flat_map(|through_memory| {
        (bounds(), vec(op(through_memory), 1..50)).prop_map(move |(bounds, ops)| Life {
            bounds,
            through_memory,
            ops,
        })
    })
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let events_max = prop_oneof![Just(None), Just(Some(1)), Just(Some(2)), Just(Some(5))];
    let bytes_max = prop_oneof![3 => Just(None), 1 => Just(Some(100)), 1 => Just(Some(1000))];
    let age_seconds_max = prop_oneof![2 => Just(None), 1 => Just(Some(10)), 1 => Just(Some(30))];
    let log_bytes_max =
        prop_oneof![3 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(1500)), 1 => Just(Some(4000))];
    (events_max, bytes_max, age_seconds_max, log_bytes_max).prop_map(
        |(events_max, bytes_max, age_seconds_max, log_bytes_max)| Bounds {
            events_max,
            bytes_max,
            age_seconds_max,
            log_bytes_max,
        },
    )
}

fn op(through_memory: bool) -> BoxedStrategy<Op> {
    let client = 0..CLIENTS;
    let client = || client.clone();
    let anything = prop_oneof![
        12 => vec(post(), 1..4).prop_map(Op::Publish),
        8 => (client(), 1..4_usize, prop_oneof![3 => Just(1 << 20), 1 => Just(300)])
            .prop_map(|(client, events, bytes)| Op::Read { client, events, bytes }),
        4 => client().prop_map(|client| Op::Drain { client }),
        2 => (client(), topics(), any::<bool>())
            .prop_map(|(client, topics, earliest)| Op::Open { client, topics, earliest }),
        2 => client().prop_map(|client| Op::Cut { client }),
        4 => (client(), topics(), option::weighted(0.3, subsequence(vec![0, 1, 2], 1..3)))
            .prop_map(|(client, topics, types)| Op::Resume { client, topics, types }),
        1 => (client(), topics()).prop_map(|(client, topics)| Op::ResumeAhead { client, topics }),
        1 => (client(), topics()).prop_map(|(client, topics)| Op::Subscribe { client, topics }),
        1 => (client(), topics()).prop_map(|(client, topics)| Op::Unsubscribe { client, topics }),
        2 => (1..20_u64).prop_map(|seconds| Op::Advance { seconds }),
        2 => (1..8_usize).prop_map(|topics| Op::Sweep { topics }),
    ];
    if through_memory {
        return anything.boxed();
    }
    prop_oneof![
        40 => anything,
        1 => (0..6_u64, 0..6_u64).prop_map(|(back, jump)| Op::Fork { back, jump }),
        1 => (0..40_u64).prop_map(|start| Op::Forget { start }),
        1 => (-6..6_i64).prop_map(|through| Op::Trimmed { through }),
        1 => (topics(), 1..4_u64).prop_map(|(topics, above)| Op::Lost { topics, above }),
    ]
    .boxed()
}

fn post() -> impl Strategy<Value = Post> {
    (
        topics(),
        0..KINDS,
        option::weighted(0.3, 0..KEYS),
        option::weighted(0.2, 0..25_u64),
        prop::bool::weighted(0.15),
        prop_oneof![8 => Just(0), 1 => Just(200), 1 => Just(1500)],
        option::weighted(0.15, prop_oneof![3 => Just(0), 1 => 1..3_u64]),
        option::weighted(0.1, 0..TOKENS),
    )
        .prop_map(|(topics, kind, key, ttl_seconds, ephemeral, padding, expect, token)| Post {
            // What expects something is in one topic.
            topics: if expect.is_some() { topics[..1].to_vec() } else { topics },
            kind,
            key,
            ttl_seconds,
            ephemeral,
            padding,
            expect,
            token,
        })
}

/// One to three topics in any order.
fn topics() -> impl Strategy<Value = Vec<usize>> {
    subsequence((0..TOPICS).collect::<Vec<_>>(), 1..4).prop_shuffle()
}
