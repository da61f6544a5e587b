//! libFuzzer on the target `transfer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("transfer", input));
