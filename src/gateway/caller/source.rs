//! Sources: the groups among which turns are shared out.
//!
//! A caller can write any name into its header, and a new one for each call; so fairness begins at what it cannot
//! choose: the rule that it falls under, else the network or the user that its connection comes from.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::rule::{Rule, RuleName};
use crate::model::network::Network;
use crate::net::listener::Peer;

/// A group of callers that wait for turns together, and what it is due. Cheap to clone.
///
/// Two of them are equal when they are the same [`Group`], whatever they are due: a reload that gives a rule another
/// weight leaves its callers where they wait.
#[derive(Debug, Clone)]
pub struct Source {
    group: Group,
    weight: NonZeroU32,
    max_per_second: Option<NonZeroU32>,
}

/// Which callers wait together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Group {
    /// Those under one rule, which has this name.
    Rule(RuleName),
    /// Those on this machine, over IP.
    Loopback,
    /// Those of one network: an IPv4 /24 or an IPv6 /64.
    Network(Network),
    /// Those of one user, over a Unix socket; `None`: those of whom the kernel does not tell.
    User(Option<u32>),
}

// === impl Source ===

impl Source {
    /// All callers under one rule.
    pub(super) fn of_rule(rule: &Rule) -> Self {
        Self {
            group: Group::Rule(rule.name.clone()),
            weight: rule.weight,
            max_per_second: rule.max_per_second,
        }
    }

    /// Where there are no rules, all sources weigh the same.
    pub(super) fn of_peer(peer: Peer) -> Self {
        Self { group: Group::of_peer(peer), weight: NonZeroU32::MIN, max_per_second: None }
    }

    /// Which callers it stands for.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Its share of turns against other sources that wait.
    #[must_use]
    pub fn weight(&self) -> NonZeroU32 {
        self.weight
    }

    /// The most calls a second that all of its callers may make together, for each app; `None`: as many as turns come.
    #[must_use]
    pub fn max_per_second(&self) -> Option<NonZeroU32> {
        self.max_per_second
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.group.hash(state);
    }
}

// === impl Group ===

impl Group {
    fn of_peer(peer: Peer) -> Self {
        match peer {
            Peer::Uid(uid) => Self::User(uid),
            Peer::Ip(address) => match address.to_canonical() {
                address if address.is_loopback() => Self::Loopback,
                address @ IpAddr::V4(_) => Self::Network(Network::around(address, IPV4_BITS)),
                address @ IpAddr::V6(_) => Self::Network(Network::around(address, IPV6_BITS)),
            },
        }
    }
}

/// What one host or one team's subnet usually has at most.
const IPV4_BITS: u8 = 24;
/// What one host has at least, and may take any address of (RFC 4291, section 2.5.1).
const IPV6_BITS: u8 = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::rule::Who;
    use super::*;

    fn at(address: &str) -> Source {
        Source::of_peer(Peer::Ip(address.parse().unwrap()))
    }

    #[test]
    fn neighbours_are_one_source() {
        for (one, other) in [
            ("10.2.3.4", "10.2.3.200"),
            ("10.2.3.4", "::ffff:10.2.3.5"),
            ("2001:db8::1", "2001:db8::ffff:0:0:1"),
            ("127.0.0.1", "127.200.0.1"),
            ("127.0.0.1", "::1"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
        ] {
            assert_eq!(at(one), at(other));
        }
        let apart = ["10.2.3.4", "10.2.4.4", "2001:db8::1", "2001:db8:0:1::1", "127.0.0.1"].map(at);
        let users = [Some(0), Some(1000), None].map(|uid| Source::of_peer(Peer::Uid(uid)));
        assert_eq!(apart.iter().chain(&users).collect::<HashSet<_>>().len(), 8);
        assert!(apart.iter().all(|source| source.weight().get() == 1 && source.max_per_second().is_none()));
    }

    #[test]
    fn a_rule_is_one_source_whatever_it_is_due() {
        let rule = |name: &str, weight| Rule {
            name: name.parse().unwrap(),
            who: Who::default(),
            weight: NonZeroU32::new(weight).unwrap(),
            max_per_second: NonZeroU32::new(weight),
        };
        let [light, heavy, other] = [("gifts", 1), ("gifts", 9), ("chat", 1)]
            .map(|(name, weight)| Source::of_rule(&rule(name, weight)));
        assert_eq!(HashSet::from([light.clone(), heavy.clone(), other]).len(), 2);
        assert_eq!(light.group(), heavy.group());
        assert_eq!((heavy.weight().get(), heavy.max_per_second()), (9, NonZeroU32::new(9)));
    }
}
