//! What a client was given of one topic, and whether that is what it was owed.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Event(u64),
    Reset,
    /// Something happened to a server since what comes before.
    Trouble,
}

/// What is wrong with what a client was given of a topic whose events were numbered from 1 to
/// `published`, each published after the one before was acknowledged. A gap is excused by a reset
/// that comes after what lies before the gap, at the latest before the second trouble after it; a
/// step back by one right before.
pub(crate) fn check(given: &[Given], published: u64) -> Result<usize, String> {
    let (mut last, mut resets, mut troubles) = (0, 0, 0);
    let mut is_after_reset = false;
    let mut owed: Option<(u32, String)> = None;
    for (at, one) in given.iter().enumerate() {
        let near = || format!("{:?}", &given[at.saturating_sub(8)..(at + 8).min(given.len())]);
        match one {
            Given::Trouble => {
                troubles += 1;
                if let Some((since, error)) = owed.take_if(|(since, _)| *since + 1 < troubles) {
                    return Err(format!("{error} ({} troubles ago)", troubles - since));
                }
            }
            Given::Reset => {
                resets += 1;
                owed = None;
                is_after_reset = true;
            }
            Given::Event(n) => {
                if *n <= last && !is_after_reset {
                    return Err(format!("{n} after {last}: {}", near()));
                }
                if *n > last + 1 && !is_after_reset {
                    owed.get_or_insert_with(|| {
                        (troubles, format!("{n} after {last} and no reset: {}", near()))
                    });
                }
                last = *n;
                is_after_reset = false;
            }
        }
    }
    if last != published && !is_after_reset {
        owed.get_or_insert((troubles, format!("ends with {last} of {published}")));
    }
    owed.map_or(Ok(resets), |(_, error)| Err(error))
}

#[test]
fn a_reset_excuses_what_lies_between_it_and_the_trouble_before() {
    use Given::{Event, Reset, Trouble};
    assert_eq!(check(&[Event(1), Trouble, Event(3), Reset, Event(4)], 4), Ok(1));
    assert_eq!(check(&[Event(1), Event(3), Trouble, Reset], 3), Ok(1), "told after the next trouble began");
    assert_eq!(check(&[Event(1), Trouble, Reset, Trouble, Event(1), Event(2)], 2), Ok(1));
    for wrong in [
        &[Event(1), Event(3), Trouble, Event(4), Trouble, Reset, Event(5)][..],
        &[Event(1), Event(3), Event(4), Event(5)],
        &[Event(1), Trouble, Event(1), Event(5)],
        &[Event(1), Event(2)],
    ] {
        assert!(check(wrong, 5).is_err(), "{wrong:?}");
    }
}
