//! libFuzzer on the target `district`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("district", input));
