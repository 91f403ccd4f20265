#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vbc_proxy::fuzz::response_head(data));
