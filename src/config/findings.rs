//! What is found wrong or doubtful while a configuration is read, and which key an unknown one was meant to be.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::problem::{Fault, Place, Problem, Problems, quote_odd};
use super::watch::Files;
use crate::model::api::edit_distance;

/// Where a value stands: the path of its key, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) key: String,
    pub(super) place: Place,
}

// === impl Spot ===

/// The key's path, with its place where the path alone does not tell: `app[0].name (line 12)`.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        match &self.place {
            Place::File => Ok(()),
            Place::Line(line) => write!(f, " (line {line})"),
            Place::Variable(name) => write!(f, " ({})", quote_odd(name)),
        }
    }
}

/// What was found wrong or doubtful so far.
pub(super) struct Findings {
    file: Arc<Path>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    files: Files,
    /// The paths of every key that was asked for.
    known: BTreeSet<String>,
    unknown: Vec<UnknownKey>,
}

struct UnknownKey {
    parent: String,
    key: String,
    place: Place,
}

// === impl Findings ===

impl Findings {
    pub(super) fn new(file: &Path) -> Self {
        let (problems, warnings, files, unknown) = Default::default();
        Self { file: file.into(), problems, warnings, files, known: BTreeSet::new(), unknown }
    }

    /// Notes a problem: the configuration will not be used.
    pub(super) fn problem(&mut self, spot: &Spot, fault: Fault) {
        let problem = self.note(spot, fault);
        self.problems.push(problem);
    }

    /// Notes a doubt.
    pub(super) fn warning(&mut self, spot: &Spot, text: String) {
        let warning = self.note(spot, Fault::Remark(text));
        self.warnings.push(warning);
    }

    /// Notes that a file is about to be read.
    pub(super) fn reads(&mut self, path: &Path) {
        self.files.note(path);
    }

    /// The text cannot be understood at all.
    pub(super) fn no_toml(self, place: Place, fault: Fault) -> Problems {
        let problem = self.note(&Spot { key: String::new(), place }, fault);
        Problems { list: vec![problem], files: self.files }
    }

    /// Notes that a key of this path exists.
    pub(super) fn known(&mut self, path: &str) {
        self.known.insert(path.to_owned());
    }

    /// Notes a key that does not exist in the table at `parent`. What was meant is found once all keys are known.
    pub(super) fn unknown(&mut self, parent: &str, key: &str, place: &Place) {
        self.unknown.push(UnknownKey {
            parent: parent.to_owned(),
            key: key.to_owned(),
            place: place.clone(),
        });
    }

    /// The warnings, or every problem, in the order of lines, and which files were read.
    pub(super) fn finish(mut self) -> Result<(Vec<Problem>, Files), Problems> {
        for unknown in std::mem::take(&mut self.unknown) {
            let nearest = nearest(&unknown, &self.known);
            let spot = Spot { key: join(&unknown.parent, &unknown.key), place: unknown.place };
            self.problem(&spot, Fault::UnknownKey { nearest });
        }
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
        self.warnings.sort_by(|a, b| a.place.cmp(&b.place));
        if self.problems.is_empty() {
            Ok((self.warnings, self.files))
        } else {
            Err(Problems { list: self.problems, files: self.files })
        }
    }

    fn note(&self, spot: &Spot, fault: Fault) -> Problem {
        Problem { file: Arc::clone(&self.file), place: spot.place.clone(), key: spot.key.clone(), fault }
    }
}

/// The key that was probably meant: one of the same table that is written alike, else one of the same name in another
/// table, since a key easily ends up below the wrong header.
fn nearest(unknown: &UnknownKey, known: &BTreeSet<String>) -> Option<String> {
    let leaf = |path: &String| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let alike = known
        .iter()
        .filter(|path| join(&unknown.parent, &leaf(path)) == **path)
        .map(|path| (edit_distance(&leaf(path), &unknown.key), path))
        .min()
        .filter(|&(distance, _)| distance <= unknown.key.chars().count().div_ceil(2).min(3))
        .map(|(_, path)| path);
    alike.or_else(|| known.iter().find(|path| leaf(path) == unknown.key)).cloned()
}

/// The path of a key in a table. A key that TOML would quote is quoted, and one that may be a secret is not shown.
pub(super) fn join(parent: &str, key: &str) -> String {
    let key = quote_odd(key);
    if parent.is_empty() { key.into_owned() } else { format!("{parent}.{key}") }
}
