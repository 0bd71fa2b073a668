//! The scripts do what the model does, in a real Redis; the store's rules hold in the model.

pub(in crate::gateway::admission) mod network;
mod once;
mod scripts;
mod server;
