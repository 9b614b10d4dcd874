//! `cargo +nightly fuzz run --features libfuzzer request`; the property is [`fuzz::request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::request(input));
