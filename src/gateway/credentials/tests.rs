//! Proofs for the cache and its renewal.
