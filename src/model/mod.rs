//! The words of this program, without I/O: what an app, an API, a ceiling, a region, an endpoint, an ErrorCode and a
//! secret are.
//!
//! Each is a checked type: whoever holds one need not check again.

pub mod api;
pub mod app;
pub mod call_outcome;
pub mod ceiling;
pub mod collector;
pub mod duration;
pub mod endpoint;
pub mod error_code;
pub mod hash_map;
pub mod network;
pub mod region;
pub mod secret;
pub mod size;
