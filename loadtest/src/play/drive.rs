//! The two ways to publish for a while: as fast as answers come, or at a rate that nothing slows down.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::side::Side;

/// How many deliveries a closed loop lets pile up before it waits: sessions must not fall out of the replay window because a server
/// answers before it delivers.
const OUTSTANDING_MAX: u64 = 200_000;

/// Publishes for `seconds` on every lane whose answers have all come. `next` publishes one request on a lane and answers how many deliveries it
/// will lead to. Answers how many requests there were, after the last delivery has arrived.
pub(crate) fn as_fast_as_answered(
    side: &mut Side,
    seconds: f64,
    window: u64,
    mut next: impl FnMut(&mut Side, usize) -> Result<u64>,
) -> Result<u64> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut expected = side.crowd.tally.received;
    let mut requests = 0;
    let window = window.min(OUTSTANDING_MAX);
    while Instant::now() < end {
        let outstanding = expected.saturating_sub(side.crowd.tally.received);
        if outstanding <= window {
            for lane in 0..side.publisher.lanes() {
                if side.publisher.is_idle(lane) {
                    expected += next(side, lane)?;
                    requests += 1;
                }
            }
        }
        side.turn(Duration::from_millis(100))?;
    }
    finish(side, expected)?;
    Ok(requests)
}

/// Publishes `rate` requests a second for `seconds`, each at its own time whatever became of the ones before. `next` is given the lane and the time that the
/// request was meant for; a generator or server that lags makes latencies longer, it does not hide them.
pub(crate) fn at_rate(
    side: &mut Side,
    seconds: f64,
    rate: f64,
    mut next: impl FnMut(&mut Side, usize, u64) -> Result<u64>,
) -> Result<u64> {
    let start_ns = side.now_ns();
    let count = (rate * seconds).ceil().max(1.0) as u64;
    let mut expected = side.crowd.tally.received;
    for index in 0..count {
        let due_ns = start_ns + (index as f64 / rate * 1e9) as u64;
        loop {
            let now_ns = side.now_ns();
            if now_ns >= due_ns {
                break;
            }
            side.turn(Duration::from_nanos(due_ns - now_ns))?;
        }
        let lane = index as usize % side.publisher.lanes();
        expected += next(side, lane, due_ns)?;
        if index % 16 == 15 {
            side.turn(Duration::ZERO)?;
        }
    }
    finish(side, expected)?;
    Ok(count)
}

/// Waits for the last answers and deliveries.
fn finish(side: &mut Side, expected: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while side.publisher.awaited() > 0 && Instant::now() < end {
        side.turn(Duration::from_millis(100))?;
    }
    side.settle(expected)
}
