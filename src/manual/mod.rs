//! The manual: chapters without code, on what was decided and why.
//!
//! - [`decisions`]: choices that shape the whole, five lines each.
//! - [`shared_ceiling`]: one ceiling for several gateways, and why it holds.
//! - [`threats`]: what is protected, from whom, where each threat is stopped, and which test shows it.

pub mod decisions;
pub mod shared_ceiling;
pub mod threats;
