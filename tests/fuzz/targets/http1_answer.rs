//! See `src/fuzzing/http1_answer.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usersig_gateway::fuzzing::http1_answer::run(data));
