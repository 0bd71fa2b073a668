//! The environment: secrets, and overrides of the file's values.
//!
//! `USERSIG_GATEWAY__LISTEN__ADMIN=…` overrides `listen.admin`: the prefix, then the key's path in capitals, with two
//! underscores between its parts. Only names with two underscores after the prefix count, since Kubernetes gives every
//! pod `USERSIG_GATEWAY_SERVICE_HOST` and the like when a service has the program's name.

use std::collections::BTreeMap;
use std::fmt;

/// The environment variables, taken once so that one configuration sees one state.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process.
    ///
    /// What is no UTF-8 is kept with replacement characters: as a secret or an override it is then found wrong, not
    /// overlooked.
    #[must_use]
    pub fn of_process() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
    }

    /// The value of one variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every override: the variable's name, the path of the key that it means, and the value, in the order of names.
    pub(super) fn overrides(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.0.iter().filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX)?;
            Some((name.as_str(), path.split("__").map(key_part).collect(), value.as_str()))
        })
    }
}

/// A made-up environment, for tests.
impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Shows the names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One part of a key's path. A name that is not in capitals keeps its letters and so means no key: were both spellings
/// taken, two variables could override one key.
fn key_part(part: &str) -> String {
    if part.bytes().any(|b| b.is_ascii_lowercase()) {
        part.to_ascii_uppercase()
    } else {
        part.to_ascii_lowercase()
    }
}

const PREFIX: &str = "USERSIG_GATEWAY__";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_carry_the_prefix_with_two_underscores() {
        let environment = Environment::from_iter([
            ("USERSIG_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("USERSIG_GATEWAY__LISTEN__MAX_CONNECTIONS", "5"),
            ("USERSIG_GATEWAY__listen__admin", "x"),
            ("PATH", "/bin"),
        ]);
        let overrides: Vec<_> =
            environment.overrides().map(|(_, path, value)| (path.join("."), value)).collect();
        assert_eq!(overrides, [("listen.max_connections".into(), "5"), ("LISTEN.ADMIN".into(), "x")]);
    }

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment::from_iter([("LIVE_KEY", "FAKEKEY")]);
        assert_eq!(format!("{environment:?}"), "{\"LIVE_KEY\"}");
    }
}
