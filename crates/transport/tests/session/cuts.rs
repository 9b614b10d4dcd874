//! However a connection cuts what goes through it, frames arrive whole and the chain of cursors has
//! no hole.

use serde_json::Value;

use super::rig::{Rig, client_frame, poll, sse, ws};
use super::seqs;

/// A small generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test(start_paused = true)]
async fn frames_survive_every_cut() {
    for (seed, pipe) in [(1, 1), (2, 2), (3, 3), (4, 7), (5, 61), (6, 1000)] {
        for line in ["ws", "sse"] {
            let mut numbers = Numbers(0x9e37_79b9 * seed);
            let mut rig = Rig::new();
            rig.pipe = pipe;
            rig.resume(rig.log.tail_cursor());
            let mut client = rig.start(if line == "ws" { ws() } else { sse() });
            if line == "sse" {
                client.head().await;
            }
            let mut cursor: Option<Value> = None;
            let mut seen = 0;
            for round in 1..=20 {
                let sizes = [1, 100, 130, 5000, 66_000];
                for _ in 0..numbers.below(4) {
                    // The long ones are few: each byte may be a turn of the scheduler.
                    let size = sizes[numbers.below(if round % 10 == 0 { 5 } else { 4 }) as usize];
                    rig.publish("all", &"x".repeat(size)).await;
                }
                // A client that writes must read too; one that does one after the other needs some
                // room.
                if line == "ws" && pipe > 60 && round % 3 == 0 {
                    client.send_frame(0x89, &[round; 5]).await;
                    client.send_frame(0x81, &[b'a' + round; 3]).await;
                }
                let tail = rig.log.tail().number();
                while seen < tail {
                    let text = match line {
                        "sse" => client.batch(line).await,
                        _ => {
                            let frame = client.frame().await.unwrap();
                            let text = String::from_utf8(frame.payload).unwrap();
                            if frame.opcode != 1 || text.starts_with("reply") {
                                assert!(
                                    frame.opcode == 1 || (frame.opcode == 10 && text.len() == 5),
                                    "{text}"
                                );
                                continue;
                            }
                            text
                        }
                    };
                    let batch: Value = serde_json::from_str(&text).unwrap();
                    if let Some(cursor) = cursor.replace(batch["cursor"].clone()) {
                        assert_eq!(batch["after"], cursor);
                    }
                    for seq in seqs(&text) {
                        seen += 1;
                        assert_eq!(seq, seen);
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_frame_survives_every_cut() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    for byte in client_frame(0x81, "h\u{e9}llo \u{1f44b}".as_bytes()) {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.text().await, "reply to h\u{e9}llo \u{1f44b}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_survives_every_cut() {
    for pipe in [1, 5, 100] {
        let mut rig = Rig::new();
        rig.pipe = pipe;
        rig.resume(rig.log.tail_cursor());
        rig.publish("all", &"x".repeat(3000)).await;
        let mut client = rig.start(poll(0));
        assert_eq!(seqs(&client.answer().await.1), [1]);
        assert!(client.closed().await.reuse.is_some());
    }
}
