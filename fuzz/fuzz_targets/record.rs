//! See `aether_fuzz::fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aether_fuzz::fuzz::record(data));
