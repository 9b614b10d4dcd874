//! A disk in small: what it keeps of members outlives a gateway, a commit takes its time, and some
//! commits fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use events::{BoxFuture, Chance, Clock, Draft, Store, Unavailable};
use parking_lot::Mutex;

use crate::presence::{Answers, Keep, Kept, Loaded};

/// What is on the disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    kept: BTreeMap<(String, String), Kept>,
    alive_ms: u64,
}

/// The disk, as one gateway uses it.
pub(super) struct SmallDisk {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) chance: Chance,
    pub(super) clock: Clock,
}

impl Keep for SmallDisk {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>> {
        let disk = self.disk.lock();
        let kept = disk.kept.values().cloned().map(|kept| Kept { told: None, ..kept }).collect();
        Box::pin(std::future::ready(Ok(Loaded { kept, alive_ms: disk.alive_ms })))
    }

    fn tell(&self, drafts: Vec<Draft>, members: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(self.chance.below(20))).await;
            if self.chance.below(10) == 0 {
                return Err(Unavailable("the disk is full"));
            }
            let answers = self.store.append(drafts).await;
            let mut disk = self.disk.lock();
            disk.alive_ms = self.clock.unix_ms();
            for kept in members {
                let name = (kept.topic.to_string(), kept.user.to_string());
                if kept.member.is_some() {
                    disk.kept.insert(name, kept)
                } else {
                    disk.kept.remove(&name)
                };
            }
            Ok(answers)
        })
    }
}
