#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| atb_fuzz_bodies::shards(data));
