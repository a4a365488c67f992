#![no_main]

libfuzzer_sys::fuzz_target!(init: atb_fuzz_bodies::pass_guarded_panics(), |data: &[u8]| atb_fuzz_bodies::onnx(data));
