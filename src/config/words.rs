//! Single values: how each word of the file becomes a checked type, and what is wanted where it does not.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::document::Value;
use super::reader::Scalar;
use crate::gateway::HttpStatus;
use crate::gateway::admission::{ColdStart, Guarantee, Mode};
use crate::gateway::caller::RuleName;
use crate::gateway::policy::{ApiPattern, BadApiPattern};
use crate::model::app::{AppName, Identifier, SdkAppId};
use crate::model::ceiling::Ceiling;
use crate::model::collector::Collector;
use crate::model::endpoint::{BadEndpoint, Endpoint};
use crate::model::network::{BadNetwork, Network};
use crate::model::region::Region;
use crate::model::{duration, size};
use crate::net::client::EgressProxy;
use crate::net::listener::ListenAddress;
use crate::net::tls::TlsName;
use crate::telemetry::logs::{Format, Level};

/// A count that has a bound to keep: 1 to 1,000,000.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

/// A count that may have a bound to keep: 0 to 1,000,000, 0 for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountOrNone(pub(super) Option<NonZeroUsize>);

/// Worker threads: 0 to 1024, 0 for as many as cores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workers(pub(super) usize);

/// The longest request head. hyper's HTTP/1 reader panics below 8 KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadBytes(pub(super) usize);

/// The longest body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyBytes(pub(super) usize);

/// Memory for bodies.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferBytes(pub(super) usize);

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeout(pub(super) Duration);

/// A number from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(pub(super) f64);

/// A number above 0 and at most 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headroom(pub(super) f64);

/// The share of calls that get an access line.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccessShare(pub(super) f64);

/// How often a call is repeated, API by API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Never,
    Safe,
}

/// An API's ceiling as one writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CeilingText {
    Off,
    /// All of these at once; 1 to 4.
    Periods(Vec<Ceiling>),
}

// === Texts ===

impl Scalar for String {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_text().map(str::to_owned).ok_or_else(|| "a text".into())
    }
}

impl Scalar for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        let path = value.as_text().filter(|path| !path.is_empty() && !path.contains('\0'));
        path.map(Self::from).ok_or_else(|| "a path".into())
    }
}

impl Scalar for AppName {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value, "1 to 64 characters of a-z A-Z 0-9 . _ -, not starting with a dot")
    }
}

impl Scalar for Identifier {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value, "a userid of 1 to 32 bytes without control characters, such as \"administrator\"")
    }
}

impl Scalar for ListenAddress {
    fn read(value: &Value) -> Result<Self, String> {
        let wanted = "IP:PORT, [IPv6]:PORT or unix:PATH";
        match parsed(value, wanted)? {
            Self::Unix(path) if path.as_os_str().as_encoded_bytes().contains(&0) => Err(wanted.into()),
            address => Ok(address),
        }
    }
}

impl Scalar for Endpoint {
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_text().unwrap_or_default();
        text.parse().map_err(|error| match error {
            BadEndpoint::NotAnOrigin => {
                "https://HOST or https://HOST:PORT, without path, query or user".into()
            }
            BadEndpoint::PlainBeyondLoopback => {
                "https, since http is allowed to loopback only: a UserSig must not cross a network in clear"
                    .into()
            }
        })
    }
}

/// `""` is none.
impl Scalar for Option<EgressProxy> {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_text() {
            Some("") => Ok(None),
            _ => parsed(value, "http://HOST:PORT, without path, query or user").map(Some),
        }
    }
}

/// `""` is none.
impl Scalar for Option<Collector> {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_text() {
            Some("") => Ok(None),
            _ => parsed(value, "a URL such as \"http://HOST:4318\", without query or user").map(Some),
        }
    }
}

impl Scalar for HeaderName {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value, "the name of an HTTP header, such as \"x-caller\"")
    }
}

impl Scalar for RuleName {
    fn read(value: &Value) -> Result<Self, String> {
        parsed(value, "a name of 1 to 64 visible ASCII characters")
    }
}

impl Scalar for Network {
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_text().unwrap_or_default();
        text.parse().map_err(|error| match error {
            BadNetwork::Form => {
                "ADDRESS/LENGTH, such as \"10.2.0.0/16\" or \"fd00::/8\", or a single address".into()
            }
            BadNetwork::BitsBehind(network) => {
                format!("\"{network}\", which is the network around this address, or a greater length")
            }
        })
    }
}

impl Scalar for TlsName {
    fn read(value: &Value) -> Result<Self, String> {
        let wanted =
            "a whole DNS name such as \"gifts.example\", or a URI such as \"spiffe://example/gifts\"";
        parsed(value, wanted)
    }
}

impl Scalar for ApiPattern {
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_text().unwrap_or_default();
        text.parse().map_err(|error| match error {
            BadApiPattern::Form => "service/command, or v1/service/command for the old Call family, each of \
                 A-Z a-z 0-9 _ - and * for any characters; or \"*\" for every API"
                .into(),
            BadApiPattern::NoService(family) => {
                format!("a service before the slash; the whole family is \"{family}/*/*\"")
            }
        })
    }
}

// === Keywords ===

impl Scalar for Region {
    fn read(value: &Value) -> Result<Self, String> {
        let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
        parsed(value, &format!("one of {}", names.join(", ")))
    }
}

impl Scalar for Format {
    fn read(value: &Value) -> Result<Self, String> {
        keyword(value, &[("auto", Self::Auto), ("json", Self::Json), ("text", Self::Text)])
    }
}

impl Scalar for Level {
    fn read(value: &Value) -> Result<Self, String> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        let names = ["error", "warn", "info", "debug", "trace"];
        keyword(value, &std::array::from_fn::<_, 5, _>(|at| (names[at], levels[at])))
    }
}

impl Scalar for Mode {
    fn read(value: &Value) -> Result<Self, String> {
        keyword(value, &[("enforce", Self::Enforce), ("shadow", Self::Shadow), ("off", Self::Off)])
    }
}

impl Scalar for ColdStart {
    fn read(value: &Value) -> Result<Self, String> {
        keyword(value, &[("paced", Self::Paced), ("wait", Self::Wait)])
    }
}

impl Scalar for Guarantee {
    fn read(value: &Value) -> Result<Self, String> {
        keyword(value, &[("arrival", Self::Arrival), ("dispatch", Self::Dispatch)])
    }
}

impl Scalar for HttpStatus {
    fn read(value: &Value) -> Result<Self, String> {
        keyword(value, &[("semantic", Self::Semantic), ("always-200", Self::Always200)])
    }
}

impl Scalar for Repeat {
    fn read(value: &Value) -> Result<Self, String> {
        keyword(value, &[("never", Self::Never), ("safe", Self::Safe)])
    }
}

impl Scalar for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_boolean().ok_or_else(|| "true or false".into())
    }
}

// === Numbers ===

impl Scalar for u32 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        number.ok_or_else(|| "a whole number from 0 to 4294967295".into())
    }
}

impl Scalar for NonZeroU32 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok()).and_then(Self::new);
        number.ok_or_else(|| "a whole number of at least 1".into())
    }
}

impl Scalar for SdkAppId {
    fn read(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let id = number.and_then(|number| Self::try_from(number).ok());
        id.ok_or_else(|| "a whole number from 1 to 4294967295, without quotes".into())
    }
}

impl Scalar for Count {
    fn read(value: &Value) -> Result<Self, String> {
        bounded(value, 1, 1_000_000).map(Self)
    }
}

impl Scalar for CountOrNone {
    fn read(value: &Value) -> Result<Self, String> {
        bounded(value, 0, 1_000_000).map(|count| Self(NonZeroUsize::new(count)))
    }
}

impl Scalar for Workers {
    fn read(value: &Value) -> Result<Self, String> {
        bounded(value, 0, 1024).map(Self)
    }
}

impl Scalar for Share {
    fn read(value: &Value) -> Result<Self, String> {
        let share = value.as_number().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| "a number from 0 to 1".into())
    }
}

impl Scalar for Headroom {
    fn read(value: &Value) -> Result<Self, String> {
        let share = value.as_number().filter(|&share| share > 0.0 && share <= 1.0);
        share.map(Self).ok_or_else(|| "a number above 0 and at most 1".into())
    }
}

impl Scalar for AccessShare {
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_text() {
            Some("on") => Ok(Self(1.0)),
            Some("off") => Ok(Self(0.0)),
            _ => match Share::read(value) {
                Ok(Share(share)) => Ok(Self(share)),
                Err(_) => Err("\"on\", \"off\" or a share from 0 to 1 such as 0.01".into()),
            },
        }
    }
}

impl Scalar for CeilingText {
    fn read(value: &Value) -> Result<Self, String> {
        let wanted = "calls a second (at least 1), \"off\", { limit = N, per = \"1s\" } with a period of \"10ms\" to \
                      \"31d\", or a list of up to 4 such tables";
        let ceilings = match value {
            Value::List(nodes) if (1..=MOST_PERIODS).contains(&nodes.len()) => {
                nodes.iter().map(|node| period(&node.value)).collect()
            }
            Value::Table(_) => period(value).map(|ceiling| vec![ceiling]),
            _ if value.as_text() == Some("off") => return Ok(Self::Off),
            _ => NonZeroU32::read(value).ok().map(|limit| vec![Ceiling::per_second(limit)]),
        };
        ceilings.map(Self::Periods).ok_or_else(|| wanted.into())
    }
}

/// `{ limit = N, per = "1s" }`.
fn period(value: &Value) -> Option<Ceiling> {
    let Value::Table(table) = value else { return None };
    let limit = NonZeroU32::read(&table.get("limit")?.value).ok()?;
    let period = Duration::read(&table.get("per")?.value).ok()?;
    (table.len() == 2 && PERIODS.contains(&period)).then_some(Ceiling { limit, period })
}

const MOST_PERIODS: usize = 4;
/// Timers make nothing of shorter ones, and no page of Tencent's knows longer ones.
const PERIODS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(31 * 24 * 3600);

// === Durations and sizes ===

impl Scalar for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let duration = value.as_text().and_then(|text| duration::parse(text).ok());
        duration
            .ok_or_else(|| "a duration such as \"250ms\", \"3s\" or \"24h\" (units ms, s, m, h, d)".into())
    }
}

impl Scalar for Timeout {
    fn read(value: &Value) -> Result<Self, String> {
        match Duration::read(value)? {
            Duration::ZERO => Err("a duration above zero".into()),
            duration => Ok(Self(duration)),
        }
    }
}

impl Scalar for HeadBytes {
    fn read(value: &Value) -> Result<Self, String> {
        sized(value, 8 << 10, 1 << 20).map(Self)
    }
}

impl Scalar for BodyBytes {
    fn read(value: &Value) -> Result<Self, String> {
        sized(value, 1 << 10, 1 << 30).map(Self)
    }
}

impl Scalar for BufferBytes {
    fn read(value: &Value) -> Result<Self, String> {
        sized(value, 1 << 20, 1 << 40).map(Self)
    }
}

fn parsed<T: std::str::FromStr>(value: &Value, wanted: &str) -> Result<T, String> {
    value.as_text().and_then(|text| text.parse().ok()).ok_or_else(|| wanted.to_owned())
}

fn keyword<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|&&(word, _)| value.as_text() == Some(word));
    found.map(|&(_, meaning)| meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("one of {}", words.join(", "))
    })
}

fn bounded(value: &Value, least: usize, most: usize) -> Result<usize, String> {
    let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("a whole number from {least} to {most}"))
}

fn sized(value: &Value, least: usize, most: usize) -> Result<usize, String> {
    let bytes = value.as_text().and_then(|text| size::parse(text).ok());
    bytes.filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
        format!("a size from \"{}\" to \"{}\" such as \"64KiB\"", size::format(least), size::format(most))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn an_override_takes_the_type_of_its_key() {
        let value = |text: &str| Value::Override(text.into());
        assert_eq!(Count::read(&value("50")).unwrap().0, 50);
        assert!(bool::read(&value("true")).unwrap());
        assert_eq!(Headroom::read(&value("0.95")).unwrap().0, 0.95);
        assert_eq!(String::read(&value("7")).unwrap(), "7");
        assert!(Count::read(&value("many")).is_err());
        assert!(Count::read(&text("50")).is_err(), "in the file a number has no quotes");
    }

    #[test]
    fn shares_have_bounds() {
        assert!(Headroom::read(&Value::Float(0.0)).is_err());
        assert!(Headroom::read(&Value::Float(f64::NAN)).is_err());
        assert!(Headroom::read(&Value::Float(1.01)).is_err());
        assert_eq!(Headroom::read(&Value::Integer(1)).unwrap().0, 1.0);
        assert_eq!(AccessShare::read(&text("on")).unwrap().0, 1.0);
        assert_eq!(AccessShare::read(&Value::Override("0.01".into())).unwrap().0, 0.01);
        assert_eq!(
            AccessShare::read(&text("some")).err().unwrap(),
            "\"on\", \"off\" or a share from 0 to 1 such as 0.01"
        );
    }

    #[test]
    fn bounds_are_taken_at_their_ends() {
        assert_eq!(HeadBytes::read(&text("8KiB")).unwrap().0, 8192);
        assert!(HeadBytes::read(&text("8191B")).is_err());
        assert_eq!(HeadBytes::read(&text("1MiB")).unwrap().0, 1 << 20);
        assert!(HeadBytes::read(&text("1048577B")).is_err());
        assert!(Count::read(&Value::Integer(0)).is_err());
        assert!(Count::read(&Value::Integer(1_000_001)).is_err());
        assert!(Timeout::read(&text("0s")).is_err());
    }
}
