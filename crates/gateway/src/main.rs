//! The binary `gateway`.
fn main() {}
