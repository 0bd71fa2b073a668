//! Configuration: one door. `load(path)` gives [`settings::Settings`], or every problem at once.

pub mod settings;
