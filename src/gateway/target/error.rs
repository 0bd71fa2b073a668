//! Why a call has no target. Every text names what was found and what is expected, and quotes only a little of what
//! the caller sent, escaped.

use std::fmt;

use super::Apps;
use crate::model::app::{AppName, SdkAppId};

/// Why a call has no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The path holds what no accepted path holds. The call is bad (400).
    #[error(transparent)]
    BadPath(#[from] BadPath),
    /// The path is well-formed and leads nowhere (404).
    #[error("no path {path}; {FORMS}")]
    NoSuchPath {
        /// The path, cut short.
        path: Excerpt,
    },
    /// The app that the call names is not configured (404).
    #[error("no app {asked} is configured; there are {configured}")]
    UnknownApp {
        /// The name or SDKAppID in the call.
        asked: Excerpt,
        /// What it could have been.
        configured: AppNames,
    },
    /// The call names no app, and there is no default. The call is bad (400), not its target missing: the same path
    /// works as soon as it says which app is meant.
    #[error(
        "the call names no app and none is the default: use /apps/NAME/… or ?sdkappid=; there are {configured}"
    )]
    NoAppChosen {
        /// What it could have named.
        configured: AppNames,
    },
    /// The call contradicts itself about its app (400).
    #[error(transparent)]
    ConflictingApp(#[from] ConflictingApp),
}

impl TargetError {
    /// The same for a log, which shows nothing of a URL: a UserSig may stand in the wrong place of it.
    #[must_use]
    pub fn for_log(&self) -> String {
        match self {
            Self::NoSuchPath { path: _ } => format!("there is no such path; {FORMS}"),
            Self::UnknownApp { asked: _, configured } => {
                format!("no such app is configured; there are {configured}")
            }
            Self::ConflictingApp(ConflictingApp::NoSdkAppId { found: _ }) => {
                "the query has an sdkappid that can be none: it is a whole number from 1 to 4294967295"
                    .to_owned()
            }
            Self::BadPath(_) | Self::NoAppChosen { .. } | Self::ConflictingApp(_) => self.to_string(),
        }
    }
}

/// Which segment of a path is wrong, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} of the path {fault}; {FORMS}, each of 1 to 64 characters of A-Z a-z 0-9 _ -")]
pub struct BadPath {
    /// The segment, counted from 1.
    pub segment: usize,
    /// What is wrong with it.
    pub fault: PathFault,
}

/// What is wrong with a segment of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// There is nothing between two slashes, or after the last.
    #[error("is empty: a slash stands twice, or at the end")]
    Empty,
    /// It is longer than any service, command or app name.
    #[error("has {0} characters")]
    TooLong(usize),
    /// It holds a dot, which makes it a step up or down in some servers' eyes.
    #[error("holds a dot")]
    Dot,
    /// It is percent-encoded, which none of the permitted characters needs.
    #[error("is percent-encoded")]
    PercentEncoded,
    /// It holds another character that is not permitted.
    #[error("holds the character {0:?}")]
    Character(char),
}

/// How a call contradicts itself about its app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflictingApp {
    /// The path names one app, the query another.
    #[error("the path names the app {name} (sdkappid {sdkappid}) and the query has sdkappid {parameter}")]
    PathAndParameter {
        /// The app in the path.
        name: AppName,
        /// Its SDKAppID.
        sdkappid: SdkAppId,
        /// The SDKAppID in the query.
        parameter: SdkAppId,
    },
    /// The query gives two SDKAppIDs.
    #[error("the query has sdkappid twice, as {first} and as {second}")]
    ParameterTwice {
        /// The one that stands first.
        first: SdkAppId,
        /// The first that differs from it.
        second: SdkAppId,
    },
    /// The query gives an SDKAppID that can be none.
    #[error("the query has sdkappid {found}, and an SDKAppID is a whole number from 1 to 4294967295")]
    NoSdkAppId {
        /// What it gives, cut short.
        found: Excerpt,
    },
}

const FORMS: &str =
    "calls go to /v4/{service}/{command}, /v1/{service}/{command} or /apps/{app}/ before either";

/// The beginning of a text that a caller sent, in quotes and escaped: fit for an answer to that caller.
///
/// It is shorter than any UserSig or key, so one that stands in the wrong place is not shown whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    text: String,
    cut: bool,
}

impl Excerpt {
    /// The most characters that are kept.
    pub const MOST: usize = 60;

    /// The beginning of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut characters = text.chars();
        let text = characters.by_ref().take(Self::MOST).collect();
        Self { text, cut: characters.next().is_some() }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}{}\"", self.text.escape_default(), if self.cut { "..." } else { "" })
    }
}

/// The names of the configured apps, in order, as far as an error should list them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppNames {
    shown: Vec<AppName>,
    more: usize,
}

impl AppNames {
    /// The most names that are listed.
    pub const MOST: usize = 20;

    /// The names of `apps`.
    #[must_use]
    pub fn of(apps: &Apps) -> Self {
        let mut names = apps.all().into_iter().map(|app| &app.name);
        let shown = names.by_ref().take(Self::MOST).cloned().collect();
        Self { shown, more: names.count() }
    }
}

impl fmt::Display for AppNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown.split_first() {
            None => f.write_str("none"),
            Some((first, others)) => {
                first.fmt(f)?;
                others.iter().try_for_each(|name| write!(f, ", {name}"))?;
                if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
            }
        }
    }
}
