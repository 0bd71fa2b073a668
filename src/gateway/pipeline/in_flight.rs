//! A bound on the calls under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::gateway::rejection::Rejection;

/// How many calls are under way, within a bound.
#[derive(Debug)]
pub struct InFlight {
    now: AtomicUsize,
    most: usize,
}

/// A call's place among those under way.
#[derive(Debug)]
pub(super) struct Place(Arc<InFlight>);

impl InFlight {
    /// At most `most`.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self { now: AtomicUsize::new(0), most }
    }

    /// How many are under way.
    #[must_use]
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// How many may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, Rejection> {
        let place = Place(Arc::clone(self));
        if self.now.fetch_add(1, Ordering::Relaxed) < self.most {
            Ok(place)
        } else {
            Err(Rejection::Overloaded(self.most)) // dropping the place takes the count back
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
