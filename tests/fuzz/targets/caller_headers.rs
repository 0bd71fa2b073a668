//! See `src/fuzzing/caller_headers.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usersig_gateway::fuzzing::caller_headers::run(data));
