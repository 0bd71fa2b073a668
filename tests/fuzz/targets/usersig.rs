//! See `src/fuzzing/usersig.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usersig_gateway::fuzzing::usersig::run(data));
