//! CPU time and memory of a server: its process and every process below it, read from /proc.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A process and its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    root: u32,
}

/// CPU time at one moment. Threads are kept apart, because a thread that ends takes its figure with it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Cpu {
    threads_ns: BTreeMap<u32, u64>,
    ticks_ns: u64,
}

/// Memory of a group in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Memory {
    /// Resident: `Rss` of smaps_rollup, shared pages counted once a process.
    pub resident: u64,
    /// What ending the group would give back: private pages, clean and dirty.
    pub private: u64,
}

impl Group {
    /// The group below `root`.
    pub(crate) fn new(root: u32) -> Self {
        Self { root }
    }

    /// The process that the others descend from.
    pub(crate) fn root(self) -> u32 {
        self.root
    }

    /// Sends a signal to every member, as far as they are still there.
    pub(crate) fn signal(self, signal: Signal) {
        for pid in self.members().into_iter().filter_map(|id| Pid::from_raw(id as i32)) {
            // A process that has ended in the meantime is what was wanted.
            let _ = kill_process(pid, signal);
        }
    }

    /// This process alone is a group too: a load generator starts its server as a child, so it must not be counted with it.
    pub(crate) fn cpu_of_self() -> Cpu {
        cpu([std::process::id()])
    }

    /// The processes of the group, the root first.
    pub(crate) fn members(&self) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if let Some(parent) = stat_fields(id).and_then(|fields| fields.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(id);
            }
        }
        let mut members = vec![self.root];
        let mut next = 0;
        while let Some(&id) = members.get(next) {
            members.extend(children.remove(&id).unwrap_or_default());
            next += 1;
        }
        members
    }

    /// CPU time used until now.
    pub(crate) fn cpu(&self) -> Cpu {
        cpu(self.members())
    }

    /// Memory held now.
    pub(crate) fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for id in self.members() {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            memory.resident += kilobytes(&rollup, "Rss:") * 1024;
            memory.private +=
                (kilobytes(&rollup, "Private_Clean:") + kilobytes(&rollup, "Private_Dirty:")) * 1024;
        }
        memory
    }
}

impl Cpu {
    /// Nanoseconds of CPU time from `earlier` to this moment: by the scheduler's own sums, which are exact, unless a thread has ended
    /// in between; then by the clock ticks of utime and stime, which count ended threads but only to 10 ms.
    pub(crate) fn since_ns(&self, earlier: &Cpu) -> u64 {
        let ended = earlier.threads_ns.keys().any(|thread| !self.threads_ns.contains_key(thread));
        if ended || self.threads_ns.is_empty() {
            return self.ticks_ns.saturating_sub(earlier.ticks_ns);
        }
        let used =
            |(thread, &now): (&u32, &u64)| now.saturating_sub(*earlier.threads_ns.get(thread).unwrap_or(&0));
        self.threads_ns.iter().map(used).sum()
    }
}

fn cpu(ids: impl IntoIterator<Item = u32>) -> Cpu {
    let mut cpu = Cpu::default();
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    for id in ids {
        let ticks = stat_fields(id).map_or(0, |fields| {
            let field =
                |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            field(11) + field(12)
        });
        cpu.ticks_ns += ticks * tick_ns;
        for entry in fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let text = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            if let Some(used) = text.split(' ').next().and_then(|field| field.parse().ok()) {
                cpu.threads_ns.insert(thread, used);
            }
        }
    }
    cpu
}

/// The fields of /proc/ID/stat after the name, which may itself hold spaces: state is 0, the parent 1, utime 11, stime 12.
fn stat_fields(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after = &text[text.rfind(')')? + 2..];
    Some(after.split(' ').map(str::to_owned).collect())
}

fn kilobytes(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_busy_thread_is_seen_and_an_idle_process_is_not() {
        let group = Group::new(std::process::id());
        let before = group.cpu();
        let start = Instant::now();
        let worker = std::thread::spawn(move || {
            while start.elapsed() < Duration::from_millis(200) {
                std::hint::black_box(0);
            }
            group.cpu()
        });
        let used = worker.join().expect("worker").since_ns(&before);
        assert!((20_000_000..2_000_000_000).contains(&used), "{used}");
        assert!(group.memory().resident >= group.memory().private);
        assert!(group.memory().private > 100_000);
    }

    #[test]
    fn a_thread_that_ended_makes_the_ticks_count() {
        let earlier = Cpu { threads_ns: [(1, 100), (2, 100)].into(), ticks_ns: 10_000_000 };
        let same = Cpu { threads_ns: [(1, 150), (2, 100), (3, 7)].into(), ticks_ns: 20_000_000 };
        let fewer = Cpu { threads_ns: [(1, 150)].into(), ticks_ns: 30_000_000 };
        assert_eq!((same.since_ns(&earlier), fewer.since_ns(&earlier)), (57, 20_000_000));
    }
}
