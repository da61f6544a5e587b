//! libFuzzer on the target `downlink`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("downlink", input));
