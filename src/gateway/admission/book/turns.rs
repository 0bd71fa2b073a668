//! Who waits, who is next, and when to look again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Ask;
use super::pages::Pages;
use super::state::{Callers, State, is_source_ready, of_source, of_source_mut};
use crate::gateway::admission::bucket::Bucket;
use crate::gateway::admission::queue::{EQUAL, Line, Place, Waiter};
use crate::gateway::admission::{Reason, Settings};
use crate::gateway::caller::Source;
use crate::gateway::target::ApiKey;

impl State {
    /// Whether nobody waits who might have to go before a newcomer.
    pub(super) fn is_first(&mut self, ask: Ask<'_>, now: Instant) -> bool {
        // So it is nearly always.
        if self.waiting.is_empty() && self.sources.is_empty() {
            return true;
        }
        // Where the app's ceiling is what holds calls back, any of them may be the one that its next token is for; and
        // where the source's own is, any of the source's.
        !self.waits_for_app()
            && self.page(ask.api.key).is_none_or(|page| page.queue.is_empty())
            && !self.waits_for_source(&ask.line.source, now)
    }

    /// Whether a source's own ceiling is what calls of it wait for, at whatever API.
    fn waits_for_source(&mut self, source: &Source, now: Instant) -> bool {
        let waits = self.waiting.child(source).is_some();
        let Some(ceiling) = of_source_mut(&mut self.sources, source) else { return false };
        ceiling.binds &= waits;
        if !ceiling.binds {
            return false;
        }
        let may_go = is_source_ready(&mut self.sources, source, now);
        // If it lets one go and none can, they wait for something else by now.
        let binds = !may_go || self.next_of_source(source, now).is_some();
        if let Some(ceiling) = of_source_mut(&mut self.sources, source) {
            ceiling.binds = binds;
        }
        binds
    }

    /// Whether a call may enter the queue; else why not, and when its turn would have been.
    pub(super) fn may_wait(
        &self,
        ask: Ask<'_>,
        deadline: Instant,
        settings: &Settings,
        now: Instant,
    ) -> Result<(), (Reason, Instant)> {
        let Some(page) = self.page(ask.api.key) else { return Ok(()) };
        let (waiting, in_line) = (page.queue.len(), page.queue.in_line(ask.line));
        let turn = self.turn(ask.api.key, ask.line, ask.place, now);
        if turn > deadline {
            Err((Reason::TooLate, turn))
        } else if ask.returns {
            // It had a place, which others' coming does not take away. So the queue can be longer than its bound by the
            // calls that were under way.
            Ok(())
        } else if in_line >= settings.max_waiting_per_caller {
            Err((Reason::CallerQueueFull, turn))
        } else if waiting >= settings.max_waiting {
            Err((Reason::QueueFull, turn))
        } else {
            Ok(())
        }
    }

    /// The earliest moment at which a call may go that begins to wait now, if all goes as well as it can.
    pub(super) fn turn(&self, api: ApiKey, line: &Line, place: Place, now: Instant) -> Instant {
        let Some(page) = self.page(api) else { return now };
        let ahead = page.queue.ahead(line, place);
        let turn = |bucket: Option<&Bucket>, ahead| bucket.map_or(now, |bucket| bucket.turn(ahead, now));
        let of_source = of_source(&self.sources, &line.source).map(|ceiling| &ceiling.bucket);
        turn(page.bucket.as_ref(), ahead.all)
            .max(turn(self.app.as_ref().map(|app| &app.bucket), ahead.all))
            .max(turn(of_source, ahead.of_source))
    }

    pub(super) fn enter(&mut self, api: ApiKey, line: &Line, place: Place, waiter: Waiter, now: Instant) {
        let Some(page) = self.apis.get_mut(api) else { return };
        page.queue.enter(line, place, waiter);
        self.waiting.enter(&line.source, line.source.weight(), |callers| {
            callers.enter(&line.caller, EQUAL, |apis| apis.enter(&api, EQUAL, |_| ()));
        });
        self.look_at(api, now);
    }

    pub(super) fn leave(&mut self, api: ApiKey, line: &Line, place: Place) -> Option<Waiter> {
        let waiter = self.apis.get_mut(api)?.queue.leave(line, place)?;
        self.leave_order(api, line, false);
        Some(waiter)
    }

    pub(super) fn serve(&mut self, api: ApiKey, line: &Line) -> Option<Waiter> {
        let page = self.apis.get_mut(api)?;
        let waiter = page.queue.serve(line)?;
        self.turns += 1;
        page.latest_turn = self.turns;
        self.leave_order(api, line, true);
        Some(waiter)
    }

    fn leave_order(&mut self, api: ApiKey, line: &Line, served: bool) {
        self.waiting.leave(&line.source, served, |callers| {
            callers.leave(&line.caller, served, |apis| apis.leave(&api, served, |_| Some(())))
        });
        // Where nobody waits, nothing is looked at: it would be in the way of those at which calls do.
        if let Some(page) = self.apis.get_mut(api).filter(|page| page.queue.is_empty())
            && let Some(look) = page.look.take()
        {
            self.looks.remove(&(look, api));
        }
    }

    /// The next call that may go now: at which API, in which line.
    pub(super) fn next(&mut self, now: Instant) -> Option<(ApiKey, Line)> {
        if self.waiting.is_empty() {
            return None;
        }
        self.dissolve(now);
        if let Some(app) = &mut self.app {
            // Somebody waits, as was seen above.
            app.bucket.settle(self.app_binds, now);
            if !app.bucket.is_ready(now) {
                self.app_binds = true;
                return None;
            }
            if self.app_binds {
                let next = self.next_of_app(now);
                self.app_binds = next.is_some();
                if next.is_some() {
                    return next;
                }
            }
        }
        self.next_of_apis(now)
    }

    /// The next call in the order of the whole app. `None` too where it would be far to look for: then the APIs take
    /// turns, each with an order of its own.
    fn next_of_app(&mut self, now: Instant) -> Option<(ApiKey, Line)> {
        let Self { waiting, apis, sources, .. } = self;
        let mut walk = Walk::new();
        for (source, callers) in waiting.in_turn() {
            if !walk.goes_on() {
                break;
            }
            if is_source_ready(sources, source, now)
                && let Some((api, caller)) = walk.first_ready(callers, apis, now)
            {
                return Some((api, Line { source: source.clone(), caller }));
            }
        }
        None
    }

    /// The next call in the order of one source, whose own ceiling lets one go. Where it would be far to look for, the
    /// APIs take turns at which calls of the source wait.
    fn next_of_source(&mut self, source: &Source, now: Instant) -> Option<(ApiKey, Line)> {
        let (callers, _) = self.waiting.child(source)?;
        let mut walk = Walk::new();
        match walk.first_ready(callers, &mut self.apis, now) {
            Some((api, caller)) => Some((api, Line { source: source.clone(), caller })),
            None if walk.left == 0 => self.next_of_sources_apis(source, now),
            None => None,
        }
    }

    /// The next call of a source at the API that has had no turn for the longest time. Which API is looked at first says
    /// nothing here: all of them wait for the same token, so always the same one would have it.
    fn next_of_sources_apis(&mut self, source: &Source, now: Instant) -> Option<(ApiKey, Line)> {
        let Self { looks, apis, .. } = self;
        let mut next: Option<(u64, ApiKey, Line)> = None;
        for &(_, api) in looks.iter().take(LOOKED_AT) {
            let Some(page) = apis.get_mut(api) else { continue };
            let is_earlier = next.as_ref().is_none_or(|&(turn, ..)| page.latest_turn < turn);
            if is_earlier
                && page.is_ready(now)
                && let Some(line) = page.queue.next_of(source)
            {
                next = Some((page.latest_turn, api, line));
            }
        }
        next.map(|(_, api, line)| (api, line))
    }

    /// The next call at an API that is due to be looked at.
    fn next_of_apis(&mut self, now: Instant) -> Option<(ApiKey, Line)> {
        while let Some(&(look, api)) = self.looks.first()
            && look <= now
        {
            self.looks.pop_first();
            let Self { apis, sources, .. } = &mut *self;
            let Some(page) = apis.get_mut(api) else { continue };
            page.look = None;
            debug_assert!(!page.queue.is_empty(), "an API is looked at while calls wait there");
            let again = if page.is_ready(now) {
                if let Some(line) = page.queue.next(|source| is_source_ready(sources, source, now)) {
                    self.look_at(api, now);
                    // Where the source's own ceiling held its calls back, the token is for any of them.
                    let binds = of_source(&self.sources, &line.source).is_some_and(|ceiling| ceiling.binds);
                    let next = if binds { self.next_of_source(&line.source, now) } else { None };
                    return Some(next.unwrap_or((api, line)));
                }
                // Each of those who wait is held back by a ceiling of its source's own.
                let ceilings = page.queue.sources().filter_map(|source| of_source(sources, source));
                ceilings.map(|ceiling| ceiling.bucket.ready_at(now)).min()
            } else {
                page.bucket.as_ref().map(|bucket| bucket.ready_at(now))
            };
            self.look_at(api, again.unwrap_or(now).max(now + LEAST_SLEEP));
        }
        None
    }

    /// When the task has to look again; `None`: nobody waits.
    pub(super) fn next_look(&mut self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        let app = self.app.as_ref().filter(|app| !app.bucket.is_ready(now));
        match app {
            Some(app) => Some(app.bucket.ready_at(now).max(now + LEAST_SLEEP)),
            None => self.looks.first().map(|&(look, _)| look),
        }
    }

    pub(super) fn look_at(&mut self, api: ApiKey, at: Instant) {
        let Some(page) = self.apis.get_mut(api).filter(|page| !page.queue.is_empty()) else { return };
        if let Some(before) = page.look.replace(at) {
            self.looks.remove(&(before, api));
        }
        self.looks.insert((at, api));
    }

    pub(super) fn look_at_all(&mut self, now: Instant) {
        let apis: Vec<_> = self.looks.iter().map(|&(_, api)| api).collect();
        for api in apis {
            self.look_at(api, now);
        }
    }
}

/// A walk past those who wait, in the order of their turns, to the first whose API lets a call go. It goes no further
/// than [`LOOKED_AT`] of them, since all others stand still meanwhile.
struct Walk {
    left: usize,
    /// The APIs that were seen to let none go.
    unready: BTreeSet<ApiKey>,
}

impl Walk {
    fn new() -> Self {
        Self { left: LOOKED_AT, unready: BTreeSet::new() }
    }

    /// Takes a step, if there is one left.
    fn goes_on(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn first_ready(
        &mut self,
        callers: &Callers,
        apis: &mut Pages,
        now: Instant,
    ) -> Option<(ApiKey, Arc<str>)> {
        for (caller, of_caller) in callers.in_turn() {
            for (&api, _) in of_caller.in_turn() {
                if !self.goes_on() {
                    return None;
                }
                if self.unready.contains(&api) {
                    continue;
                }
                if apis.get_mut(api).is_some_and(|page| page.is_ready(now)) {
                    return Some((api, Arc::clone(caller)));
                }
                self.unready.insert(api);
            }
        }
        None
    }
}

/// How many of those who wait are looked at to find the next.
const LOOKED_AT: usize = 256;
/// Timers are no finer than this, so a shorter sleep would only spin.
const LEAST_SLEEP: Duration = Duration::from_millis(1);
