//! See `aether_fuzz::fuzz::model`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aether_fuzz::fuzz::model(data));
