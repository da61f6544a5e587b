//! libFuzzer on the target `mp4`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kitchen_fuzz::fuzz("mp4", input));
