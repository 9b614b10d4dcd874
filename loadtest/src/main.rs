//! Load generator: speaks only the wire protocol.
fn main() {}
