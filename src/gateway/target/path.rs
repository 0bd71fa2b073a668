//! The path of a call, in one of its four accepted forms.

use super::error::{BadPath, Excerpt, PathFault, TargetError};
use crate::model::api::{ApiName, Family};

/// A path, taken apart. Its parts are known to be well-formed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallPath<'a> {
    /// The app that it names, if it names one.
    pub(super) app: Option<&'a str>,
    /// The API that it names.
    pub(super) api: ApiPath<'a>,
}

/// An API as a path names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiPath<'a> {
    family: Family,
    service: &'a str,
    command: &'a str,
    /// From the slash before `v4` or `v1` to the end.
    url: &'a str,
}

impl<'a> CallPath<'a> {
    /// Takes `path` apart.
    pub(super) fn parse(path: &'a str) -> Result<Self, TargetError> {
        let no_such_path = || TargetError::NoSuchPath { path: Excerpt::of(path) };
        let rest = path.strip_prefix('/').filter(|rest| !rest.is_empty()).ok_or_else(no_such_path)?;
        let mut segments = [""; LONGEST_FORM];
        let mut count = 0;
        for segment in rest.split('/') {
            let names_app = count == 1 && segments[0] == "apps";
            check(segment, names_app).map_err(|fault| BadPath { segment: count + 1, fault })?;
            *segments.get_mut(count).ok_or_else(no_such_path)? = segment;
            count += 1;
        }
        let (app, family, service, command) = match segments[..count] {
            ["v4", service, command] => (None, Family::V4, service, command),
            ["v1", service, command] => (None, Family::V1, service, command),
            ["apps", app, "v4", service, command] => (Some(app), Family::V4, service, command),
            ["apps", app, "v1", service, command] => (Some(app), Family::V1, service, command),
            _ => return Err(no_such_path()),
        };
        let url = app.map_or(path, |app| &path["/apps/".len() + app.len()..]);
        Ok(Self { app, api: ApiPath { family, service, command, url } })
    }
}

/// The app that `path` seems to name, and what comes after it. Whether either is well-formed was not looked at.
pub(super) fn after_app(path: &str) -> (Option<&str>, &str) {
    let rest = path.strip_prefix("/apps/");
    match rest.and_then(|rest| rest.split_at_checked(rest.bytes().position(|byte| byte == b'/')?)) {
        Some((app, rest)) => (Some(app), rest),
        None => (None, path),
    }
}

impl<'a> ApiPath<'a> {
    /// The path under which the API is known, and to which a call of it is sent.
    pub(super) fn url(&self) -> &'a str {
        self.url
    }

    /// The API's name.
    pub(super) fn name(&self) -> ApiName {
        ApiName::new(self.family, self.service, self.command)
            .expect("service and command went through `check`, which is as narrow as an ApiName")
    }
}

/// Whether `segment` may stand in a path. The name of an app may hold dots, though not begin with one.
fn check(segment: &str, names_app: bool) -> Result<(), PathFault> {
    if segment.is_empty() {
        return Err(PathFault::Empty);
    }
    // By bytes, which is all there is to it nearly always.
    if segment.bytes().all(is_plain) {
        return if segment.len() > LONGEST_SEGMENT { Err(PathFault::TooLong(segment.len())) } else { Ok(()) };
    }
    let wrong = segment
        .char_indices()
        .find(|&(at, c)| !(u8::try_from(c).is_ok_and(is_plain) || (c == '.' && names_app && at > 0)));
    match wrong {
        Some((_, '.')) => Err(PathFault::Dot),
        Some((_, '%')) => Err(PathFault::PercentEncoded),
        Some((_, other)) => Err(PathFault::Character(other)),
        None if segment.len() > LONGEST_SEGMENT => Err(PathFault::TooLong(segment.len())),
        None => Ok(()),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// `apps/{app}/v4/{service}/{command}`.
const LONGEST_FORM: usize = 5;

/// As long as an [`ApiName`]'s parts and an app's name may be.
const LONGEST_SEGMENT: usize = 64;
