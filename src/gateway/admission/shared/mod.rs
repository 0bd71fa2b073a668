//! Ceilings that several replicas share, through a store.
//!
//! Tokens of a shared ceiling are at home in the store. A replica borrows some for a fraction of a second and gives
//! turns with them as if they were its own; what becomes of each it reports a little later. So a turn costs no round trip
//! while there is room. The chapter [`shared_ceiling`](crate::manual::shared_ceiling) has the rules and why no second
//! sees more than the ceiling, whatever fails.
//!
//! - [`protocol`]: what is said. `lend.lua` and `meet.lua` are how the store understands it, [`client`] how it gets there,
//!   and [`connect`] how to find the server, which [`address`] says.
//! - [`calibration`]: what time is it at the store?
//! - [`contact`]: how does this replica stand with it, and what may it do?
//! - [`lease`]: what is on loan of one ceiling? [`part`]: what may be sent of it without the store?
//! - [`replica`]: the task that keeps in touch.

mod address;
mod calibration;
mod client;
mod connect;
mod contact;
mod encode;
mod lease;
mod part;
mod protocol;
mod replica;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
pub(super) mod tests;

pub use address::{RedisAddress, RedisHost, RedisLogin, RedisPlace};
pub use client::Redis;
pub use contact::StoreMode;
pub(super) use contact::{Open, Standing};
pub(super) use lease::{Backing, Leases};
pub(super) use protocol::Wish;
pub use protocol::{Answer, Lend, Lent, Meet, Met, Probe, Store, StoreError, Terms};
pub(super) use replica::Spoken;
pub use replica::{Replica, StoreReading};
