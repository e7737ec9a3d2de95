//! See `aether_fuzz::fuzz::http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aether_fuzz::fuzz::http(data));
