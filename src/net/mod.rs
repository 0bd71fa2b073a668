//! Sockets: listening, connecting, TLS, capped bodies, and stopping.

pub mod body;
pub mod client;
pub mod connection;
pub mod listener;
pub mod remote;
pub mod stop;
pub mod tls;
