//! The manual: chapters without code, on what was decided and why.
//!
//! - [`decisions`]: choices that shape the whole, five lines each.

pub mod decisions;
