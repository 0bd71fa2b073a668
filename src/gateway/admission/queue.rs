//! The calls that wait for a turn at one API: whose is next, and how many are before a newcomer.
//!
//! Sources take turns by their weights (the rule or network that a caller cannot choose), then the callers inside one
//! source by name, each as often as the other; within one caller the more urgent call goes first, then the earlier.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::fair::Fair;
use super::permit::Permit;
use crate::gateway::caller::Source;

/// The calls that wait at one API.
#[derive(Debug, Default)]
pub(super) struct Queue(Fair<Source, Fair<Arc<str>, Lane>>);

/// One caller's calls.
#[derive(Debug, Default)]
struct Lane {
    calls: BTreeMap<Place, Waiter>,
    by_urgency: [usize; URGENCIES],
}

/// Where a call waits: under whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) source: Source,
    pub(super) caller: Arc<str>,
}

/// A call's place in its line: by urgency, then by when it first came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) urgency: u8,
    pub(super) number: u64,
}

/// The other end of a call that waits.
pub(super) type Waiter = oneshot::Sender<Result<Permit, Displaced>>;

/// A call had to leave a full queue to one whose source, or who itself, has fewer waiting.
#[derive(Debug)]
pub(super) struct Displaced;

/// How many calls are before a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    /// In the whole queue.
    pub(super) all: usize,
    /// Of its own source.
    pub(super) of_source: usize,
}

impl Queue {
    /// A call begins to wait.
    pub(super) fn enter(&mut self, line: &Line, place: Place, waiter: Waiter) {
        self.0.enter(&line.source, line.source.weight(), |callers| {
            callers.enter(&line.caller, EQUAL, |lane| lane.enter(place, waiter));
        });
    }

    /// A call leaves before its turn. `None` when it is not there any more.
    pub(super) fn leave(&mut self, line: &Line, place: Place) -> Option<Waiter> {
        self.0.leave(&line.source, false, |callers| {
            callers.leave(&line.caller, false, |lane| lane.leave(place))
        })
    }

    /// The first call of a line has its turn.
    pub(super) fn serve(&mut self, line: &Line) -> Option<Waiter> {
        self.0.leave(&line.source, true, |callers| callers.leave(&line.caller, true, Lane::serve))
    }

    /// The line whose turn is next, among the sources that `may` go.
    pub(super) fn next(&self, mut may: impl FnMut(&Source) -> bool) -> Option<Line> {
        let (source, callers) = self.0.in_turn().find(|(source, _)| may(source))?;
        let (caller, _) = callers.in_turn().next()?;
        Some(Line { source: source.clone(), caller: Arc::clone(caller) })
    }

    /// The line whose turn is next in one source.
    pub(super) fn next_of(&self, source: &Source) -> Option<Line> {
        let (callers, _) = self.0.child(source)?;
        let (caller, _) = callers.in_turn().next()?;
        Some(Line { source: source.clone(), caller: Arc::clone(caller) })
    }

    /// How many calls of each caller wait. A caller of several sources comes once for each.
    pub(super) fn callers(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let callers = self
            .0
            .in_turn()
            .flat_map(|(_, callers)| callers.in_turn().map(move |(caller, _)| (caller, callers)));
        callers.filter_map(|(caller, callers)| Some((caller, callers.child(caller)?.1)))
    }

    /// The sources that wait.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.in_turn().map(|(source, _)| source)
    }

    /// How many calls would have their turn before one that begins to wait now, if nobody leaves or comes. Where very
    /// many wait it may say fewer, never more.
    pub(super) fn ahead(&self, line: &Line, place: Place) -> Ahead {
        let of_source = self.0.child(&line.source).map_or(0, |(callers, _)| {
            let own = callers.child(&line.caller).map_or(0, |(lane, _)| lane.ahead(place));
            own + callers.ahead(&line.caller, EQUAL, own)
        });
        let all = of_source + self.0.ahead(&line.source, line.source.weight(), of_source);
        Ahead { all, of_source }
    }

    /// How many calls wait in one line.
    pub(super) fn in_line(&self, line: &Line) -> usize {
        let callers = self.0.child(&line.source).map(|(callers, _)| callers);
        callers.and_then(|callers| callers.child(&line.caller)).map_or(0, |(_, len)| len)
    }

    /// Who has to leave the full queue so that a call of `line` may enter: the least urgent, latest call of the caller
    /// with the most waiting, in the source with the most, or in the line's own source if no other has more. `None` when
    /// that caller has no more than the newcomer would have.
    pub(super) fn displaceable(&self, line: &Line) -> Option<(Line, Place)> {
        let own = self.0.child(&line.source).map_or(0, |(_, len)| len);
        let (source, longest) = self.0.longest()?;
        let is_anothers = longest > own + 1;
        let source = if is_anothers { source } else { &line.source };
        let (callers, _) = self.0.child(source)?;
        let (caller, longest) = callers.longest()?;
        if !is_anothers && longest <= self.in_line(line) + 1 {
            return None;
        }
        let (lane, _) = callers.child(caller)?;
        let (&place, _) = lane.calls.last_key_value()?;
        Some((Line { source: source.clone(), caller: Arc::clone(caller) }, place))
    }

    /// How many calls wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Lane ===

impl Lane {
    fn enter(&mut self, place: Place, waiter: Waiter) {
        *self.count(place) += 1;
        self.calls.insert(place, waiter);
    }

    fn leave(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.calls.remove(&place)?;
        *self.count(place) -= 1;
        Some(waiter)
    }

    fn serve(&mut self) -> Option<Waiter> {
        let (place, waiter) = self.calls.pop_first()?;
        *self.count(place) -= 1;
        Some(waiter)
    }

    /// How many go before one at this place.
    fn ahead(&self, place: Place) -> usize {
        if self.is_last(place) {
            self.by_urgency.iter().take(usize::from(place.urgency) + 1).sum()
        } else {
            self.calls.range(..place).take(LOOKED_AT).count()
        }
    }

    /// Whether all of the same urgency came earlier.
    fn is_last(&self, place: Place) -> bool {
        let end = Place { number: u64::MAX, ..place };
        self.calls.range(place..=end).next().is_none()
    }

    fn count(&mut self, place: Place) -> &mut usize {
        &mut self.by_urgency[usize::from(place.urgency).min(URGENCIES - 1)]
    }
}

/// 0 to 7 (RFC 9218, section 4.1).
const URGENCIES: usize = 8;
/// How many calls of a line are counted for one that returns to its place.
const LOOKED_AT: usize = 64;
/// Callers of one source are all worth the same.
pub(super) const EQUAL: NonZeroU32 = NonZeroU32::MIN;
