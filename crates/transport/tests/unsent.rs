//! What clients that stop reading cost, counted in every byte that the program asks for. Alone in
//! its process, because the counter is the process's.

#![allow(clippy::print_stdout, reason = "the figures are worth more than that they are small enough")]

use std::sync::Arc;

use events::Store as _;
use rig::{Rig, draft, ms, sse};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use transport::UnsentBytes;

mod rig;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Readers that stop reading before a burst. The bound scales with their number: the ample amount,
/// and for each of them one event or one small batch.
#[tokio::test]
async fn readers_that_stop_reading_do_not_hold_a_full_batch_each() {
    const READERS: usize = 1000;
    const EVENT_BYTES: usize = 10_000;
    /// What a blocked session costs beside its batch, the pipe of this test included.
    const OTHER_BYTES: usize = 5_000;
    let ample = 4 << 20;
    let mut rig = Rig::new();
    let application = Arc::get_mut(&mut rig.application).expect("nobody else has it yet");
    application.unsent = Arc::new(UnsentBytes::new(ample));
    rig.pipe = 4096;
    let data = "x".repeat(EVENT_BYTES - 100);
    // The log's own memory is full before the measurement begins.
    for _ in 0..300 {
        rig.publish("all", &data).await;
    }
    let clients: Vec<_> = (0..READERS).map(|_| rig.start(sse())).collect();
    // Each has its `hello` and the batch after it, and room for a part of the next one.
    tokio::time::sleep(ms(800)).await;
    let region = Region::new(ALLOCATOR);
    let burst = rig.store.append(vec![draft("all", &data); 100]).await;
    assert!(burst.iter().all(Result::is_ok));
    tokio::time::sleep(ms(500)).await;
    drop(std::mem::take(&mut *rig.application.sent.lock()));
    let change = region.change();
    let bytes = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    let unsent = rig.application.unsent.bytes();
    println!("{READERS} blocked readers: {bytes} bytes, {unsent} of them unsent");
    assert!(unsent > ample, "they are blocked: {unsent}");
    let most = ample + READERS * (EVENT_BYTES + OTHER_BYTES);
    assert!(bytes <= most, "{bytes}, at most {most}");
    drop(clients);
    for _ in 0..200 {
        tokio::time::sleep(ms(50)).await;
        if rig.application.unsent.bytes() == 0 {
            return;
        }
    }
    panic!("{} bytes are still counted", rig.application.unsent.bytes());
}
