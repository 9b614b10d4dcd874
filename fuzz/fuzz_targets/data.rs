//! `cargo +nightly fuzz run --features libfuzzer data`; the property is [`fuzz::data`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::data(input));
