//! What may happen to a log with states, in any order.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) const TOPICS: usize = 2;
pub(crate) const KEYS: usize = 6;
pub(crate) const AGE_SECONDS: u64 = 600;

/// One life of a log with states.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) keys_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) ring_events_max: usize,
    pub(crate) log_bytes_max: usize,
    pub(crate) ops: Vec<Op>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Publish(Vec<Post>),
    /// So many events of another topic, which push others out of the store.
    Fill(usize),
    /// The client begins anew: with a snapshot, whose point lies behind what is published meanwhile.
    Begin {
        meanwhile: Vec<Post>,
    },
    /// The client takes the next part of a snapshot.
    Part {
        events: usize,
    },
    /// The client reads what follows, once.
    Follow {
        events: usize,
    },
    /// The client takes all there is, and then has the truth.
    CatchUp,
    /// The connection breaks; the client comes back with its cursor, or begins anew if it lacks parts.
    Resume,
    Advance {
        seconds: u64,
    },
    Sweep,
    /// The last events never became history.
    Fork {
        back: u64,
    },
    /// The process starts again.
    Restart,
}

#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) topic: usize,
    pub(crate) kind: usize,
    pub(crate) key: Option<usize>,
    pub(crate) is_tombstone: bool,
    pub(crate) ttl_seconds: Option<u64>,
    pub(crate) padding: usize,
}

pub(crate) fn life(has_time: bool) -> impl Strategy<Value = Life> {
    let bounds = (
        prop_oneof![Just(1000_usize), 1..8_usize],
        prop_oneof![Just(1_usize << 20), 500..2000_usize],
        prop_oneof![Just(1000_usize), 1..6_usize],
        prop_oneof![9 => Just(1_usize << 30), 1 => 3000..9000_usize],
    );
    (bounds, vec(op(has_time), 1..60)).prop_map(
        |((keys_max, bytes_max, ring_events_max, log_bytes_max), ops)| Life {
            keys_max,
            bytes_max,
            ring_events_max,
            log_bytes_max,
            ops,
        },
    )
}

fn op(has_time: bool) -> BoxedStrategy<Op> {
    let common = prop_oneof![
        8 => vec(post(has_time), 1..6).prop_map(Op::Publish),
        2 => vec(post(has_time), 0..4).prop_map(|meanwhile| Op::Begin { meanwhile }),
        4 => (1..4_usize).prop_map(|events| Op::Part { events }),
        4 => (1..4_usize).prop_map(|events| Op::Follow { events }),
        2 => Just(Op::CatchUp),
        1 => Just(Op::Resume),
        1 => Just(Op::Sweep),
    ];
    if has_time {
        let seconds = prop_oneof![3 => 1..5_u64, 1 => AGE_SECONDS / 2..AGE_SECONDS];
        prop_oneof![
            12 => common,
            1 => seconds.prop_map(|seconds| Op::Advance { seconds }),
            1 => (0..4_u64).prop_map(|back| Op::Fork { back }),
        ]
        .boxed()
    } else {
        prop_oneof![
            12 => common,
            2 => (300..700_usize).prop_map(Op::Fill),
            2 => Just(Op::Restart),
        ]
        .boxed()
    }
}

fn post(has_time: bool) -> impl Strategy<Value = Post> {
    let ttl_seconds = if has_time { option::weighted(0.1, 1..4_u64).boxed() } else { Just(None).boxed() };
    let key = option::weighted(0.9, 0..KEYS);
    (0..TOPICS, 0..2_usize, key, any::<u8>(), ttl_seconds, 0..200_usize).prop_map(
        |(topic, kind, key, dice, ttl_seconds, padding)| {
            let is_tombstone = dice < 64;
            Post { topic, kind, key, is_tombstone, ttl_seconds, padding }
        },
    )
}
