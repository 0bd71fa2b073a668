//! What is told to the outside: logs, metrics, and the bounded sets from which metric labels come.

pub mod logs;
