//! See `src/fuzzing/call_target.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usersig_gateway::fuzzing::call_target::run(data));
