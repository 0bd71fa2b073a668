//! How many connections may be open: all together, and those of one source.
//!
//! A source is one address, of IPv6 a /64, since that is what one host has at least and may take any address of; over a
//! Unix socket, one user. What is remembered of sources is those that have a connection, so there are never more of
//! them than connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Peer;
use crate::model::network::Network;

/// How many connections may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostConnections {
    /// All together.
    pub in_all: usize,
    /// Those of one source; `None`: as many as there may be in all.
    pub per_source: Option<NonZeroUsize>,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// So many are open already, which is as many as may be.
    #[error("{0} connections are open, which is as many as this gateway takes")]
    InAll(usize),
    /// So many of the same source are.
    #[error(
        "{0} connections are open from your address or user, which is as many as this gateway takes from one"
    )]
    PerSource(NonZeroUsize),
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Seats {
    most: MostConnections,
    taken: AtomicUsize,
    /// Stays empty where sources have no bound. Held by a [`Seat`] while it is taken or given up, for a look-up each.
    by_source: Mutex<HashMap<Source, usize>>,
}

/// A place among the connections. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    /// `None` where sources have no bound.
    source: Option<Source>,
}

/// Who is reckoned as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Network(Network),
    /// `None`: those of whom the kernel does not tell.
    User(Option<u32>),
}

// === impl Seats ===

impl Seats {
    pub(super) fn new(most: MostConnections) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0), by_source: Mutex::default() })
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a place for a connection of `peer`, if there is one.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Seat, NoSeat> {
        // Whole from here on: dropped, it takes the count back.
        let mut seat = Seat { seats: Arc::clone(self), source: None };
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most.in_all {
            return Err(NoSeat::InAll(self.most.in_all));
        }
        if let Some(most) = self.most.per_source {
            let source = Source::of(peer);
            let mut by_source = self.by_source();
            let taken = by_source.get(&source).copied().unwrap_or(0);
            if taken >= most.get() {
                return Err(NoSeat::PerSource(most));
            }
            by_source.insert(source, taken + 1);
            seat.source = Some(source);
        }
        Ok(seat)
    }

    fn by_source(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(source) = self.source
            && let Entry::Occupied(mut taken) = self.seats.by_source().entry(source)
        {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

// === impl Source ===

impl Source {
    fn of(peer: Peer) -> Self {
        match peer {
            Peer::Uid(uid) => Self::User(uid),
            Peer::Ip(address) => match address.to_canonical() {
                address @ IpAddr::V4(_) => Self::Network(Network::around(address, 32)),
                address @ IpAddr::V6(_) => Self::Network(Network::around(address, IPV6_BITS)),
            },
        }
    }
}

/// RFC 4291, section 2.5.1.
const IPV6_BITS: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(in_all: usize, per_source: usize) -> Arc<Seats> {
        Seats::new(MostConnections { in_all, per_source: NonZeroUsize::new(per_source) })
    }

    fn at(address: &str) -> Peer {
        Peer::Ip(address.parse().unwrap())
    }

    #[test]
    fn each_source_has_its_own_bound_and_all_have_one() {
        let seats = seats(5, 2);
        let no_more = NoSeat::PerSource(NonZeroUsize::new(2).unwrap());
        let mut taken = Vec::new();
        // Each pair is one source: an address, a /64 and a user.
        for (one, other) in [
            (at("10.0.0.1"), at("::ffff:10.0.0.1")),
            (at("2001:db8::1"), at("2001:db8::ffff:0:0:2")),
            (Peer::Uid(Some(7)), Peer::Uid(Some(7))),
        ] {
            taken.push(seats.take(one).unwrap());
            if let Ok(seat) = seats.take(other) {
                taken.push(seat);
                assert_eq!(seats.take(one).unwrap_err(), no_more);
            }
        }
        assert_eq!((taken.len(), seats.taken()), (5, 5));
        assert_eq!(seats.take(at("10.0.0.2")).unwrap_err(), NoSeat::InAll(5));

        // Who leaves makes room for its own kind, and leaves nothing behind.
        taken.remove(0);
        assert_eq!(seats.take(at("2001:db8::3")).unwrap_err(), no_more);
        taken.push(seats.take(at("10.0.0.1")).unwrap());
        taken.clear();
        assert_eq!(seats.taken(), 0);
        assert!(seats.by_source().is_empty());
    }

    #[test]
    fn without_a_bound_for_sources_nothing_is_remembered_of_them() {
        let seats = seats(3, 0);
        let taken: Vec<_> = (0..3).map(|_| seats.take(at("10.0.0.1")).unwrap()).collect();
        assert!(seats.by_source().is_empty());
        drop(taken);
        assert_eq!(seats.taken(), 0);
    }
}
