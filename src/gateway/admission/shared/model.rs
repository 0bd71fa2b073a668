//! What the scripts do, in Rust: for the test that holds them against this, and as the store of simulations.

mod lending;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::protocol::{
    FINE, GUARD, LEASE, Lend, Lent, MISSING_AFTER, Meet, Member, Membership, Met, Terms, micros,
};
use crate::model::app::SdkAppId;

/// Everything that the store keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    replicas: Option<Replicas>,
    apps: HashMap<SdkAppId, App>,
    /// In which epoch tokens of an app were lent last.
    lent: HashMap<SdkAppId, Arc<str>>,
}

#[derive(Debug, Clone)]
struct Replicas {
    run: Arc<str>,
    epoch: Arc<str>,
    quiet: i64,
    shift: i64,
    /// Whether nobody told of the shift who was there before.
    unsure: bool,
    version: i64,
    calm: i64,
    /// The slot of each part that is kept, since when its owner is back (0: it is missing), and who that is.
    reserved: Vec<(i64, i64, Arc<str>)>,
    members: BTreeMap<Arc<str>, Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    incarnation: Arc<str>,
    seen: i64,
    slot: i64,
    back: i64,
}

#[derive(Debug, Clone)]
struct App {
    born: Arc<str>,
    epoch: Arc<str>,
    shift: i64,
    quiet: i64,
    buckets: HashMap<Arc<str>, Bucket>,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    /// Of each period, how many tokens come home at the end of which slice.
    periods: Vec<(i64, BTreeMap<i64, i64>)>,
    waiters: BTreeMap<Arc<str>, Waiter>,
    /// Whose sends without the store are known one by one, since when.
    registered: BTreeMap<Arc<str>, i64>,
    /// What may be lent at once, in thousandths, and when that was so.
    credit: Option<i64>,
    at: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Waiter {
    weight: i64,
    want: i64,
    due: i64,
    until: i64,
}

// === impl Model ===

impl Model {
    /// The work of `meet.lua`.
    pub(crate) fn meet(&mut self, now: i64, ask: &Meet) -> Met {
        let terms = &ask.opening.terms;
        if now > ask.opening.expected + micros(terms.late()) {
            return Met::Late { now };
        }
        let before = self.replicas.clone();
        let replicas = self.epoch(now, ask);
        for known in &ask.known {
            if !replicas.members.contains_key(&known.name) {
                let seen =
                    Seen { incarnation: known.incarnation.clone(), seen: now, slot: known.slot, back: 0 };
                replicas.members.insert(known.name.clone(), seen);
                replicas.version += 1;
            }
        }
        let name = &ask.opening.name;
        let mine = replicas.members.get(name).cloned();
        if ask.leaves {
            if mine.is_some_and(|mine| mine.incarnation == ask.incarnation) {
                replicas.members.remove(name);
                replicas.version += 1;
            }
        } else if mine.as_ref().is_some_and(|mine| mine.incarnation != ask.incarnation) && ask.is_member {
            self.replicas = before;
            return Met::Taken { now };
        } else {
            replicas.join(now, ask, mine);
        }
        replicas.look(now, terms, true);
        let slot = replicas.members.get(name).map_or(-1, |mine| mine.slot);
        let members = if ask.version == replicas.version { Vec::new() } else { replicas.told(now) };
        Met::Member(Membership {
            now,
            epoch: replicas.epoch.clone(),
            quiet: (replicas.quiet - now).max(0),
            slot,
            shift: replicas.shift,
            version: replicas.version,
            members,
        })
    }

    fn epoch(&mut self, now: i64, ask: &Meet) -> &mut Replicas {
        let quiet = micros(ask.opening.terms.quiet());
        let nonce: Arc<str> = ask.nonce.as_str().into();
        let run = &ask.opening.run;
        match &mut self.replicas {
            Some(replicas) if replicas.run == *run => {
                if ask.step != 0 && replicas.epoch == ask.epoch {
                    replicas.epoch = nonce;
                    replicas.quiet = now + quiet;
                    replicas.shift += ask.step;
                    for member in replicas.members.values_mut() {
                        member.seen += ask.step;
                        member.back += if member.back > 0 { ask.step } else { 0 };
                    }
                } else if let Some(latest) = replicas.members.values().map(|member| member.seen).max()
                    && now >= latest + micros(MISSING_AFTER) + quiet
                {
                    replicas.epoch = nonce;
                    replicas.quiet = now + quiet;
                }
            }
            before => {
                let old = before.take();
                let (shift, mut members) = old.map_or_else(Default::default, |old| (old.shift, old.members));
                for member in members.values_mut() {
                    member.seen = now;
                    member.back = if member.back > 0 { now } else { 0 };
                }
                *before = Some(Replicas {
                    run: run.clone(),
                    epoch: nonce,
                    quiet: now + quiet,
                    shift: ask.shift.unwrap_or(shift),
                    unsure: ask.shift.is_none(),
                    version: now,
                    calm: 0,
                    reserved: Vec::new(),
                    members,
                });
            }
        }
        let replicas = self.replicas.as_mut().expect("it was made above, if it was not there");
        if let Some(shift) = ask.shift
            && replicas.unsure
            && replicas.epoch != ask.epoch
        {
            if (shift - replicas.shift).abs() > SAME {
                replicas.epoch = ask.nonce.as_str().into();
                replicas.quiet = now + quiet;
                replicas.shift = shift;
            }
            replicas.unsure = false;
        }
        replicas
    }

    /// Everything of an app gets lost.
    pub(crate) fn evict(&mut self, app: SdkAppId) {
        self.apps.remove(&app);
    }

    /// How many tokens are away, of every ceiling's first period.
    pub(crate) fn away(&self, now: i64) -> i64 {
        let buckets = self.apps.values().flat_map(|app| app.buckets.values());
        let first = buckets.filter_map(|bucket| bucket.periods.first());
        let away = |(length, coming): &(i64, BTreeMap<i64, i64>)| -> i64 {
            coming.iter().filter(|&(at, _)| at * slice(*length) > now).map(|(_, count)| count).sum()
        };
        first.map(away).sum()
    }

    /// The work of `lend.lua`.
    pub(crate) fn lend(&mut self, now: i64, ask: &Lend) -> Lent {
        let terms = &ask.opening.terms;
        if now > ask.opening.expected + micros(terms.late()) {
            return Lent::Late { now };
        }
        let replicas = self.replicas.as_mut();
        let Some(replicas) =
            replicas.filter(|replicas| replicas.run == ask.opening.run && replicas.epoch == ask.epoch)
        else {
            return Lent::OtherEpoch { now };
        };
        if now >= replicas.calm {
            replicas.look(now, terms, false);
        }
        let was_lent =
            self.lent.insert(ask.app, replicas.epoch.clone()).is_some_and(|epoch| epoch == replicas.epoch);
        let app = self.apps.entry(ask.app).or_insert_with(|| App {
            born: ask.nonce.as_str().into(),
            epoch: replicas.epoch.clone(),
            shift: replicas.shift,
            quiet: if was_lent { now + micros(terms.quiet()) } else { replicas.quiet },
            buckets: HashMap::new(),
        });
        if app.epoch != replicas.epoch {
            app.enter(replicas, terms);
        }
        let quiet = (replicas.quiet - now).max(app.quiet - now).max(0);
        let lending = Lending { now, quiet, terms, name: &ask.opening.name, replicas };
        let loans = ask.ceilings.iter().map(|wish| {
            let bucket = app.buckets.entry(wish.id.clone()).or_default();
            let loan = lending.lend(bucket, wish);
            // Looked at when it was asked for only: what an epoch's beginning left empty stays until then.
            if bucket.is_empty() {
                app.buckets.remove(&wish.id);
            }
            loan
        });
        let loans = loans.collect();
        Lent::Loans { now, born: app.born.clone(), quiet, loans }
    }
}

// === impl Replicas ===

impl Replicas {
    fn join(&mut self, now: i64, ask: &Meet, mine: Option<Seen>) {
        let mut mine = mine.unwrap_or_else(|| {
            let is_taken = |slot| self.members.values().any(|member| member.slot == slot);
            let most = i64::from(ask.opening.terms.max_replicas);
            let is_free = (0..most).contains(&ask.slot) && !is_taken(ask.slot);
            let slot = if is_free { Some(ask.slot) } else { (0..most).find(|&slot| !is_taken(slot)) };
            self.version += 1;
            Seen { incarnation: ask.incarnation.clone(), seen: now, slot: slot.unwrap_or(-1), back: 0 }
        });
        if mine.incarnation != ask.incarnation {
            if now >= mine.seen + micros(MISSING_AFTER) {
                mine.back = now;
            }
            self.version += 1;
        }
        if ask.spent {
            mine.back = now;
        }
        mine.incarnation = ask.incarnation.clone();
        mine.seen = now;
        self.members.insert(ask.opening.name.clone(), mine);
    }

    /// Finds whose parts are kept.
    fn look(&mut self, now: i64, terms: &Terms, forget: bool) {
        (self.calm, self.reserved) = (now + 3_600_000_000, Vec::new());
        let gone_after = micros(terms.absent_for) + micros(terms.quiet());
        let mut gone = Vec::new();
        for (name, member) in &mut self.members {
            let (missing_at, gone_at) = (member.seen + micros(MISSING_AFTER), member.seen + gone_after);
            if now >= gone_at {
                gone.push(name.clone());
                continue;
            }
            let is_missing = now >= missing_at;
            self.calm = self.calm.min(if is_missing { gone_at } else { missing_at });
            if member.slot >= 0 && (is_missing || member.back > 0) {
                self.reserved.push((member.slot, if is_missing { 0 } else { member.back }, name.clone()));
            }
            if forget && !is_missing && member.back > 0 && now >= member.back + gone_after {
                member.back = 0;
            }
        }
        if forget {
            self.version += i64::try_from(gone.len()).unwrap_or(i64::MAX);
            self.members.retain(|name, _| !gone.contains(name));
        }
    }

    fn told(&self, now: i64) -> Vec<Member> {
        let told = |(name, member): (&Arc<str>, &Seen)| Member {
            name: name.clone(),
            incarnation: member.incarnation.clone(),
            slot: member.slot,
            is_there: now < member.seen + micros(MISSING_AFTER),
        };
        self.members.iter().map(told).collect()
    }
}

impl App {
    /// Another epoch has begun since it was last used.
    fn enter(&mut self, replicas: &Replicas, terms: &Terms) {
        let moved = (replicas.shift - self.shift).max(0);
        for bucket in self.buckets.values_mut() {
            bucket.waiters.clear();
            bucket.registered.clear();
            for (period, coming) in &mut bucket.periods {
                let began = replicas.quiet - micros(terms.quiet());
                let latest = home(began + micros(LEASE + terms.transit_max), *period);
                let mut moved_on = BTreeMap::new();
                for (&at, &count) in &*coming {
                    *moved_on.entry(latest.min(at + ceil(moved, slice(*period)))).or_default() += count;
                }
                *coming = moved_on;
            }
        }
        self.epoch = replicas.epoch.clone();
        self.shift = replicas.shift;
        self.quiet = replicas.quiet;
    }
}

struct Lending<'a> {
    now: i64,
    quiet: i64,
    terms: &'a Terms,
    name: &'a Arc<str>,
    replicas: &'a Replicas,
}

// === impl Bucket ===

impl Bucket {
    /// Whether nothing is known of it but its credit.
    fn is_empty(&self) -> bool {
        self.periods.is_empty() && self.waiters.is_empty() && self.registered.is_empty()
    }
}

fn slice(period: i64) -> i64 {
    (period / i64::from(FINE)).max(1_000)
}

fn home(released: i64, period: i64) -> i64 {
    ceil(released + period + micros(GUARD), slice(period))
}

fn ceil(number: i64, by: i64) -> i64 {
    (number + by - 1).div_euclid(by)
}

/// What two replicas tell of the clock that differs by no more is the same.
const SAME: i64 = 50_000;
