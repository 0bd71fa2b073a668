//! Whether this caller may make this call. `allow` gives a `Grant`.
