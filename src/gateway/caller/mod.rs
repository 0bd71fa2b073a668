//! Who is calling: for accounts, fairness and rules. [`identify`] gives a [`Caller`].
//!
//! What comes in are a request's headers and what is proved of its connection: the address or the user at its other
//! end, and the names in a client certificate that was verified. From what is proved follow the rule that the caller
//! falls under, which is the first that matches, and the [`Source`] with which it shares turns. Where there are rules
//! and none matches, the caller is a stranger.
//!
//! A caller names itself in a header of configurable name; that name says whose queue inside its source and whose
//! account a call belongs to, and never gives rights, since anyone can write it. In further headers it says how urgent
//! the call is and how long it may take. None of them can make a call fail: one that is malformed counts as absent, and
//! is listed in [`Caller::ignored`] to be counted.
//!
//! Browsers are no callers. A page of anyone's could reach a gateway on loopback through its visitor's browser, so a
//! request that shows a browser's marks is recognised here and never allowed.

mod header;
mod priority;
mod rule;
mod source;
mod tie;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, header as names};

use crate::net::listener::Peer;
use crate::net::remote::Remote;

pub use header::{CallerHeader, RequestId};
pub use priority::Priority;
pub use rule::{BadRuleName, Rule, RuleName, Who};
pub use source::{Group, Source};
pub use tie::Tie;

/// How callers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The header in which a caller names itself. It never gives rights.
    pub header: HeaderName,
    /// The rules, of which the first that matches counts. Without any, everyone who reaches the listener is a caller.
    pub rules: Vec<Arc<Rule>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { header: HeaderName::from_static("x-caller"), rules: Vec::new() }
    }
}

/// The label of callers that do not name themselves and fall under no rule.
pub const NO_NAME: &str = "none";

/// Who makes a call, and what it wishes. Only [`identify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    label: Arc<str>,
    remote: Remote,
    standing: Standing,
    source: Source,
    browser: bool,
    wishes: Wishes,
    ignored: Vec<CallerHeader>,
}

/// How a caller stands to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There are no rules.
    Free,
    /// This is the first rule that matches.
    Under(Arc<Rule>),
    /// There are rules, and none matches.
    Stranger,
}

/// What a caller wishes for one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How urgent the call is among its caller's own.
    pub priority: Priority,
    /// The longest wait for a turn, if it says one.
    pub max_wait: Option<Duration>,
    /// The longest time for the whole call, if it says one.
    pub timeout: Option<Duration>,
    /// The id under which it knows the call, if it gives one.
    pub request_id: Option<RequestId>,
}

/// Finds out who makes a call. It always succeeds: whoever says nothing and falls under no rule is [`NO_NAME`].
#[must_use]
pub fn identify(headers: &HeaderMap, remote: impl Into<Remote>, settings: &Settings) -> Caller {
    let remote = remote.into();
    let standing = Standing::of(&remote, &settings.rules);
    let mut reader = header::Reader::new(headers, &settings.header);
    let name = reader.read(CallerHeader::Caller, |text| header::visible(text, MAX_LABEL));
    let wishes = Wishes {
        priority: reader.priority(),
        max_wait: reader.read(CallerHeader::MaxWait, header::duration),
        timeout: reader.read(CallerHeader::Timeout, header::duration),
        request_id: reader.read(CallerHeader::RequestId, RequestId::parse),
    };
    Caller {
        label: label(&standing, name),
        source: match &standing {
            Standing::Under(rule) => Source::of_rule(rule),
            Standing::Free | Standing::Stranger => Source::of_peer(remote.peer),
        },
        remote,
        standing,
        browser: from_browser(headers),
        wishes,
        ignored: reader.ignored(),
    }
}

/// The caller of a request that could not be read.
#[must_use]
pub fn nobody(peer: Peer) -> Caller {
    identify(&HeaderMap::new(), peer, &Settings::default())
}

/// Whether a request comes from a browser, by the headers that no page can keep its browser from sending: `Origin`
/// with every POST (Fetch standard, "append a request `Origin` header") and `Sec-Fetch-…` (W3C Fetch Metadata).
/// Node's own `fetch` is let pass, which sends `Sec-Fetch-Mode: cors` with everything: it is told by an `Accept-Language`
/// of `*`, where a browser names its languages, and by sending none of the others, which a browser cannot leave out (Fetch
/// Metadata, section 3).
///
/// To be asked before anything else is looked at: by DNS rebinding a page can read the answer too, so not even an
/// error may tell it which apps there are.
#[must_use]
pub fn from_browser(headers: &HeaderMap) -> bool {
    let is_node = || is(headers, FETCH_MODE, "cors") && is(headers, names::ACCEPT_LANGUAGE.as_str(), "*");
    let tells = |name: &str| name.starts_with("sec-fetch-") && !(name == FETCH_MODE && is_node());
    headers.keys().any(|name| name == names::ORIGIN || tells(name.as_str()))
}

const FETCH_MODE: &str = "sec-fetch-mode";

/// Whether a header stands there once, with this value.
fn is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|only| only == value) && values.next().is_none()
}

/// What a caller is called in accounts. A stranger's own word for it counts for nothing: made-up names must not use up
/// the labels that there are.
fn label(standing: &Standing, name: Option<&str>) -> Arc<str> {
    match (standing, name) {
        (Standing::Free | Standing::Under(_), Some(name)) => name.into(),
        (Standing::Under(rule), None) => Arc::clone(rule.name.shared()),
        (Standing::Free, None) | (Standing::Stranger, _) => Arc::clone(&NO_NAME_SHARED),
    }
}

// === impl Standing ===

impl Standing {
    fn of(remote: &Remote, rules: &[Arc<Rule>]) -> Self {
        match rule::first_match(rules, remote) {
            Some(rule) => Self::Under(Arc::clone(rule)),
            None if rules.is_empty() => Self::Free,
            None => Self::Stranger,
        }
    }
}

// === impl Caller ===

impl Caller {
    /// The name that the caller gave itself, 1 to 64 visible ASCII characters, else that of its rule, else
    /// [`NO_NAME`], which is every stranger's. As a metric label it needs a bound on how many there are.
    #[must_use]
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Where the connection came from.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.remote.peer
    }

    /// What is proved of the connection's other end.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// How it stands to the rules.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The rule that it falls under, if any.
    #[must_use]
    pub fn rule(&self) -> Option<&Arc<Rule>> {
        match &self.standing {
            Standing::Under(rule) => Some(rule),
            Standing::Free | Standing::Stranger => None,
        }
    }

    /// With whom it shares turns.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it is a browser, which is never allowed to call.
    #[must_use]
    pub fn is_browser(&self) -> bool {
        self.browser
    }

    /// What it wishes for this call.
    #[must_use]
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// The headers that were malformed and count as absent, each once.
    #[must_use]
    pub fn ignored(&self) -> &[CallerHeader] {
        &self.ignored
    }
}

const MAX_LABEL: usize = 64;
static NO_NAME_SHARED: LazyLock<Arc<str>> = LazyLock::new(|| NO_NAME.into());

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn caller(lines: &[(&str, &str)]) -> Caller {
        identify(&headers(lines), Peer::Uid(None), &Settings::default())
    }

    #[test]
    fn who_says_nothing_has_no_name_and_no_wishes() {
        let caller = caller(&[("content-type", "application/json")]);
        assert_eq!((&**caller.label(), caller.wishes()), (NO_NAME, &Wishes::default()));
        assert_eq!((caller.wishes().priority.urgency(), caller.peer()), (3, Peer::Uid(None)));
        assert!(caller.ignored().is_empty() && !caller.is_browser());
    }

    #[test]
    fn every_wish_is_read() {
        let caller = caller(&[
            ("X-Caller", "gifts/worker-1"),
            ("Priority", "u=1, i"),
            ("X-Gateway-Max-Wait", "250ms"),
            ("x-gateway-timeout", " 3s "),
            ("x-request-id", "0af7651916cd43dd"),
        ]);
        assert_eq!(&**caller.label(), "gifts/worker-1");
        let wishes = caller.wishes();
        assert_eq!(wishes.priority.urgency(), 1);
        assert_eq!(wishes.max_wait, Some(Duration::from_millis(250)));
        assert_eq!(wishes.timeout, Some(Duration::from_secs(3)));
        assert_eq!(wishes.request_id.as_ref().unwrap().as_str(), "0af7651916cd43dd");
        assert!(caller.ignored().is_empty());
    }

    #[test]
    fn now_or_never_needs_no_unit() {
        for zero in ["0", "0ms", "0s"] {
            assert_eq!(caller(&[("x-gateway-max-wait", zero)]).wishes().max_wait, Some(Duration::ZERO));
        }
    }

    #[test]
    fn malformed_headers_count_as_absent_and_are_listed() {
        let caller = caller(&[
            ("x-caller", &"c".repeat(65)),
            ("priority", "u=8"),
            ("x-gateway-max-wait", "250"),
            ("x-gateway-timeout", "soon"),
            ("x-request-id", "two words"),
        ]);
        assert_eq!((&**caller.label(), caller.wishes()), (NO_NAME, &Wishes::default()));
        use CallerHeader::{Caller, MaxWait, Priority, RequestId, Timeout};
        assert_eq!(caller.ignored(), [Caller, Priority, MaxWait, Timeout, RequestId]);
    }

    #[test]
    fn names_and_ids_are_visible_ascii_of_bounded_length() {
        let label = |text: &str| caller(&[("x-caller", text)]).label().to_string();
        assert_eq!(label(&"c".repeat(64)), "c".repeat(64));
        for bad in ["", "a b", "a\tb", "é"] {
            assert_eq!(label(bad), NO_NAME, "{bad:?}");
        }
        let id = |text: &str| caller(&[("x-request-id", text)]).wishes().request_id.is_some();
        assert!(id("!") && id(&"~".repeat(128)));
        assert!(!id("") && !id(&"~".repeat(129)) && !id("ü"));
    }

    #[test]
    fn a_header_that_stands_twice_says_nothing() {
        let caller = caller(&[("x-caller", "a"), ("x-caller", "b"), ("x-gateway-timeout", "1s")]);
        assert_eq!((&**caller.label(), caller.ignored()), (NO_NAME, &[CallerHeader::Caller][..]));
        assert_eq!(caller.wishes().timeout, Some(Duration::from_secs(1)));
    }

    #[test]
    fn the_name_of_the_header_is_configurable() {
        let settings = Settings { header: HeaderName::from_static("x-service"), ..Settings::default() };
        let headers = headers(&[("x-service", "gifts"), ("x-caller", "other")]);
        assert_eq!(&**identify(&headers, Peer::Uid(None), &settings).label(), "gifts");
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_its_name_stands_in() {
        let rule = |name: &str, network: &str| {
            let who = Who { networks: vec![network.parse().unwrap()], ..Who::default() };
            let max_per_second = NonZeroU32::new(50);
            Arc::new(Rule { name: name.parse().unwrap(), who, weight: NonZeroU32::MIN, max_per_second })
        };
        let rules = vec![rule("gifts", "10.2.0.0/16"), rule("all", "10.0.0.0/8")];
        let settings = Settings { rules, ..Settings::default() };
        let from = |address: &str, lines: &[(&str, &str)]| {
            identify(&headers(lines), Peer::Ip(address.parse().unwrap()), &settings)
        };
        for (address, name) in [("10.2.0.1", "gifts"), ("10.3.0.1", "all")] {
            let caller = from(address, &[]);
            assert_eq!((&**caller.label(), caller.rule().unwrap().name.as_str()), (name, name));
            assert_eq!(caller.source().group(), &Group::Rule(name.parse().unwrap()));
            assert_eq!(caller.source().max_per_second(), NonZeroU32::new(50));
            let named = from(address, &[("x-caller", "worker")]);
            assert_eq!((&**named.label(), named.source()), ("worker", caller.source()));
        }
        // Whatever a stranger calls itself.
        let stranger = from("192.0.2.1", &[("x-caller", "gifts")]);
        assert_eq!((&**stranger.label(), stranger.standing()), (NO_NAME, &Standing::Stranger));
        assert!(stranger.rule().is_none());
    }

    #[test]
    fn without_rules_everyone_is_free_and_belongs_to_a_network() {
        let caller = identify(&headers(&[]), Peer::Ip([10, 2, 3, 4].into()), &Settings::default());
        assert_eq!((caller.standing(), caller.rule()), (&Standing::Free, None));
        assert_eq!(caller.source().group(), &Group::Network("10.2.3.0/24".parse().unwrap()));
    }

    #[test]
    fn browsers_are_recognised() {
        for (name, value) in [
            ("Origin", "https://evil.example"),
            ("origin", "null"),
            ("Sec-Fetch-Site", "same-origin"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-storage-access", "none"),
        ] {
            let headers = headers(&[("accept", "*/*"), (name, value)]);
            assert!(from_browser(&headers), "{name}");
            assert!(identify(&headers, Peer::Uid(None), &Settings::default()).is_browser(), "{name}");
        }
        assert!(!from_browser(&headers(&[("sec-websocket-key", "x"), ("x-origin", "y"), ("referer", "z")])));
    }

    #[test]
    fn nodes_own_fetch_is_no_browser() {
        let node = [("sec-fetch-mode", "cors"), ("accept-language", "*")];
        assert!(!from_browser(&headers(&node)));
        for (name, value) in [("origin", "null"), ("sec-fetch-site", "none"), ("sec-fetch-mode", "cors")] {
            assert!(from_browser(&headers(&[node[0], node[1], (name, value)])), "{name}");
        }
        for other in [[("sec-fetch-mode", "navigate"), node[1]], [node[0], ("accept-language", "en")]] {
            assert!(from_browser(&headers(&other)), "{other:?}");
        }
    }
}
