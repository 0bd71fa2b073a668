//! What the book of one app holds, and what is taken from it and brought back.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::time::Instant;

use super::pages::{Page, Pages};
use super::recent::Recent;
use super::{Ask, WHOLE_APP};
use crate::gateway::admission::Settings;
use crate::gateway::admission::adapt::Cut;
use crate::gateway::admission::bucket::{Bucket, Rules};
use crate::gateway::admission::fair::Fair;
use crate::gateway::admission::hold::Hold;
use crate::gateway::admission::permit::{Taken, TakenInTransit};
use crate::gateway::admission::queue::Queue;
use crate::gateway::admission::shared::{Leases, Replica};
use crate::gateway::admission::tokens::InTransit;
use crate::gateway::caller::{Group, Source};
use crate::gateway::target::ApiKey;
use crate::model::app::AppName;
use crate::model::ceiling::Ceiling;
use crate::model::hash_map::HashMap;

/// Everything of one app that changes together. What every call touches stands first and side by side, since of 1,000 apps
/// in use each one's is cold by its next call: `repr(C)` keeps the order, here and in what lies within. With it a call takes
/// 0.975 of the CPU (0.924 to 1.022, 250 rounds) then, and with one app 0.988.
#[derive(Debug)]
#[repr(C)]
pub(super) struct State {
    /// The latest moment for which anything was done.
    pub(super) latest: Instant,
    /// How often ceilings were lowered or began: a turn from before is to be confirmed.
    pub(super) changes: u64,
    /// The ceiling over all APIs, if there is one. Apart, since most apps have none.
    pub(super) app: Option<Box<AppCeiling>>,
    /// What the app is called, as its latest call says: a reload can rename it while its ceilings are in use.
    pub(super) name: AppName,
    /// Whether there is no ceiling over all APIs by the settings in force, so that nobody need look there again.
    has_no_app_ceiling: bool,
    /// Whether the app's ceiling is what calls were held back by at the last look.
    pub(super) app_binds: bool,
    /// The ceilings of sources that have one of their own.
    pub(super) sources: Sources,
    /// Who waits for anything of this app.
    pub(super) waiting: Fair<Source, Callers>,
    recent: Recent,
    pub(super) apis: Pages,
    started: Instant,
    /// When to look again at each API at which calls wait.
    pub(super) looks: BTreeSet<(Instant, ApiKey)>,
    /// Until when the task sleeps; `None`: it does not run.
    pub(super) sleeps_until: Option<Instant>,
    /// How many buckets were made.
    made: u64,
    /// How many of those who waited have had their turn.
    pub(super) turns: u64,
    /// What was counted of each ceiling since the start, but for what its bucket counts itself. It outlives both the bucket
    /// and the page, since a counter must not go back; there are no more of them than APIs.
    pub(super) counted: HashMap<Whose, Counted>,
    /// This process as one of several that share the ceilings; `None`: it is alone.
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) speaking: Speaking,
}

/// How the book speaks with the store.
#[derive(Debug, Default)]
pub(super) struct Speaking {
    /// Until when the task sleeps; `None`: it does not run.
    pub(super) until: Option<Instant>,
    /// When the store first heard of the app, as it says.
    pub(super) born: Option<Arc<str>>,
}

/// Whose ceiling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Api(ApiKey),
    App,
}

/// What was counted of one ceiling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Calls that were not answered within `transit_max`.
    pub(super) unproven: u64,
    /// Calls that shadow mode let pass.
    pub(super) shadowed: u64,
}

pub(super) type Sources = HashMap<Source, SourceCeiling>;

#[derive(Debug)]
pub(super) struct SourceCeiling {
    pub(super) bucket: Bucket,
    /// As the source's latest call says, whatever those say that came before and still wait. `None`: no longer in
    /// force, but its tokens are remembered while some are away.
    per_second: Option<NonZeroU32>,
    /// Whether it held a call back when one was last looked for.
    pub(super) binds: bool,
}

/// The callers of one source that wait, and at which APIs.
pub(super) type Callers = Fair<Arc<str>, Fair<ApiKey, Waits>>;

#[derive(Debug)]
pub(super) struct AppCeiling {
    pub(super) bucket: Bucket,
    /// Made because Tencent said so, and gone when it has grown back.
    pub(super) passing: bool,
}

/// A leaf of the order of turns, which needs no more than to be counted.
#[derive(Debug, Default)]
pub(super) struct Waits;

impl State {
    pub(super) fn new(name: AppName, started: Instant, replica: Option<Arc<Replica>>) -> Self {
        Self {
            name,
            started,
            latest: started,
            apis: Pages::default(),
            app: None,
            has_no_app_ceiling: false,
            sources: HashMap::default(),
            waiting: Fair::default(),
            looks: BTreeSet::new(),
            app_binds: false,
            sleeps_until: None,
            made: 0,
            changes: 0,
            turns: 0,
            recent: Recent::new(started),
            counted: HashMap::default(),
            replica,
            speaking: Speaking::default(),
        }
    }

    /// Makes the buckets that a call needs and that are not in use yet. Says whether one changed that others wait for.
    pub(super) fn open(&mut self, ask: Ask<'_>, settings: &impl Fn() -> Arc<Settings>, now: Instant) -> bool {
        if !self.name.is(ask.app) {
            self.name = ask.app.clone();
        }
        if self.apis.get(ask.api.key).is_none() {
            let rules = settings().api_rules(ask.api);
            let bucket = rules.map(|rules| self.shared_bucket(rules, &ask.api.label, now));
            let page = Page {
                api: Arc::clone(ask.api),
                bucket,
                queue: Queue::default(),
                look: None,
                latest_turn: 0,
            };
            self.apis.insert(ask.api.key, page);
        }
        if self.app.is_none() && !self.has_no_app_ceiling {
            match settings().app_rules() {
                Some(rules) => {
                    let bucket = self.shared_bucket(rules, WHOLE_APP, now);
                    self.app = Some(Box::new(AppCeiling { bucket, passing: false }));
                }
                None => self.has_no_app_ceiling = true,
            }
        }
        self.open_source(&ask.line.source, settings, now)
    }

    fn open_source(&mut self, source: &Source, settings: &impl Fn() -> Arc<Settings>, now: Instant) -> bool {
        let due = source.max_per_second();
        match self.sources.get_mut(source) {
            Some(ceiling) if ceiling.per_second == due => return false,
            Some(ceiling) => {
                ceiling.per_second = due;
                ceiling.binds = false;
                if let Some(per_second) = due {
                    ceiling.bucket.set_rules(&settings().source_rules(per_second));
                }
            }
            None => {
                let Some(per_second) = due else { return false };
                let rules = settings().source_rules(per_second);
                // Only a rule sets one, and its name is the same in every replica.
                let bucket = match source.group() {
                    Group::Rule(name) => self.shared_bucket(rules, &format!("rule {name}"), now),
                    Group::Loopback | Group::Network(_) | Group::User(_) => self.bucket(rules, now),
                };
                self.sources.insert(source.clone(), SourceCeiling { bucket, per_second: due, binds: false });
            }
        }
        self.changed();
        let others_wait = self.waiting.child(source).is_some();
        if others_wait {
            self.look_at_all(now);
        }
        others_wait
    }

    /// A ceiling that is shared with other replicas, if there are any.
    fn shared_bucket(&mut self, rules: Rules, id: &str, now: Instant) -> Bucket {
        let mut bucket = self.bucket(rules, now);
        share(&mut bucket, self.replica.as_ref(), id, now);
        bucket
    }

    fn bucket(&mut self, rules: Rules, now: Instant) -> Bucket {
        self.made += 1;
        Bucket::new(rules, self.made, self.started, now)
    }

    /// Ceilings were lowered or began.
    pub(super) fn changed(&mut self) {
        self.changes += 1;
    }

    pub(super) fn apply(&mut self, settings: &Settings, now: Instant) {
        self.changed();
        self.has_no_app_ceiling = settings.app_rules().is_none();
        let mut opened = Vec::new();
        for (key, page) in self.apis.iter_mut() {
            match (settings.api_rules(&page.api), &mut page.bucket) {
                (Some(rules), Some(bucket)) => bucket.set_rules(&rules),
                (Some(rules), None) => opened.push((key, rules)),
                (None, bucket) => {
                    if let Some(bucket) = bucket.take() {
                        keep_counts(&mut self.counted, Whose::Api(key), &bucket);
                    }
                }
            }
        }
        for (key, rules) in opened {
            let Some(label) = self.apis.get(key).map(|page| Arc::clone(&page.api.label)) else { continue };
            let bucket = self.shared_bucket(rules, &label, now);
            if let Some(page) = self.apis.get_mut(key) {
                page.bucket = Some(bucket);
            }
        }
        match (settings.app_rules(), &mut self.app) {
            (Some(rules), Some(app)) => {
                app.bucket.set_rules(&rules);
                if app.passing {
                    app.passing = false;
                    share(&mut app.bucket, self.replica.as_ref(), WHOLE_APP, now);
                }
            }
            (Some(rules), None) => self.open_app(rules, false, now),
            (None, Some(app)) if app.passing => {}
            (None, _) => self.close_app(),
        }
        for ceiling in self.sources.values_mut() {
            if let Some(per_second) = ceiling.per_second {
                ceiling.bucket.set_rules(&settings.source_rules(per_second));
            }
        }
        self.look_at_all(now);
    }

    /// A ceiling over all APIs begins while calls are under way: those of the last second count.
    fn open_app(&mut self, rules: Rules, passing: bool, now: Instant) {
        // What Tencent asks for, each replica is told by itself.
        let mut bucket =
            if passing { self.bucket(rules, now) } else { self.shared_bucket(rules, WHOLE_APP, now) };
        bucket.reckon(self.recent.within_a_second(now), now);
        self.app = Some(Box::new(AppCeiling { bucket, passing }));
    }

    fn close_app(&mut self) {
        if let Some(app) = self.app.take() {
            keep_counts(&mut self.counted, Whose::App, &app.bucket);
        }
    }

    pub(super) fn cut_app(&mut self, settings: &Settings, now: Instant) -> Option<Cut> {
        if self.app.is_none() {
            let used = NonZeroU32::new(self.recent.within_a_second(now)).unwrap_or(NonZeroU32::MIN);
            self.open_app(settings.rules(vec![Ceiling::per_second(used)]), true, now);
        }
        self.app.as_mut()?.bucket.cut(APP_KEEPS, now)
    }

    /// Whether the app's ceiling is what calls wait for.
    pub(super) fn waits_for_app(&self) -> bool {
        self.app.is_some() && self.app_binds && !self.waiting.is_empty()
    }

    /// An app's ceiling that Tencent asked for goes when it has grown back.
    pub(super) fn dissolve(&mut self, now: Instant) {
        let waiting = self.waits_for_app();
        if let Some(app) = self.app.as_mut().filter(|app| app.passing) {
            app.bucket.settle(waiting, now);
            if app.bucket.is_whole() {
                self.close_app();
            }
        }
    }

    /// Forgets what has been idle for long. Says whether nothing is left.
    pub(super) fn forget_idle(&mut self, now: Instant) -> bool {
        let Self { apis, counted, .. } = self;
        apis.retain(|key, page| {
            let kept = !page.queue.is_empty()
                || page.bucket.as_mut().is_some_and(|bucket| !bucket.is_forgettable(now));
            if !kept && let Some(bucket) = &page.bucket {
                keep_counts(counted, Whose::Api(key), bucket);
            }
            kept
        });
        self.sources.retain(|_, ceiling| !ceiling.bucket.is_forgettable(now));
        self.dissolve(now);
        if self.app.as_mut().is_some_and(|app| app.bucket.is_forgettable(now)) {
            self.close_app();
        }
        let is_empty =
            self.apis.is_empty() && self.sources.is_empty() && self.app.is_none() && self.counted.is_empty();
        is_empty && self.recent.within_a_second(now) == 0
    }

    /// A call passed in shadow mode that would have waited: for its API's ceiling, or the app's where its API has none.
    pub(super) fn shadowed(&mut self, api: ApiKey) {
        let has_own = self.page(api).is_some_and(|page| page.bucket.is_some());
        let whose = if has_own { Whose::Api(api) } else { Whose::App };
        self.counted.entry(whose).or_default().shadowed += 1;
    }

    /// Brings up to `now` every bucket that a call needs.
    pub(super) fn settle(&mut self, api: ApiKey, source: &Source, now: Instant) {
        let waits_for_app = self.waits_for_app();
        let page = self.apis.get_mut(api);
        if let Some(page) = page
            && let Some(bucket) = &mut page.bucket
        {
            bucket.settle(!page.queue.is_empty(), now);
        }
        if let Some(app) = &mut self.app {
            app.bucket.settle(waits_for_app, now);
        }
        if let Some(ceiling) = of_source_mut(&mut self.sources, source) {
            ceiling.bucket.settle(self.waiting.child(source).is_some(), now);
        }
    }

    /// The buckets that a call needs.
    pub(super) fn needed(&self, api: ApiKey, source: &Source) -> impl Iterator<Item = &Bucket> {
        let of_api = self.page(api).and_then(|page| page.bucket.as_ref());
        let of_app = self.app.as_ref().map(|app| &app.bucket);
        let of_source = of_source(&self.sources, source).map(|ceiling| &ceiling.bucket);
        of_api.into_iter().chain(of_app).chain(of_source)
    }

    /// Whether the ceilings let a call go now that nobody is before.
    pub(super) fn may_go(&self, ask: Ask<'_>, now: Instant) -> bool {
        let ignores_the_pace = ask.max_wait.is_zero();
        self.needed(ask.api.key, &ask.line.source)
            .all(|bucket| if ignores_the_pace { bucket.is_home(now) } else { bucket.is_ready(now) })
    }

    pub(super) fn next_home(&self, api: ApiKey, source: &Source, now: Instant) -> Instant {
        self.needed(api, source).map(|bucket| bucket.next_home(now)).max().unwrap_or(now)
    }

    /// Takes every token that a call needs; all are at home.
    pub(super) fn take(&mut self, api: ApiKey, source: &Source, now: Instant) -> Taken {
        let take = |bucket: &mut Bucket| Hold::of(bucket, now);
        let of_api = self.page_mut(api).and_then(|page| page.bucket.as_mut()).map(take);
        let of_app = self.app.as_mut().map(|app| take(&mut app.bucket));
        let of_source = of_source_mut(&mut self.sources, source).map(|ceiling| take(&mut ceiling.bucket));
        self.recent.count(now);
        Taken { granted: now, changes: self.changes, api, source: source.clone(), of_api, of_app, of_source }
    }

    /// The last byte of a call was handed to the kernel that had its turn at `granted`.
    pub(super) fn left(&mut self, granted: Instant, now: Instant) {
        self.recent.left(granted, now);
    }

    /// Whether a call that had its turn and did not leave yet may do so: it has a token of each ceiling in force, and no
    /// more of any are away than there are by now.
    pub(super) fn confirms(&mut self, taken: &Taken, now: Instant) -> bool {
        let confirms = |bucket: &mut Bucket, hold: &Option<Hold>| {
            hold.as_ref().is_some_and(|hold| hold.is_of(bucket) && hold.confirms(bucket, now))
        };
        let of_api = self.page_mut(taken.api).and_then(|page| page.bucket.as_mut());
        of_api.is_none_or(|bucket| confirms(bucket, &taken.of_api))
            && self.app.as_mut().is_none_or(|app| confirms(&mut app.bucket, &taken.of_app))
            && of_source_mut(&mut self.sources, &taken.source)
                .is_none_or(|ceiling| confirms(&mut ceiling.bucket, &taken.of_source))
    }

    /// Whether what stands behind a call's tokens still does.
    pub(super) fn stands(&mut self, taken: &Taken, now: Instant) -> bool {
        let of_api = self.apis.get_mut(taken.api).and_then(|page| page.bucket.as_mut());
        let of_app = self.app.as_mut().map(|app| &mut app.bucket);
        let of_source = self.sources.get_mut(&taken.source).map(|ceiling| &mut ceiling.bucket);
        let holds = [&taken.of_api, &taken.of_app, &taken.of_source];
        [of_api, of_app, of_source].into_iter().zip(holds).all(|(bucket, hold)| match (bucket, hold) {
            (Some(bucket), Some(hold)) if hold.is_of(bucket) => hold.stands(bucket, now),
            _ => true,
        })
    }

    /// The bucket of which a call took its API's token, if it is still in use.
    pub(super) fn taken_of_api(&self, taken: &Taken) -> Option<&Bucket> {
        let bucket = self.page(taken.api)?.bucket.as_ref()?;
        taken.of_api.as_ref()?.is_of(bucket).then_some(bucket)
    }

    /// Does something to each bucket of which a token was taken and that is still in use.
    pub(super) fn each_taken(
        &mut self,
        taken: &mut Taken,
        mut change: impl FnMut(&mut Bucket, &mut Hold, OfTaken),
    ) {
        let Taken { api, source, of_api, of_app, of_source, .. } = taken;
        let mut each = |bucket: Option<&mut Bucket>, hold: &mut Hold, of: OfTaken| {
            if let Some(bucket) = bucket.filter(|bucket| hold.is_of(bucket)) {
                change(bucket, hold, of);
            }
        };
        if let Some(hold) = of_api {
            let page = self.apis.get_mut(*api);
            each(page.and_then(|page| page.bucket.as_mut()), hold, |of| &mut of.api);
        }
        if let Some(hold) = of_app {
            each(self.app.as_mut().map(|app| &mut app.bucket), hold, |of| &mut of.app);
        }
        if let Some(hold) = of_source {
            let ceiling = self.sources.get_mut(source);
            each(ceiling.map(|ceiling| &mut ceiling.bucket), hold, |of| &mut of.source);
        }
    }

    pub(super) fn page(&self, api: ApiKey) -> Option<&Page> {
        self.apis.get(api)
    }

    pub(super) fn page_mut(&mut self, api: ApiKey) -> Option<&mut Page> {
        self.apis.get_mut(api)
    }
}

/// Which of a call's tokens is meant.
pub(super) type OfTaken = fn(&mut TakenInTransit) -> &mut Option<InTransit>;

/// From now on the bucket's ceiling is shared with other replicas, if there are any.
fn share(bucket: &mut Bucket, replica: Option<&Arc<Replica>>, id: &str, now: Instant) {
    if let Some(replica) = replica {
        let contact = Arc::clone(replica.contact());
        bucket.share(|ceilings, release| Leases::new(id.into(), contact, ceilings, release, now));
    }
}

/// The bucket is about to go.
fn keep_counts(counted: &mut HashMap<Whose, Counted>, whose: Whose, bucket: &Bucket) {
    if bucket.unproven() > 0 {
        counted.entry(whose).or_default().unproven += bucket.unproven();
    }
}

/// A source's own ceiling, if it has one.
pub(super) fn of_source<'a>(sources: &'a Sources, source: &Source) -> Option<&'a SourceCeiling> {
    // What the source itself says may be older than what is in force: it is that of a call which has waited since.
    sources.get(source).filter(|ceiling| ceiling.per_second.is_some())
}

pub(super) fn of_source_mut<'a>(sources: &'a mut Sources, source: &Source) -> Option<&'a mut SourceCeiling> {
    sources.get_mut(source).filter(|ceiling| ceiling.per_second.is_some())
}

/// Whether a source's own ceiling, if it has one, lets a call go now.
pub(super) fn is_source_ready(sources: &mut Sources, source: &Source, now: Instant) -> bool {
    of_source_mut(sources, source).is_none_or(|ceiling| {
        ceiling.bucket.settle(true, now);
        let is_ready = ceiling.bucket.is_ready(now);
        ceiling.binds |= !is_ready;
        is_ready
    })
}

/// The share of what was in use that an app keeps after 60011.
const APP_KEEPS: f64 = 0.7;
