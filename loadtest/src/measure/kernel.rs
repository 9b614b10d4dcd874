//! Kernel memory that sockets hold, estimated for the whole machine: run nothing else that opens connections.

use std::fs;

/// Slab caches whose objects exist for sockets and for waiting on them.
const CACHES: [&str; 8] = [
    "TCP",
    "sock_inode_cache",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
    "tcp_bind_bucket",
    "skbuff_head_cache",
    "skbuff_small_head",
];

/// Bytes held for TCP sockets: the buffers that /proc/net/sockstat counts, and the objects in /proc/slabinfo where it may be read (root).
pub(crate) fn socket_bytes() -> u64 {
    buffers(&fs::read_to_string("/proc/net/sockstat").unwrap_or_default())
        + objects(&fs::read_to_string("/proc/slabinfo").unwrap_or_default())
}

fn buffers(sockstat: &str) -> u64 {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages: u64 = line
        .split_whitespace()
        .skip_while(|&word| word != "mem")
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

fn objects(slabinfo: &str) -> u64 {
    let lines = slabinfo.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let active: u64 = fields.next()?.parse().ok()?;
        let size: u64 = fields.nth(1)?.parse().ok()?;
        CACHES.contains(&name).then_some(active * size)
    });
    lines.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read_by_their_columns() {
        let sockstat = "sockets: used 14\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 155\nUDP: inuse 0 mem 9\n";
        assert_eq!(buffers(sockstat), 155 * rustix::param::page_size() as u64);
        let slabinfo = "# name <active_objs> <num_objs> <objsize>\nTCP 10 20 2432 13 8\nfilp 100 110 256 1 1\ndentry 5 5 192 1 1\n";
        assert_eq!(objects(slabinfo), 10 * 2432 + 100 * 256);
    }
}
