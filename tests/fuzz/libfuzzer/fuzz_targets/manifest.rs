//! libFuzzer on the target `manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("manifest", input));
