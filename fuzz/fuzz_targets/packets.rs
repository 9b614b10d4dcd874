//! `cargo +nightly fuzz run --features libfuzzer packets`; the property is [`fuzz::packets`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::packets(input));
