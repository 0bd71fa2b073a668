//! What is told to the outside: logs, metrics, and the bounded sets from which metric labels come.
//!
//! Steps of the gateway hold counters of [`metrics`] and count into them, or say one [`events`] word that is logged and
//! counted together. Nothing here reads what a caller sent: values come in as checked types or pass a
//! [`labels::Bounded`] set.

pub mod events;
pub mod labels;
pub mod last_errors;
pub mod logs;
pub mod metrics;
pub mod traces;
