//! How much one read may take.

/// At most so much at once. At least one event is taken, whatever the limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Events with a seq.
    pub events: usize,
    /// Bytes of JSON.
    pub bytes: usize,
}
