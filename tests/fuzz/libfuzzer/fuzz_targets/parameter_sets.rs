//! libFuzzer on the target `parameter_sets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("parameter_sets", input));
