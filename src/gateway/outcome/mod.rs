//! What an answer says. `read` gives an `Outcome`.
