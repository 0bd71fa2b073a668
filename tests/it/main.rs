//! Whole-program tests: one binary, a module for each behaviour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod bodies;
mod check;
mod commands;
mod layering;
mod official_library;
mod prometheus;
mod refusals;
mod rewriting;
mod routing;
mod signing;
mod unusable;

// What several of them share.
mod binary;
mod canned_server;
mod client;
#[allow(dead_code, reason = "not every test needs all of it")]
mod samples;
#[allow(dead_code, reason = "not every test needs all of it")]
mod world;
