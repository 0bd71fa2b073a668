//! Whole-program tests: one binary, a module for each behaviour.

mod check;
mod commands;
mod layering;
mod signing;
mod world;
mod official_library;

// What several of them share.
mod binary;
mod canned_server;
