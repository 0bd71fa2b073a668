//! Which app and API a call means.

mod apps;

pub use apps::{App, AppConflict, Apps, Endpoints};
