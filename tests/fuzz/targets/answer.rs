//! See `src/fuzzing/answer.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usersig_gateway::fuzzing::answer::run(data));
