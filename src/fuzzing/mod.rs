//! What the fuzz targets under `tests/fuzz` run: for each a function that takes any bytes, gives them to a part of the
//! gateway that reads what others write, and holds the result against a second, plainer reading of the same bytes. It
//! panics where the two differ or a promise is broken.
//!
//! The module exists for fuzzing (`--cfg fuzzing`, which cargo-fuzz sets) and for tests only. So targets reach what is
//! private to the crate, and no build that anybody runs holds any of it. Tests run each target's corpus.

pub mod answer;
pub mod call_target;
pub mod caller_headers;
pub mod configuration;
pub mod http1_answer;
pub mod usersig;

/// Runs a target on one input.
pub type Run = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Run); 6] = [
    ("answer", answer::run),
    ("call_target", call_target::run),
    ("caller_headers", caller_headers::run),
    ("configuration", configuration::run),
    ("http1_answer", http1_answer::run),
    ("usersig", usersig::run),
];

#[cfg(test)]
mod tests;
