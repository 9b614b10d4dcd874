//! `cargo +nightly fuzz run --features libfuzzer filter`; the property is [`fuzz::filter`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::filter(input));
