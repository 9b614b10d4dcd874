//! The floors of topics that have no ring, in a bounded number of places.

use std::hash::Hasher as _;

use crate::{Seq, Topic};

/// A floor for every topic: up to and including it, events of the topic may be missing.
///
/// Topics whose names hash to the same place share the highest of their floors. A floor that is too high causes a reset
/// too many; a floor is never too low. The hash is keyed, so that nobody can choose names that share a place.
#[derive(Clone, Debug)]
pub struct TopicFloors {
    seed: FloorSeed,
    places: Box<[Seq]>,
}

/// The key of the hash. Two tables with the same key agree about the place of every topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FloorSeed(pub(crate) [u64; 2]);

impl FloorSeed {
    /// The place of a topic, below [`TopicFloors::PLACES`]. A store keeps it on disk, so it must never change.
    #[expect(deprecated, reason = "the only SipHash of the standard library whose values are specified")]
    pub(crate) fn place_of(self, topic: &Topic) -> u32 {
        let mut hasher = std::hash::SipHasher::new_with_keys(self.0[0], self.0[1]);
        hasher.write(topic.as_str().as_bytes());
        (hasher.finish() % TopicFloors::PLACES as u64) as u32
    }
}

impl TopicFloors {
    /// How many places there are: 128 KiB, and a topic shares its place with few others.
    pub(crate) const PLACES: usize = 16 * 1024;

    /// Nothing is missing of any topic.
    pub(crate) fn new(seed: FloorSeed) -> Self {
        Self { seed, places: vec![Seq::ZERO; Self::PLACES].into() }
    }

    /// The floor of a topic.
    pub(crate) fn of(&self, topic: &Topic) -> Seq {
        self.places[self.seed.place_of(topic) as usize]
    }

    /// Up to and including `floor`, events of this topic may be missing.
    pub(crate) fn raise(&mut self, topic: &Topic, floor: Seq) {
        self.raise_place(self.seed.place_of(topic), floor);
    }

    /// The same for all topics of a place. A place that there is not is ignored.
    pub(crate) fn raise_place(&mut self, place: u32, floor: Seq) {
        if let Some(kept) = self.places.get_mut(place as usize) {
            *kept = floor.max(*kept);
        }
    }

    /// Nothing is missing above `end`.
    pub(crate) fn lower(&mut self, end: Seq) {
        for floor in &mut self.places {
            *floor = end.min(*floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_topic_never_changes() {
        // SipHash-2-4 of these names under the keys 0x0706050403020100 and 0x0f0e0d0c0b0a0908, modulo the places: a
        // file has them.
        let seed = FloorSeed([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let place = |name: &str| seed.place_of(&name.parse().unwrap());
        assert_eq!([place("all"), place("user:alice"), place("room:song-1")], [14_222, 14_231, 10_132]);
    }

    #[test]
    fn a_floor_rises_and_is_lowered_only_by_a_history_that_ends() {
        let seq = |number| Seq::new(number).unwrap();
        let [a, b]: [Topic; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let mut floors = TopicFloors::new(FloorSeed([1, 2]));
        floors.raise(&a, seq(9));
        floors.raise(&a, seq(3));
        assert_eq!((floors.of(&a), floors.of(&b)), (seq(9), Seq::ZERO));
        floors.lower(seq(5));
        assert_eq!((floors.of(&a), floors.of(&b)), (seq(5), Seq::ZERO));
        floors.raise_place(u32::MAX, seq(7));
    }
}
