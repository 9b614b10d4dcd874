//! What a client was given of one topic, and whether that is what it was owed.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Event(u64),
    Reset,
}

/// What is wrong with what a client was given of a topic whose events were numbered from 1 to `published`, each
/// published after the one before was acknowledged. A gap is excused by a reset that comes after what lies before the
/// gap; a step back by one right before.
pub(crate) fn check(given: &[Given], published: u64) -> Result<usize, String> {
    let (mut last, mut resets) = (0, 0);
    let mut owed: Option<String> = None;
    for (at, one) in given.iter().enumerate() {
        let near = || format!("{:?}", &given[at.saturating_sub(8)..(at + 8).min(given.len())]);
        match one {
            Given::Reset => {
                resets += 1;
                owed = None;
            }
            Given::Event(n) => {
                let is_after_reset = at > 0 && given[at - 1] == Given::Reset;
                if *n <= last && !is_after_reset {
                    return Err(format!("{n} after {last}: {}", near()));
                }
                if *n > last + 1 && !is_after_reset {
                    owed.get_or_insert_with(|| format!("{n} after {last} and no reset: {}", near()));
                }
                last = *n;
            }
        }
    }
    if last != published && given.last() != Some(&Given::Reset) {
        owed.get_or_insert(format!("ends with {last} of {published}"));
    }
    owed.map_or(Ok(resets), Err)
}
