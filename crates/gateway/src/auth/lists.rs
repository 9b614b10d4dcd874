//! The lists in a token. Most tokens of a deployment have the same lists, which are in memory once.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use events::TopicPattern;
use parking_lot::Mutex;

/// The lists of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lists {
    /// Topics that may be subscribed to, beside the user's own and `all`.
    pub subscribe: Box<[TopicPattern]>,
    /// Topics that may be published to.
    pub publish: Box<[TopicPattern]>,
    /// Names that decide which fields of an event are shown.
    pub scopes: Box<[String]>,
}

/// How many different lists are kept to be shared.
const PLACES: usize = 64;

/// Recent lists, each at the place of its hash, until another list takes that place.
#[derive(Debug)]
pub(super) struct Lately(Mutex<[Arc<Lists>; PLACES]>);

impl Lately {
    pub(super) fn new() -> Self {
        let none = Arc::<Lists>::default();
        Self(Mutex::new(std::array::from_fn(|_| Arc::clone(&none))))
    }

    /// The same lists, shared with a recent token that has them too.
    pub(super) fn share(&self, lists: Arc<Lists>) -> Arc<Lists> {
        let mut hasher = DefaultHasher::new();
        lists.hash(&mut hasher);
        let place = &mut self.0.lock()[hasher.finish() as usize % PLACES];
        if *place != lists {
            *place = lists;
        }
        Arc::clone(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(subscribe: &str) -> Arc<Lists> {
        Arc::new(Lists { subscribe: [subscribe.parse().unwrap()].into(), ..Lists::default() })
    }

    #[test]
    fn the_same_lists_are_there_once() {
        let lately = Lately::new();
        let first = lately.share(lists("room:1"));
        for n in 0..1000 {
            let other = format!("room:{n}*");
            assert_eq!(lately.share(lists(&other)), lists(&other));
            let again = lately.share(lists(&other));
            assert!(Arc::ptr_eq(&again, &lately.share(lists(&other))));
        }
        assert_eq!(first, lists("room:1"));
    }
}
