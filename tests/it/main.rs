//! Whole-program tests: one binary, a module for each behaviour.

mod answers;
mod check;
mod commands;
mod layering;
mod official_library;
mod prometheus;
mod rewriting;
mod routing;
mod signing;

// What several of them share.
mod binary;
mod canned_server;
mod client;
mod samples;
mod world;
