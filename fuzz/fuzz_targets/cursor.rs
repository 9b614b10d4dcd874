//! `cargo +nightly fuzz run --features libfuzzer cursor`; the property is [`fuzz::cursor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::cursor(input));
