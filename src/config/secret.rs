//! Where an app's secret keys are read: a file or an environment variable, one key a line, the newest first.
//!
//! Several keys stand there while Tencent's console changes one for the other. Nothing that is read here is ever
//! quoted, not even in part; a name that looks like a key, because it was written where a path belongs, neither.

use std::io;
use std::path::{Path, PathBuf};

use super::problem::quote;
use super::{Environment, disk};
use crate::model::secret::{BadSecretKey, SecretKey};

/// Where an app's secret keys are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// In this file.
    File(&'a Path),
    /// In this environment variable.
    Variable(&'a str),
}

/// Why an app's secret keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadSecret {
    #[error("cannot read {}: {error}", quote(&path.to_string_lossy()))]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("the environment variable {} is not set", quote(.0))]
    NotSet(String),
    #[error("{} holds no key", quote(.0))]
    Empty(String),
    #[error("{} holds more than {MOST_KEYS} keys", quote(.0))]
    TooMany(String),
    #[error("line {line} of {} is no secret key: {error}", quote(name))]
    NoKey { name: String, line: usize, error: BadSecretKey },
}

impl Source<'_> {
    /// The keys, newest first, at least one.
    pub(super) fn keys(self, environment: &Environment) -> Result<Vec<SecretKey>, BadSecret> {
        match self {
            Self::File(path) => {
                let unreadable = |error| BadSecret::Unreadable { path: path.to_owned(), error };
                let bytes = disk::read(path, LONGEST_FILE).map_err(unreadable)?;
                lines(&bytes, &path.to_string_lossy())
            }
            Self::Variable(name) => {
                let text = environment.variable(name).ok_or_else(|| BadSecret::NotSet(name.to_owned()))?;
                lines(text.as_bytes(), name)
            }
        }
    }
}

fn lines(bytes: &[u8], name: &str) -> Result<Vec<SecretKey>, BadSecret> {
    let mut keys = Vec::new();
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let no_key = |error| BadSecret::NoKey { name: name.to_owned(), line: index + 1, error };
        let line = std::str::from_utf8(line).map_err(|_| no_key(BadSecretKey::NotVisibleAscii))?;
        match SecretKey::new(line) {
            Ok(key) if keys.contains(&key) => {}
            Ok(_) if keys.len() == MOST_KEYS => return Err(BadSecret::TooMany(name.to_owned())),
            Ok(key) => keys.push(key),
            Err(BadSecretKey::Empty) => {}
            Err(error) => return Err(no_key(error)),
        }
    }
    if keys.is_empty() { Err(BadSecret::Empty(name.to_owned())) } else { Ok(keys) }
}

/// A change of keys needs two; each further one costs a call that Tencent refuses.
const MOST_KEYS: usize = 8;

/// In bytes; far more than so many keys need.
const LONGEST_FILE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(value: &str) -> Result<Vec<SecretKey>, String> {
        let environment = Environment::from_iter([("LIVE_KEY", value)]);
        Source::Variable("LIVE_KEY").keys(&environment).map_err(|error| error.to_string())
    }

    fn key(text: &str) -> SecretKey {
        SecretKey::new(text).unwrap()
    }

    #[test]
    fn one_key_a_line_newest_first() {
        assert_eq!(variable("FAKENEW\r\n\n  FAKEOLD\nFAKENEW\n"), Ok(vec![key("FAKENEW"), key("FAKEOLD")]));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "FAKENEW\nFAKEOLD\n").unwrap();
        let keys = Source::File(file.path()).keys(&Environment::default()).unwrap();
        assert_eq!(keys, [key("FAKENEW"), key("FAKEOLD")]);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_content() {
        assert_eq!(variable(" \n").unwrap_err(), "\"LIVE_KEY\" holds no key");
        assert_eq!(
            variable("FAKE\nFA KE").unwrap_err(),
            "line 2 of \"LIVE_KEY\" is no secret key: the key holds a character that is no visible ASCII character"
        );
        let error = Source::Variable("LIVE_KEY").keys(&Environment::default()).unwrap_err();
        assert_eq!(error.to_string(), "the environment variable \"LIVE_KEY\" is not set");
        let error = Source::File(Path::new("no/such.key")).keys(&Environment::default()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read \"no/such.key\": "), "{error}");
    }

    #[test]
    fn a_key_in_the_place_of_its_path_is_not_shown() {
        let key = "0123456789abcdef".repeat(4);
        let error = Source::File(Path::new(&key)).keys(&Environment::default()).unwrap_err();
        assert!(!error.to_string().contains("0123"), "{error}");
        let error = Source::Variable(&key).keys(&Environment::default()).unwrap_err();
        assert!(!error.to_string().contains("0123"), "{error}");
    }

    #[test]
    fn there_are_at_most_eight_keys() {
        let keys: Vec<String> = (0..9).map(|n| format!("FAKE{n}")).collect();
        assert_eq!(variable(&keys[..8].join("\n")).unwrap().len(), 8);
        assert_eq!(variable(&keys.join("\n")).unwrap_err(), "\"LIVE_KEY\" holds more than 8 keys");
    }
}
