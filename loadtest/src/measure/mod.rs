//! What is measured: CPU time and memory of processes, kernel memory of sockets, latencies, the machine itself.

pub(crate) mod histogram;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod process;
