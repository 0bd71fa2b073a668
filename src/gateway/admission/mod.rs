//! Whose turn it is under Tencent's ceiling. [`Admission::admit`] gives a [`Permit`].
//!
//! Tencent allows mostly 200 calls a second for each API and app. A call comes in with a deadline. If a token of its
//! ceiling is at home and nobody waits, it leaves at once. Otherwise it waits in order, unless even its earliest
//! possible turn lies behind the deadline, or too many wait already: then it is refused immediately, with that turn.
//! What goes out is a permit, which follows the call: when its first byte was written, when its last, when the answer
//! came. From these the token's homecoming is reckoned; the proof that no second sees more than the ceiling is in
//! [`tokens`].
//!
//! A caller who hangs up while waiting leaves the queue; one who hangs up with a permit gives its token back, if
//! nothing was written yet.

mod bucket;
mod permit;
mod queue;
mod settings;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

pub use permit::{Permit, Remaining};
pub use settings::{ApiCeiling, ColdStart, Guarantee, Mode, Settings};

use bucket::{Asked, Bucket};
use tokens::{Rules, Tokens};
