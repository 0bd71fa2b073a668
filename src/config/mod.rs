//! Configuration: one door. [`load`] takes a TOML file and gives [`settings::Settings`] with warnings, or every problem
//! at once, each with its key's path and line.
//!
//! A text goes through four hands. `document` makes it a tree of values with their lines, over which the overrides of
//! the [`Environment`] are laid. `reader` takes typed values out of the tree, as `file` declares its keys and `words`
//! their single values. `resolve` fills in the defaults, holds values against each other and reads the files that they
//! name: keys (`secret`), certificates (`pem`). All of them tell what they find wrong and go on; only a text that is no
//! TOML stops at its first problem, since nothing that follows it could be trusted.
//!
//! ```
//! use usersig_gateway::config::{self, Environment};
//!
//! let text = r#"
//!     [[app]]
//!     name = "live"
//!     sdkappid = 20000001
//!     identifier = "administrator"
//!     secret_key_env = "LIVE_KEY"
//! "#;
//! let environment = Environment::from_iter([("LIVE_KEY", "FAKE0123456789")]);
//! let loaded = config::parse(text, "gateway.toml".as_ref(), &environment).unwrap();
//! assert_eq!(loaded.settings.live.apps.named("live").unwrap().region.unwrap().name(), "singapore");
//!
//! let problems = config::parse("[limits]\nheader_byte = '1KiB'", "gateway.toml".as_ref(), &environment).unwrap_err();
//! assert_eq!(
//!     problems.to_string(),
//!     "gateway.toml: app: missing, wanted at least one [[app]]\n\
//!      gateway.toml:2: limits.header_byte: unknown key, did you mean limits.header_bytes?"
//! );
//! ```

mod disk;
mod document;
mod environment;
mod file;
mod findings;
mod pem;
mod problem;
mod reader;
mod redis_url;
mod resolve;
mod secret;
pub mod settings;
mod watch;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;

use document::Table;
use findings::{Findings, Spot};

pub use environment::Environment;
pub use problem::{Fault, Place, Problem, Problems};
pub use settings::Settings;
pub use watch::Files;

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is allowed and probably not meant, in the order of lines.
    pub warnings: Vec<Problem>,
    /// The files that it was read from.
    pub files: Files,
}

/// Loads a configuration file. Relative paths in it start at its own folder.
///
/// # Errors
/// With every problem of the file and of the files that it names, in the order of lines.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Problems> {
    let mut findings = Findings::new(path);
    findings.reads(path);
    let bytes = match disk::read(path, LONGEST_FILE) {
        Ok(bytes) => bytes,
        Err(error) => {
            return Err(findings.no_toml(Place::File, Fault::NoToml(format!("cannot be read: {error}"))));
        }
    };
    if disk::is_world_writable(path) {
        let spot = Spot { key: String::new(), place: Place::File };
        let text = "every user of this machine may write it, and so send calls and UserSigs wherever they like: take \
                    that right away (chmod o-w)";
        findings.warning(&spot, text.to_owned());
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => read(text, path, environment, findings),
        Err(_) => Err(findings.no_toml(Place::File, Fault::NoToml("this is no TOML: not UTF-8".into()))),
    }
}

/// Does the work of [`load`] on the text of a file that need not exist; `path` names it in problems, and its folder is
/// where relative paths start.
///
/// # Errors
/// Like [`load`].
pub fn parse(text: &str, path: &Path, environment: &Environment) -> Result<Loaded, Problems> {
    read(text, path, environment, Findings::new(path))
}

fn read(
    text: &str,
    path: &Path,
    environment: &Environment,
    mut findings: Findings,
) -> Result<Loaded, Problems> {
    let mut root = match document::parse(text) {
        Ok(root) => root,
        Err((place, fault)) => return Err(findings.no_toml(place, fault)),
    };
    overlay(&mut root, environment, &mut findings);
    let file: file::File = reader::read(&root, &mut findings);
    let folder = path.parent().unwrap_or(Path::new(""));
    let settings = resolve::resolve(&file, folder, environment, &mut findings);
    let (warnings, files) = findings.finish()?;
    Ok(Loaded { settings, warnings, files })
}

fn overlay(root: &mut Table, environment: &Environment, findings: &mut Findings) {
    for (variable, path, value) in environment.overrides() {
        if let Err(fault) = document::overlay(root, &path, variable, value) {
            let key = path.iter().fold(String::new(), |parent, part| findings::join(&parent, part));
            let spot = Spot { key, place: Place::Variable(variable.into()) };
            findings.problem(&spot, fault);
        }
    }
}

/// In bytes; ten thousand apps need half of it.
const LONGEST_FILE: usize = 4 * 1024 * 1024;
