//! Whole-program tests: one binary, a module for each behaviour.

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
mod samples;
mod world;
