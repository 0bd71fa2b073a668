//! See `src/fuzzing/configuration.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usersig_gateway::fuzzing::configuration::run(data));
