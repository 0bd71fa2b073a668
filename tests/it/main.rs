//! Whole-program tests: one binary, a module for each behaviour.

mod check;
mod commands;
mod layering;
mod prometheus;
