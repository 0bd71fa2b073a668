//! How the book of one app borrows tokens that other replicas need too, and reports what became of them.
//!
//! One task for each book speaks with the store, while there is anything to say: for all of the app's ceilings at once,
//! and never again before it has an answer. Whoever needs a token that is not at hand wakes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::state::State;
use super::{Ask, Book};
use crate::gateway::admission::bucket::Bucket;
use crate::gateway::admission::shared::{Open, Spoken, Standing, Wish};
use crate::gateway::caller::Source;
use crate::gateway::target::ApiKey;

/// Whose ceiling a wish is for.
#[derive(Debug)]
enum For {
    Api(ApiKey),
    App,
    Source(Source),
}

/// What is said to the store at once.
#[derive(Debug)]
struct Speech {
    wishes: Vec<Wish>,
    /// For each of them, whose it is and how many were wanted.
    of: Vec<(For, u32)>,
    epoch: u64,
}

// === impl Book ===

impl Book {
    /// Sees to it that the store is spoken to when a ceiling of this call needs it.
    pub(super) fn speak_in_time(self: &Arc<Self>, state: &mut State, ask: Ask<'_>, now: Instant) {
        if self.replica.is_none() {
            return;
        }
        let Some(due) = state.next_speech(ask.api.key, &ask.line.source, now) else { return };
        match state.speaking.until {
            None => {
                state.speaking.until = Some(due);
                self.runtime.spawn(Arc::clone(self).speak(due));
            }
            Some(until) if due < until => {
                state.speaking.until = Some(due);
                self.speak.notify_one();
            }
            Some(_) => {}
        }
    }

    /// Speaks with the store whenever there is something to say. Ends when there was nothing for a while.
    async fn speak(self: Arc<Self>, mut next: Instant) {
        let Some(replica) = self.replica.clone() else { return };
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.speak.notified() => {
                    let until = self.lock().speaking.until;
                    next = until.map_or(next, |until| until.min(next));
                    continue;
                }
            }
            let said = match replica.open() {
                None => None,
                Some(open) => self.say(&open).map(|speech| (open, speech)),
            };
            match said {
                None => {
                    // While there is nobody to speak to, it looks now and then.
                    let is_open = replica.open().is_some();
                    let (mut state, now) = self.lock_now();
                    let due = state.next_speech_of_all(now);
                    state.speaking.until =
                        due.map(|due| due.max(now + if is_open { A_MOMENT } else { LOOK_AGAIN }));
                    let Some(due) = state.speaking.until else { return };
                    next = due;
                }
                Some((open, Speech { wishes, of, epoch })) => {
                    let spoken = replica.speak(open, self.app, wishes).await;
                    let Some(due) = self.heard(spoken, of, epoch) else { return };
                    next = due;
                }
            }
        }
    }

    /// What there is to say now.
    fn say(&self, open: &Open) -> Option<Speech> {
        let standing = self.replica.as_ref()?.contact().standing();
        let (mut state, now) = self.lock_now();
        let mut speech = Speech { wishes: Vec::new(), of: Vec::new(), epoch: open.number() };
        state.each_shared(|bucket, whose, waiting, weight| {
            // Those that find no place are next.
            if speech.wishes.len() < MOST_WISHES {
                speech.add(bucket, whose, waiting, weight, &standing, now);
            }
        });
        // Nobody needs to wake the task while it speaks.
        state.speaking.until = Some(now);
        (!speech.wishes.is_empty()).then_some(speech)
    }

    /// What the store lent goes to those who wait. Gives when to speak again.
    fn heard(self: &Arc<Self>, spoken: Option<Spoken>, of: Vec<(For, u32)>, epoch: u64) -> Option<Instant> {
        let (mut state, now) = self.lock_now();
        let is_heard = spoken.is_some();
        if let Some(Spoken { loans, born, sent }) = spoken {
            for ((whose, want), loan) in of.into_iter().zip(loans) {
                if let Some(leases) = state.shared(&whose).and_then(Bucket::leases) {
                    leases.lent(loan, want, epoch, sent, now);
                }
            }
            let before = state.speaking.born.replace(Arc::clone(&born));
            if before.is_some_and(|before| before != born) {
                state.each_shared(|bucket, _, _, _| bucket.remind(now));
            }
        }
        state.look_at_all(now);
        let unclaimed = self.hand_out(&mut state, now);
        self.watch(&mut state, now);
        let due = state.next_speech_of_all(now);
        let least = if is_heard { A_MOMENT } else { LOOK_AGAIN };
        state.speaking.until = due.map(|due| due.max(now + least));
        let next = state.speaking.until;
        drop(state);
        drop(unclaimed);
        next
    }
}

// === impl Speech ===

impl Speech {
    fn add(
        &mut self,
        bucket: &mut Bucket,
        whose: For,
        waiting: usize,
        weight: u32,
        standing: &Standing,
        now: Instant,
    ) {
        let Some(leases) = bucket.leases() else { return };
        leases.enter(self.epoch);
        if let Some(wish) = leases.wish(waiting, weight, standing, now) {
            self.of.push((whose, wish.want));
            self.wishes.push(wish);
        }
    }
}

// === impl State ===

impl State {
    /// A call went that found nothing at hand.
    pub(super) fn missed(&mut self, ask: Ask<'_>, now: Instant) {
        self.each_needed(ask.api.key, &ask.line.source, |bucket, _| {
            if let Some(leases) = bucket.leases() {
                leases.missed(now);
            }
        });
    }

    fn each_needed(&mut self, api: ApiKey, source: &Source, mut look: impl FnMut(&mut Bucket, usize)) {
        let all = self.waiting.len();
        let of_source = self.waiting.child(source).map_or(0, |(_, len)| len);
        if let Some(page) = self.apis.get_mut(api)
            && let Some(bucket) = &mut page.bucket
        {
            look(bucket, page.queue.len());
        }
        if let Some(app) = &mut self.app {
            look(&mut app.bucket, all);
        }
        if let Some(ceiling) = self.sources.get_mut(source) {
            look(&mut ceiling.bucket, of_source);
        }
    }

    /// When the store is to be spoken to for the sake of what this call needs.
    fn next_speech(&mut self, api: ApiKey, source: &Source, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        self.each_needed(api, source, |bucket, waiting| {
            let due = bucket.leases().and_then(|leases| leases.due(waiting, now));
            next = [next, due].into_iter().flatten().min();
        });
        next
    }

    fn next_speech_of_all(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        self.each_shared(|bucket, _, waiting, _| {
            let due = bucket.leases().and_then(|leases| leases.due(waiting, now));
            next = [next, due].into_iter().flatten().min();
        });
        next
    }

    /// Every ceiling that may be shared, with how many calls wait for it and what their sources weigh.
    fn each_shared(&mut self, mut look: impl FnMut(&mut Bucket, For, usize, u32)) {
        let Self { apis, app, sources, waiting, .. } = self;
        for (key, page) in apis.iter_mut() {
            let weight = page.queue.sources().take(LOOKED_AT).map(weight).fold(0, u32::saturating_add);
            if let Some(bucket) = &mut page.bucket {
                look(bucket, For::Api(key), page.queue.len(), weight);
            }
        }
        if let Some(app) = app {
            let weight = waiting.in_turn().take(LOOKED_AT).map(|(source, _)| weight(source));
            let weight = weight.fold(0, u32::saturating_add);
            look(&mut app.bucket, For::App, waiting.len(), weight);
        }
        for (source, ceiling) in sources {
            let waits = waiting.child(source).map_or(0, |(_, len)| len);
            look(&mut ceiling.bucket, For::Source(source.clone()), waits, weight(source));
        }
    }

    fn shared(&mut self, whose: &For) -> Option<&mut Bucket> {
        match whose {
            For::Api(api) => self.page_mut(*api)?.bucket.as_mut(),
            For::App => Some(&mut self.app.as_mut()?.bucket),
            For::Source(source) => Some(&mut self.sources.get_mut(source)?.bucket),
        }
    }
}

fn weight(source: &Source) -> u32 {
    source.weight().get().min(HEAVIEST)
}

/// How many sources are looked at to say what those weigh who wait.
const LOOKED_AT: usize = 64;
/// More weight than this is not told apart.
const HEAVIEST: u32 = 10_000;
/// How many ceilings are spoken of at once.
const MOST_WISHES: usize = 64;
/// The least time between two commands.
const A_MOMENT: Duration = Duration::from_millis(1);
/// How soon to look again where nobody is there to speak to.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
