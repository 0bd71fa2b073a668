//! Patterns: how a rule names APIs.

use std::fmt;
use std::str::FromStr;

use crate::model::api::{ApiName, Family};

/// Names one API or several.
///
/// It is written like an API, `service/command`, or `v1/service/command` in the old Call family. A `*` in service or
/// command stands for any characters, none included, but never for a slash. `*` alone, or `*/*`, stands for every API
/// of both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiPattern {
    /// Every API.
    Every,
    /// This one.
    One(ApiName),
    /// Those of a family whose service and command match.
    Some {
        /// The family.
        family: Family,
        /// What the service must match.
        service: Glob,
        /// What the command must match.
        command: Glob,
    },
}

/// A text in which each `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// Why a text is no [`ApiPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadApiPattern {
    /// It has another form.
    #[error(
        "a pattern is written service/command, or v1/service/command for the old Call family, each of A-Z a-z 0-9 _ - \
         and * for any characters; or * for every API"
    )]
    Form,
    /// What reads like a service is the name of a family. As a service it would match nothing.
    #[error("{0} is a family and no service: write {0}/*/* for all of it")]
    NoService(&'static str),
}

/// Whether capital and small letters differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Kept,
    Ignored,
}

// === impl ApiPattern ===

impl ApiPattern {
    /// The API that it names in full, if it names one.
    #[must_use]
    pub fn named_in_full(&self) -> Option<&ApiName> {
        match self {
            Self::One(name) => Some(name),
            Self::Every | Self::Some { .. } => None,
        }
    }

    /// Whether it stands for this API.
    #[must_use]
    pub fn matches(&self, api: &ApiName) -> bool {
        self.matches_by(api, Case::Kept)
    }

    pub(super) fn matches_by(&self, api: &ApiName, case: Case) -> bool {
        match self {
            Self::Every => true,
            Self::One(name) => case.equal(name.as_str().as_bytes(), api.as_str().as_bytes()),
            Self::Some { family, service, command } => {
                *family == api.family()
                    && service.matches(api.service(), case)
                    && command.matches(api.command(), case)
            }
        }
    }
}

impl FromStr for ApiPattern {
    type Err = BadApiPattern;

    fn from_str(text: &str) -> Result<Self, BadApiPattern> {
        let parts: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
        let (family, service, command) = match parts[..] {
            ["*"] | ["*", "*"] => return Ok(Self::Every),
            ["v4", _] => return Err(BadApiPattern::NoService("v4")),
            ["v1", _] => return Err(BadApiPattern::NoService("v1")),
            [service, command] | ["v4", service, command] => (Family::V4, service, command),
            ["v1", service, command] => (Family::V1, service, command),
            _ => return Err(BadApiPattern::Form),
        };
        if !text.contains('*') {
            return ApiName::new(family, service, command).map(Self::One).map_err(|_| BadApiPattern::Form);
        }
        Ok(Self::Some { family, service: Glob::parse(service)?, command: Glob::parse(command)? })
    }
}

impl fmt::Display for ApiPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::One(name) => name.fmt(f),
            Self::Some { family: Family::V4, service, command } => write!(f, "{}/{}", service.0, command.0),
            Self::Some { family: Family::V1, service, command } => {
                write!(f, "v1/{}/{}", service.0, command.0)
            }
        }
    }
}

// === impl Glob ===

impl Glob {
    fn parse(text: &str) -> Result<Self, BadApiPattern> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'*');
        if (1..=LONGEST_GLOB).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(BadApiPattern::Form)
        }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads both from the left. After a mismatch, the last star seen takes one character more: earlier ones need not
    /// be tried again, since whatever they left over the last star can take.
    fn matches(&self, text: &str, case: Case) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut in_pattern, mut in_text) = (0, 0);
        let mut last_star = None;
        while let Some(&character) = text.get(in_text) {
            match pattern.get(in_pattern) {
                Some(b'*') => {
                    in_pattern += 1;
                    last_star = Some((in_pattern, in_text));
                }
                Some(&wanted) if case.equal(&[wanted], &[character]) => {
                    in_pattern += 1;
                    in_text += 1;
                }
                _ => {
                    let Some((behind_star, taken)) = last_star else { return false };
                    last_star = Some((behind_star, taken + 1));
                    (in_pattern, in_text) = (behind_star, taken + 1);
                }
            }
        }
        pattern[in_pattern..].iter().all(|&rest| rest == b'*')
    }
}

impl Case {
    fn equal(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Kept => one == other,
            Self::Ignored => one.eq_ignore_ascii_case(other),
        }
    }
}

/// As long as a service or command, with some stars.
const LONGEST_GLOB: usize = 80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> ApiPattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn api(text: &str) -> ApiName {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_names_one_api_or_several() {
        for (text, inside, outside) in [
            ("live_config/get_callback", "live_config/get_callback", "live_config/get_callback_token"),
            ("live_config/*", "live_config/get_callback", "live_config2/get_callback"),
            ("live_engine_http_srv/*gift*", "live_engine_http_srv/send_gift", "live_engine_http_srv/gif_t"),
            ("*/get_callback", "live_config/get_callback", "live_config/get_callback_"),
            ("live_*/g*t_*k", "live_config/get_callback", "live_config/get_callbacks"),
            ("v4/live_config/get*", "live_config/get", "live_config/set"),
            ("/v4/live_config/get", "live_config/get", "live_config/ge"),
            ("v1/callback/*", "v1/callback/set", "callback/set"),
            ("callback/*", "callback/set", "v1/callback/set"),
            ("v1/*/*", "v1/callback/set", "callback/set"),
            ("**/*_*", "a/_", "a/b"),
        ] {
            assert!(pattern(text).matches(&api(inside)), "{text} {inside}");
            assert!(!pattern(text).matches(&api(outside)), "{text} {outside}");
        }
        for every in ["*", "*/*"] {
            assert!(pattern(every).matches(&api("a/b")) && pattern(every).matches(&api("v1/a/b")), "{every}");
        }
    }

    #[test]
    fn case_differs_unless_it_is_ignored() {
        for text in ["live_config/get*", "live_config/get_callback"] {
            let shouted = api("Live_Config/GET_CALLBACK");
            assert!(!pattern(text).matches(&shouted), "{text}");
            assert!(pattern(text).matches_by(&shouted, Case::Ignored), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "/",
            "**",
            "live_config",
            "live_config/",
            "a//b",
            "a/b/c",
            "v2/*/*",
            "v4/a/b/c",
            "a/b?",
            "a/b.c",
            "a/%2a",
            "a/é",
            "a/b ",
            &format!("a/{}", "x".repeat(65)),
            &format!("a/{}", "*".repeat(81)),
        ] {
            assert_eq!(bad.parse::<ApiPattern>(), Err(BadApiPattern::Form), "{bad}");
        }
        for (text, family) in [("v1/*", "v1"), ("v4/get_callback", "v4")] {
            assert_eq!(text.parse::<ApiPattern>(), Err(BadApiPattern::NoService(family)), "{text}");
        }
    }

    #[test]
    fn only_a_name_without_a_star_is_a_name_in_full() {
        assert_eq!(pattern("live_config/get").named_in_full(), Some(&api("live_config/get")));
        for text in ["*", "live_config/get*", "*live_config/get"] {
            assert_eq!(pattern(text).named_in_full(), None, "{text}");
        }
        for text in ["*", "live_config/get", "v1/callback/*", "*_srv/get"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    /// What a star means, in the plainest words.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| plainly(rest, &text[taken..])),
            Some((first, rest)) => text.first() == Some(first) && plainly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_its_stars_can_fill(glob in "[ab*]{1,8}", text in "[ab]{1,10}") {
            let matches = Glob::parse(&glob).unwrap().matches(&text, Case::Kept);
            prop_assert_eq!(matches, plainly(glob.as_bytes(), text.as_bytes()));
        }
    }
}
