//! libFuzzer on the target `receiving`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("receiving", input));
