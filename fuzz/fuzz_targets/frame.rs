//! `cargo +nightly fuzz run --features libfuzzer frame`; the property is [`fuzz::frame`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::frame(input));
