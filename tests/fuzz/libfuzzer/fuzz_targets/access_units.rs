//! libFuzzer on the target `access_units`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("access_units", input));
