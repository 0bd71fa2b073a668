//! Tencent's APIs: how one is named, and the catalogue of those that are known.
//!
//! The catalogue (`api-catalogue.json`, beside this file) holds 173 paths with their ceilings and whether a repeat is
//! safe, each with the page that says so. It is parsed once, at first use.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ceiling::Ceiling;

/// Which of Tencent's two REST families an API belongs to. They have hosts and answer shapes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `v4/{service}/{command}`: Live, Chat, Conference and Call; the answer carries `ErrorCode`.
    V4,
    /// `v1/{service}/{command}`: the old Call family; the answer carries `errorCode`.
    V1,
}

impl Family {
    /// The path's first segment.
    #[must_use]
    pub fn segment(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V1 => "v1",
        }
    }
}

/// The name of one API: `live_config/get_callback`, or `v1/callback/set` in the old Call family.
///
/// Service and command are 1 to 64 characters of `A-Z a-z 0-9 _ -`, case kept: Tencent's paths are case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiName(Arc<str>);

/// Why a text is no [`ApiName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an API is named service/command, or v1/service/command in the old Call family, each of A-Z a-z 0-9 _ -"
)]
pub struct BadApiName;

impl ApiName {
    /// The name from its parts.
    ///
    /// # Errors
    /// When service or command is empty, longer than 64 characters or holds another character.
    pub fn new(family: Family, service: &str, command: &str) -> Result<Self, BadApiName> {
        if !is_segment(service) || !is_segment(command) {
            return Err(BadApiName);
        }
        let path = match family {
            Family::V4 => format!("{service}/{command}"),
            Family::V1 => format!("v1/{service}/{command}"),
        };
        Ok(Self(path.into()))
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        // By bytes: each call asks three times, and `matches` takes 420 instructions more.
        if self.0.bytes().filter(|&byte| byte == b'/').count() == 2 { Family::V1 } else { Family::V4 }
    }

    /// The name as text, without the `v4/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segment before the last.
    #[must_use]
    pub fn service(&self) -> &str {
        self.0.rsplit('/').nth(1).unwrap_or(&self.0)
    }

    /// The last segment.
    #[must_use]
    pub fn command(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path as it stands in a URL, from the slash before `v4` or `v1`.
    #[must_use]
    pub fn url_path(&self) -> String {
        match self.family() {
            Family::V4 => format!("/v4/{}", self.0),
            Family::V1 => format!("/{}", self.0),
        }
    }

    /// Whether the answer holds a secret: it then goes to its caller only, and no wildcard rule allows the call.
    #[must_use]
    pub fn answers_secret(&self) -> bool {
        // `room_config` and `call_config` have the command too, though the catalogue knows only `live_config`'s. Paths
        // are case-sensitive, but a server that thought otherwise must not answer a secret to whoever tries it.
        self.command().eq_ignore_ascii_case("get_callback_token")
            || catalogue().find(self).is_some_and(|entry| entry.answers_secret)
    }
}

/// Reads `service/command`, `v4/service/command` or `v1/service/command`, with or without a slash before it.
impl std::str::FromStr for ApiName {
    type Err = BadApiName;

    fn from_str(text: &str) -> Result<Self, BadApiName> {
        let parts: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
        match parts[..] {
            [service, command] | ["v4", service, command] => Self::new(Family::V4, service, command),
            ["v1", service, command] => Self::new(Family::V1, service, command),
            _ => Err(BadApiName),
        }
    }
}

impl fmt::Display for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiName({})", self.0)
    }
}

/// Whether `text` may stand as service or command.
#[must_use]
pub fn is_segment(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether the same call may be sent again when nobody knows how the first one ended. Our own classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatSafety {
    /// Changes nothing: may be repeated.
    Read,
    /// The same body leaves the same final state: may be repeated.
    IdempotentWrite,
    /// Never repeated on an unknown outcome. An API that is not in the catalogue counts as one.
    Write,
}

/// What is known of one API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `v4/service/command` or `v1/service/command`.
    pub path: String,
    /// Tencent's product: live, chat, conference, call.
    pub product: String,
    /// What it does, in a few words.
    pub summary: String,
    /// Calls per second and SDKAppID that Tencent's pages allow; `None` where no page states it.
    pub max_per_second: Option<u32>,
    /// A cautious guess where no page states the ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed_per_second: Option<u32>,
    /// Ceilings over other periods that hold beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_ceilings: Vec<FurtherCeiling>,
    /// Whether a repeat is safe.
    pub kind: RepeatSafety,
    /// The page that describes it.
    pub source: String,
    /// The page that states the ceiling, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_source: Option<String>,
    /// How the ceiling is known.
    pub verified_by: String,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Whether the answer holds a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answers_secret: bool,
}

/// A ceiling over another period than a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FurtherCeiling {
    /// How many calls.
    pub limit: NonZeroU32,
    /// In how many seconds.
    pub seconds: NonZeroU32,
}

impl Entry {
    /// The calls a second to keep to: the documented ceiling, else the assumed one.
    #[must_use]
    pub fn per_second(&self) -> Option<u32> {
        self.max_per_second.or(self.assumed_per_second)
    }

    /// Every ceiling to keep.
    #[must_use]
    pub fn ceilings(&self) -> Vec<Ceiling> {
        let first = self.per_second().and_then(NonZeroU32::new).map(Ceiling::per_second);
        let further = self.further_ceilings.iter().map(|further| Ceiling {
            limit: further.limit,
            period: Duration::from_secs(u64::from(further.seconds.get())),
        });
        first.into_iter().chain(further).collect()
    }
}

/// The APIs that are known.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<(ApiName, Entry)>,
    by_name: HashMap<ApiName, usize>,
}

impl Catalogue {
    /// Every API with its name, in the order of Tencent's products.
    pub fn entries(&self) -> impl Iterator<Item = (&ApiName, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name, entry))
    }

    /// What is known of `name`, if anything.
    #[must_use]
    pub fn find(&self, name: &ApiName) -> Option<&Entry> {
        self.by_name.get(name).map(|&index| &self.entries[index].1)
    }

    /// The known name nearest to a misspelt one: for "did you mean".
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&ApiName> {
        let names = self.entries.iter().map(|(known, _)| (edit_distance(known.as_str(), name), known));
        names
            .min_by_key(|&(distance, _)| distance)
            .filter(|&(distance, _)| distance <= 5)
            .map(|(_, known)| known)
    }
}

/// The catalogue that is built in.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let entries: Vec<Entry> = serde_json::from_str(include_str!("api-catalogue.json"))
            .expect("the built-in catalogue is tested");
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| (entry.path.parse().expect("the built-in catalogue's paths are tested"), entry))
            .collect();
        let by_name =
            entries.iter().enumerate().map(|(index, (name, _))| (ApiName::clone(name), index)).collect();
        Catalogue { entries, by_name }
    });
    &CATALOGUE
}

/// The Levenshtein distance, by the two-row method.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_holds_173_distinct_apis_each_with_a_ceiling() {
        let catalogue = catalogue();
        assert_eq!(catalogue.entries().count(), 173);
        assert_eq!(catalogue.by_name.len(), 173);
        for (name, entry) in catalogue.entries() {
            assert!(entry.per_second().is_some_and(|n| n > 0), "{name}");
            assert_eq!(name.url_path(), format!("/{}", entry.path));
        }
        assert_eq!(catalogue.entries().filter(|(name, _)| name.family() == Family::V1).count(), 4);
    }

    #[test]
    fn a_ceiling_may_have_several_periods() {
        let push: ApiName = "all_member_push/im_push".parse().unwrap();
        let ceilings = catalogue().find(&push).unwrap().ceilings();
        let told: Vec<_> = ceilings.iter().map(|c| (c.limit.get(), c.period.as_secs())).collect();
        assert_eq!(told, [(1, 1), (100, 24 * 3600)]);
        let several = catalogue().entries().filter(|(_, entry)| entry.ceilings().len() > 1);
        assert_eq!(several.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [push.as_str()]);
    }

    #[test]
    fn names_are_read_with_and_without_version() {
        let name: ApiName = "live_config/get_callback".parse().unwrap();
        assert_eq!("v4/live_config/get_callback".parse(), Ok(name.clone()));
        assert_eq!("/v4/live_config/get_callback".parse(), Ok(name.clone()));
        assert_eq!(
            (name.command(), name.url_path().as_str()),
            ("get_callback", "/v4/live_config/get_callback")
        );
        let old: ApiName = "v1/callback/set".parse().unwrap();
        assert_eq!(
            (old.family(), old.as_str(), old.url_path().as_str()),
            (Family::V1, "v1/callback/set", "/v1/callback/set")
        );
        assert_eq!((name.service(), old.service()), ("live_config", "callback"));
        for bad in ["", "a", "a/", "/a", "a//b", "a/b/c", "v2/a/b", "a/b.c", "a/b c", "a/b%2f", "a/é"] {
            assert_eq!(bad.parse::<ApiName>(), Err(BadApiName), "{bad}");
        }
    }

    #[test]
    fn secret_answers_are_known() {
        for name in [
            "live_config/get_callback_token",
            "room_config/get_callback_token",
            "live_config/Get_Callback_TOKEN",
        ] {
            assert!(name.parse::<ApiName>().unwrap().answers_secret());
        }
        assert!(!"live_config/get_callback".parse::<ApiName>().unwrap().answers_secret());
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let nearest = catalogue().nearest("live_config/get_calback").unwrap();
        assert_eq!(nearest.as_str(), "live_config/get_callback");
        assert!(catalogue().nearest("quite/something_else_altogether").is_none());
    }
}
