//! Sockets: listening, connecting, TLS, capped bodies, and stopping.

pub mod client;
pub mod listener;
pub mod stop;
pub mod tls;
