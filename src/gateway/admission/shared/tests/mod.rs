//! The scripts do what the model does, in a real Redis; the store's rules hold in the model.

mod scripts;
mod server;
