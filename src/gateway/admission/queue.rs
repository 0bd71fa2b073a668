//! Calls that wait for a turn at one ceiling, in order of arrival.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::permit::Permit;

/// The calls that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, oneshot::Sender<Permit>>,
    next: u64,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Queue {
    /// Goes to the end; the permit will come through the receiver.
    pub(super) fn enter(&mut self) -> (Place, oneshot::Receiver<Permit>) {
        let (sender, receiver) = oneshot::channel();
        let place = Place(self.next);
        self.next += 1;
        self.waiting.insert(place.0, sender);
        (place, receiver)
    }

    /// Leaves before the turn came. Nothing happens when it came already.
    pub(super) fn leave(&mut self, place: Place) {
        self.waiting.remove(&place.0);
    }

    /// The call whose turn is next.
    pub(super) fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.waiting.pop_first().map(|(_, sender)| sender)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
