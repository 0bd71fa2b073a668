//! Whole-program tests: one binary, a module for each behaviour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access_log;
mod answers;
mod attempts;
mod bodies;
mod canary;
mod ceiling;
mod check;
mod clock_jumps;
mod commands;
mod connections;
mod dashboard;
mod demo;
mod deploy;
mod diagnoses;
mod failover;
mod http2_edge;
mod http_edge;
mod layering;
mod leaving;
mod life_cycle;
mod listeners;
mod memory;
mod official_library;
mod outages;
mod overload;
mod own_listeners;
mod prometheus;
mod refusals;
mod reload;
mod resets;
mod rewriting;
mod rolling;
mod rotation;
mod routing;
mod rules;
mod shared_ceiling;
mod signing;
mod slow_connections;
mod spoilt;
mod start;
mod status_page;
mod stores;
mod supply_chain;
mod threats;
mod traces;
mod trips;
mod untrusted;
mod unusable;
mod upstream;

// What several of them share.
mod binary;
mod books;
mod browser;
mod canned_server;
mod client;
mod load;
mod process;
mod python;
mod redis_server;
#[allow(dead_code, reason = "not every test needs all of it")]
mod samples;
#[allow(dead_code, reason = "not every test needs all of it")]
mod world;
