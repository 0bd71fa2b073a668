//! What is wrong with a configuration, and where.
//!
//! A problem reads like a compiler's: `gateway.toml:12: app[1].region: found "mars", wanted one of china, …`. What was
//! found is quoted so that it can be searched for, except where the text may be a secret that stands in the wrong place.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::watch::Files;

/// One thing that is wrong with a configuration or, among the warnings, doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The configuration's file, as it was named to the program.
    pub file: Arc<Path>,
    /// Where the value stands.
    pub place: Place,
    /// The key's path, such as `app[1].region`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub fault: Fault,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file, or missing from it.
    File,
    /// On this line of the file, counted from 1.
    Line(usize),
    /// In this environment variable, which overrides the file.
    Variable(Arc<str>),
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file is no TOML, or cannot be read at all.
    #[error("{0}")]
    NoToml(String),
    /// No key of this name exists here.
    #[error("unknown key{}", nearest.as_ref().map(|key| format!(", did you mean {key}?")).unwrap_or_default())]
    UnknownKey {
        /// The path of the known key that is nearest.
        nearest: Option<String>,
    },
    /// The key must be there and is not.
    #[error("missing, wanted {wanted}")]
    Missing {
        /// What should be there.
        wanted: String,
    },
    /// The value is of another kind, out of bounds, or in contradiction with another one.
    #[error("found {found}, wanted {wanted}")]
    Found {
        /// What is there.
        found: String,
        /// What should be there.
        wanted: String,
    },
    /// Anything else, as a sentence without its full stop.
    #[error("{0}")]
    Remark(String),
}

impl Fault {
    /// The value `found` is not what is `wanted`.
    pub(super) fn found(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::Found { found: found.into(), wanted: wanted.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File => write!(f, "{}: ", self.file.display())?,
            Place::Line(line) => write!(f, "{}:{line}: ", self.file.display())?,
            Place::Variable(name) => write!(f, "{}: ", quote_odd(name))?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.fault.fmt(f)
    }
}

/// Every problem of one configuration, in the order of its lines; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    pub(super) list: Vec<Problem>,
    pub(super) files: Files,
}

impl Problems {
    /// The problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// The files that were read, or should have been.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Quotes a name, of a key or a variable, unless it is one that TOML takes as it stands: a line must stay one line,
/// whoever chose the names in it.
pub(super) fn quote_odd(name: &str) -> Cow<'_, str> {
    let bare =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare && !may_be_key(name) { name.into() } else { quote(name).into() }
}

/// Quotes a value that was found, cut to a readable length. A text that may be a secret key in the wrong place, or a
/// URL with a password, is not shown.
pub(super) fn quote(text: &str) -> String {
    if may_be_key(text) {
        return "a text that may be a secret key (not shown)".into();
    }
    if text.contains("://") && text.contains('@') {
        return "a URL with a user in it (not shown)".into();
    }
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// Quotes the path of a file with a password or a token, which was written as this text. One that may be the password
/// itself, in the place of its file, is not shown: a password has no form by which it is known, so what is shown must read
/// like a path.
pub(super) fn quote_secret_file(written: &Path, path: &Path) -> String {
    let text = written.to_string_lossy();
    let is_mixed = |run: &str| {
        let has = |is: fn(&u8) -> bool| run.bytes().any(|b| is(&b));
        has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit)
    };
    let mut runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    if !text.contains(['/', '.']) || runs.any(|run| run.len() >= LONGEST_MIXED && is_mixed(run)) {
        return "a text that may be a password (not shown)".into();
    }
    quote(&path.to_string_lossy())
}

/// Quotes the name of an environment variable with a password. One that is not written as such names are may be the
/// password itself, and is not shown.
pub(super) fn quote_secret_variable(name: &str) -> String {
    if name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
        return quote(name);
    }
    "a text that may be a password (not shown)".into()
}

/// Whether a run of letters and digits as long as a key's stands in the text. Tencent's keys have 64 characters.
pub(super) fn may_be_key(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| run.len() >= 48)
}

/// A run of large and small letters and digits in a path that is no word: a password is longer, or easily guessed.
const LONGEST_MIXED: usize = 12;
/// In characters.
const LONGEST_QUOTE: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(place: Place, key: &str, fault: Fault) -> String {
        Problem { file: Path::new("gateway.toml").into(), place, key: key.into(), fault }.to_string()
    }

    #[test]
    fn a_password_in_the_place_of_its_file_or_variable_is_not_shown() {
        let file = |text: &str| quote_secret_file(Path::new(text), Path::new(text));
        for password in ["hunter2", "FAKEstoreT7rLq2XmWzKb9", "FAKE/T7rLq2XmWzKb9VsYjNd4+w=="] {
            assert_eq!(file(password), "a text that may be a password (not shown)");
            assert_eq!(quote_secret_variable(password), "a text that may be a password (not shown)");
        }
        for path in ["admin.token", "/run/secrets/redis-7f9c4b5d6c/password", "secrets/Redis2.txt"] {
            assert_eq!(file(path), format!("{path:?}"));
        }
        assert_eq!(quote_secret_variable("REDIS_PASSWORD_2"), "\"REDIS_PASSWORD_2\"");
    }

    #[test]
    fn a_problem_names_its_place() {
        let found = Fault::found("\"mars\"", "one of china, singapore");
        assert_eq!(
            problem(Place::Line(12), "app[1].region", found.clone()),
            "gateway.toml:12: app[1].region: found \"mars\", wanted one of china, singapore"
        );
        assert_eq!(
            problem(Place::Variable("USERSIG_GATEWAY__X".into()), "x", found),
            "USERSIG_GATEWAY__X: x: found \"mars\", wanted one of china, singapore"
        );
        let odd = Place::Variable("USERSIG_GATEWAY__A\n2026 forged".into());
        assert_eq!(
            problem(odd, "x", Fault::NoToml("empty".into())),
            r#""USERSIG_GATEWAY__A\n2026 forged": x: empty"#
        );
        assert_eq!(problem(Place::File, "", Fault::NoToml("empty".into())), "gateway.toml: empty");
        assert_eq!(
            problem(Place::Line(1), "a", Fault::UnknownKey { nearest: Some("b".into()) }),
            "gateway.toml:1: a: unknown key, did you mean b?"
        );
    }

    #[test]
    fn what_may_be_secret_is_not_quoted() {
        let key = "0123456789abcdef".repeat(4);
        for text in [key.clone(), format!("secrets/{key}"), "http://user:word@host".into()] {
            assert!(quote(&text).ends_with("(not shown)"), "{text}");
        }
        assert_eq!(quote("secrets/live.key"), "\"secrets/live.key\"");
        assert_eq!(quote("a\n"), "\"a\\n\"");
        assert_eq!(quote(&"é ".repeat(50)), format!("\"{}\"…", "é ".repeat(40)));
    }
}
