//! See `aether_fuzz::fuzz::json_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aether_fuzz::fuzz::json_read(data));
