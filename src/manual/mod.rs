//! The manual: chapters without code, on what was decided and why.
//!
//! - [`decisions`]: choices that shape the whole, five lines each.
//! - [`threats`]: what is protected, from whom, where each threat is stopped, and which test shows it.

pub mod decisions;
pub mod threats;
