//! The limits of a connection while it speaks HTTP.

use std::time::Duration;

/// The limits of a connection while it speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// The longest time from the first byte of a request's head to its last, and from the start of
    /// the connection to the end of its first head.
    pub head_timeout: Duration,
    /// The longest time without a request on a connection that has had one.
    pub keep_alive: Duration,
    /// The longest request head, in bytes.
    pub head_bytes_max: usize,
    /// The most header lines.
    pub headers_max: usize,
    /// How long writing may be blocked before the connection is given up.
    pub write_timeout: Duration,
}
