//! Rules: which connections are whose.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use super::header::visible;
use crate::model::network::Network;
use crate::net::listener::Peer;
use crate::net::remote::Remote;
use crate::net::tls::TlsName;

/// One rule: it makes whoever it matches a caller of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which no other rule has.
    pub name: RuleName,
    /// Whom it matches.
    pub who: Who,
    /// The share of turns that its callers get together, against those of other rules that wait.
    pub weight: NonZeroU32,
    /// The most calls a second that its callers may make together, for each app; `None`: as many as turns come.
    pub max_per_second: Option<NonZeroU32>,
}

/// Whom a rule matches, by what is proved of a connection. Of each list that is not empty, one entry must match; where
/// all of them are empty, nobody does, so that no rule opens the door by what it leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// By address.
    pub networks: Vec<Network>,
    /// By a name in the client's certificate.
    pub tls_names: Vec<TlsName>,
    /// By the user of the process at the other end of a Unix socket.
    pub uids: Vec<u32>,
}

/// The name of a rule: 1 to 64 visible ASCII characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(Arc<str>);

/// Why a text is no [`RuleName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a rule has 1 to 64 visible ASCII characters")]
pub struct BadRuleName;

/// The first of `rules` that matches.
pub(super) fn first_match<'a>(rules: &'a [Arc<Rule>], remote: &Remote) -> Option<&'a Arc<Rule>> {
    rules.iter().find(|rule| rule.who.matches(remote))
}

// === impl Who ===

impl Who {
    /// Whether no list has an entry.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.networks.is_empty() && self.tls_names.is_empty() && self.uids.is_empty()
    }

    fn matches(&self, remote: &Remote) -> bool {
        let Self { networks, tls_names, uids } = self;
        let network = |address| networks.iter().any(|network| network.contains(address));
        let by_network = || matches!(remote.peer, Peer::Ip(address) if network(address));
        let by_name = || remote.names.iter().any(|name| tls_names.contains(name));
        let by_uid = || matches!(remote.peer, Peer::Uid(Some(uid)) if uids.contains(&uid));
        !self.is_nobody()
            && (networks.is_empty() || by_network())
            && (tls_names.is_empty() || by_name())
            && (uids.is_empty() || by_uid())
    }
}

// === impl RuleName ===

impl RuleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    #[must_use]
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = BadRuleName;

    fn from_str(text: &str) -> Result<Self, BadRuleName> {
        visible(text, LONGEST_NAME).map(|text| Self(text.into())).ok_or(BadRuleName)
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As long as the name that a caller may give itself, since both are metric labels.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::ClientNames;

    fn at(address: &str) -> Remote {
        Peer::Ip(address.parse().unwrap()).into()
    }

    fn certified(address: &str, names: &[&str]) -> Remote {
        let names: ClientNames = names.iter().map(|name| name.parse().unwrap()).collect();
        Remote { names, ..at(address) }
    }

    fn networks(networks: &[&str]) -> Who {
        Who { networks: networks.iter().map(|text| text.parse().unwrap()).collect(), ..Who::default() }
    }

    fn tls_names(names: &[&str]) -> Who {
        Who { tls_names: names.iter().map(|text| text.parse().unwrap()).collect(), ..Who::default() }
    }

    #[test]
    fn a_rule_matches_by_any_of_its_networks() {
        let who = networks(&["10.2.0.0/16", "2001:db8::/32"]);
        for address in ["10.2.3.4", "::ffff:10.2.3.4", "2001:db8::1"] {
            assert!(who.matches(&at(address)), "{address}");
        }
        for remote in [at("10.3.0.0"), at("::1"), Peer::Uid(Some(0)).into(), Peer::Uid(None).into()] {
            assert!(!who.matches(&remote), "{remote:?}");
        }
        assert!(!networks(&["0.0.0.0/0"]).matches(&Peer::Uid(None).into()));
    }

    #[test]
    fn a_rule_matches_by_any_of_its_tls_names_whole_and_of_one_kind() {
        let who = tls_names(&["gifts.example", "spiffe://example/gifts"]);
        for name in ["GIFTS.example", "spiffe://example/gifts"] {
            assert!(who.matches(&certified("10.0.0.1", &["other.example", name])), "{name}");
        }
        for name in ["example", "x.gifts.example", "spiffe://example/Gifts", "spiffe://example/gifts/more"] {
            assert!(!who.matches(&certified("10.0.0.1", &[name])), "{name}");
        }
        assert!(!who.matches(&at("10.0.0.1")), "without a certificate");
        let uri: ClientNames = [TlsName::Uri("gifts.example".into())].into_iter().collect();
        assert!(!who.matches(&Remote { names: uri, ..at("10.0.0.1") }), "a URI is no DNS name");
    }

    #[test]
    fn a_rule_matches_by_user_where_the_kernel_tells_it() {
        let who = Who { uids: vec![0, 1000], ..Who::default() };
        assert!(who.matches(&Peer::Uid(Some(1000)).into()) && who.matches(&Peer::Uid(Some(0)).into()));
        for peer in [Peer::Uid(Some(1001)), Peer::Uid(None), Peer::Ip([127, 0, 0, 1].into())] {
            assert!(!who.matches(&peer.into()), "{peer:?}");
        }
    }

    #[test]
    fn each_kind_that_a_rule_names_must_match() {
        let who = Who { tls_names: tls_names(&["gifts.example"]).tls_names, ..networks(&["10.2.0.0/16"]) };
        assert!(who.matches(&certified("10.2.0.1", &["gifts.example"])));
        assert!(!who.matches(&certified("10.3.0.1", &["gifts.example"])));
        assert!(!who.matches(&certified("10.2.0.1", &["chat.example"])));
        assert!(!who.matches(&at("10.2.0.1")));
    }

    #[test]
    fn a_rule_that_names_no_one_matches_no_one() {
        let who = Who::default();
        assert!(who.is_nobody());
        for remote in [at("127.0.0.1"), Peer::Uid(Some(0)).into(), certified("::1", &["gifts.example"])] {
            assert!(!who.matches(&remote), "{remote:?}");
        }
    }

    #[test]
    fn names_are_visible_ascii_of_bounded_length() {
        assert_eq!("gifts".parse::<RuleName>().unwrap().as_str(), "gifts");
        for bad in ["", "a b", "é", &"x".repeat(65)] {
            assert_eq!(bad.parse::<RuleName>(), Err(BadRuleName), "{bad:?}");
        }
    }
}
