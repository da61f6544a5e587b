//! libFuzzer on the target `configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("configuration", input));
