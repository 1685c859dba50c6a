#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| syncro_sim::fuzz::views(input));
