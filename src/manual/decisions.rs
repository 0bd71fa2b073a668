//! Decisions that shape the whole: what, why, and what was turned down.
