//! Fair turns among those who wait: self-clocked fair queueing, one level of it.
//!
//! Each child of a [`Fair`] waits with a tag, and the one with the lowest goes next. A child that begins to wait gets
//! the tag of the turn that was served last, and one step more; after each of its turns it goes a step on. The step is
//! shorter the more weight a child has, so over any time in which two children wait all along, their turns are as their
//! weights. A newcomer is behind everybody's next turn and before everybody's second: it neither waits for long queues
//! nor passes those who stood there before it, and having been idle earns nothing.
//!
//! A child may be a `Fair` itself: source network first, then the caller inside it.
//!
//! Each step is O(log n) in the number of children.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::num::NonZeroU32;

use crate::model::hash_map::HashMap;

/// Children that wait, of which the next is to be told.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Fair<K, T> {
    /// How many wait under all of them. It stands first, beside what else every call touches: most find nobody waiting.
    len: usize,
    children: HashMap<K, Child<T>>,
    /// By tag, then by who got it first.
    turns: BTreeMap<(Tag, u64), K>,
    /// By how many wait under it, then by who came first.
    lengths: BTreeMap<(usize, u64), K>,
    /// The tag of the turn that was served last.
    clock: Tag,
    next_number: u64,
}

#[derive(Debug)]
struct Child<T> {
    inner: T,
    /// Its tag, and a number that grows with each tag given.
    turn: (Tag, u64),
    number: u64,
    step: Tag,
    len: usize,
}

/// A place in the order of turns. 64 bits last for 2^44 turns of the lightest weight.
type Tag = u64;

impl<K: Eq + Hash + Clone, T: Default> Fair<K, T> {
    /// One more waits under `key`, put there by `put`.
    pub(super) fn enter(&mut self, key: &K, weight: NonZeroU32, put: impl FnOnce(&mut T)) {
        let step = (HEAVIEST / u64::from(weight.get())).max(1);
        if !self.children.contains_key(key) {
            let number = self.next_number;
            self.next_number += 1;
            let turn = (self.clock + step, number);
            self.turns.insert(turn, key.clone());
            self.lengths.insert((0, number), key.clone());
            self.children.insert(key.clone(), Child { inner: T::default(), turn, number, step, len: 0 });
        }
        let Some(child) = self.children.get_mut(key) else { return };
        child.step = step;
        put(&mut child.inner);
        self.len += 1;
        self.resize(key, 1);
    }

    /// One that waited under `key` leaves, taken away by `take`. `served`: because its turn has come.
    pub(super) fn leave<R>(
        &mut self,
        key: &K,
        served: bool,
        take: impl FnOnce(&mut T) -> Option<R>,
    ) -> Option<R> {
        let child = self.children.get_mut(key)?;
        let taken = take(&mut child.inner)?;
        self.len -= 1;
        if served {
            self.clock = self.clock.max(child.turn.0);
            self.turns.remove(&child.turn);
            child.turn = (self.clock + child.step, self.next_number);
            self.next_number += 1;
            self.turns.insert(child.turn, key.clone());
        }
        self.resize(key, -1);
        if self.len == 0 {
            self.clock = 0;
        }
        Some(taken)
    }

    /// The children in the order of their turns.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (&K, &T)> {
        self.turns.values().filter_map(|key| Some((key, &self.children.get(key)?.inner)))
    }

    /// The child under which the most wait, and how many.
    pub(super) fn longest(&self) -> Option<(&K, usize)> {
        self.lengths.last_key_value().map(|(&(len, _), key)| (key, len))
    }

    /// What waits under `key`, and how many.
    pub(super) fn child(&self, key: &K) -> Option<(&T, usize)> {
        self.children.get(key).map(|child| (&child.inner, child.len))
    }

    /// How many wait in all.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of the others that wait now have their turn before one that has `own` before it under its own `key`.
    /// Looks at no more than some children, so it may be fewer than there are.
    pub(super) fn ahead(&self, key: &K, weight: NonZeroU32, own: usize) -> usize {
        let step = (HEAVIEST / u64::from(weight.get())).max(1);
        let first = self.children.get(key).map_or(self.clock + step, |child| child.turn.0);
        let tag = first.saturating_add(step.saturating_mul(own as u64));
        let others = self.turns.iter().take(LOOKED_AT).filter(|&(_, other)| other != key);
        others
            .map(|(&(first, _), other)| {
                let Some(child) = self.children.get(other) else { return 0 };
                // Its next turn, and those of its later ones that are surely earlier.
                let turns = tag.checked_sub(first).map_or(0, |span| 1 + span.saturating_sub(1) / child.step);
                child.len.min(usize::try_from(turns).unwrap_or(usize::MAX))
            })
            .sum()
    }

    fn resize(&mut self, key: &K, by: isize) {
        let Some(child) = self.children.get_mut(key) else { return };
        self.lengths.remove(&(child.len, child.number));
        child.len = child.len.saturating_add_signed(by);
        if child.len == 0 {
            self.turns.remove(&child.turn);
            self.children.remove(key);
        } else {
            self.lengths.insert((child.len, child.number), key.clone());
        }
    }
}

impl<K, T> Default for Fair<K, T> {
    fn default() -> Self {
        Self {
            children: HashMap::default(),
            turns: BTreeMap::new(),
            lengths: BTreeMap::new(),
            len: 0,
            clock: 0,
            next_number: 0,
        }
    }
}

/// The step of weight 1; with more weight than this, steps are no shorter.
const HEAVIEST: Tag = 1 << 20;
/// How many children are looked at to say how many turns lie ahead.
const LOOKED_AT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(weight: u32) -> NonZeroU32 {
        weight.try_into().unwrap()
    }

    /// A queue of who waits how often, by name and weight.
    fn waiting(calls: &[(&'static str, u32, usize)]) -> Fair<&'static str, usize> {
        let mut fair = Fair::default();
        for &(name, its_weight, count) in calls {
            for _ in 0..count {
                fair.enter(&name, weight(its_weight), |waiting: &mut usize| *waiting += 1);
            }
        }
        fair
    }

    fn serve(fair: &mut Fair<&'static str, usize>) -> Option<&'static str> {
        let name = *fair.in_turn().next()?.0;
        fair.leave(&name, true, |waiting| {
            *waiting -= 1;
            Some(())
        });
        Some(name)
    }

    fn serve_times(fair: &mut Fair<&'static str, usize>, times: usize) -> Vec<&'static str> {
        (0..times).map_while(|_| serve(fair)).collect()
    }

    #[test]
    fn equals_take_turns_however_many_wait() {
        let mut fair = waiting(&[("a", 1, 1000), ("b", 1, 3)]);
        assert_eq!(serve_times(&mut fair, 7), ["a", "b", "a", "b", "a", "b", "a"]);
    }

    #[test]
    fn turns_are_as_weights() {
        let mut fair = waiting(&[("a", 1, 1000), ("b", 3, 1000)]);
        let served = serve_times(&mut fair, 400);
        assert_eq!(served.iter().filter(|&&name| name == "b").count(), 300);
    }

    #[test]
    fn a_newcomer_is_next_but_passes_nobodys_next_turn() {
        let mut fair = waiting(&[("a", 1, 100), ("b", 1, 100)]);
        assert_eq!(serve_times(&mut fair, 3), ["a", "b", "a"]);
        fair.enter(&"c", weight(1), |waiting| *waiting += 1);
        assert_eq!(serve_times(&mut fair, 4), ["b", "a", "c", "b"]);
    }

    #[test]
    fn ever_new_names_never_pass_one_who_waits() {
        let mut fair = waiting(&[("old", 1, 10)]);
        let names = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];
        for name in names {
            fair.enter(&name, weight(1), |waiting| *waiting += 1);
        }
        assert_eq!(serve(&mut fair), Some("old"));
        for name in ["m0", "m1", "m2"] {
            fair.enter(&name, weight(1), |waiting| *waiting += 1);
        }
        let served = serve_times(&mut fair, 11);
        assert_eq!(served[..10], names);
        assert_eq!(served[10], "old");
    }

    #[test]
    fn leaving_costs_no_turn() {
        let mut fair = waiting(&[("a", 1, 2), ("b", 1, 2)]);
        fair.leave(&"a", false, |waiting| {
            *waiting -= 1;
            Some(())
        });
        assert_eq!(serve_times(&mut fair, 9), ["a", "b", "b"]);
        assert!(
            fair.is_empty() && fair.children.is_empty() && fair.turns.is_empty() && fair.lengths.is_empty()
        );
    }

    #[test]
    fn the_longest_is_known() {
        let mut fair = waiting(&[("a", 1, 2), ("b", 1, 5), ("c", 1, 4)]);
        assert_eq!(fair.longest(), Some((&"b", 5)));
        serve_times(&mut fair, 6);
        assert_eq!((fair.longest(), fair.len()), (Some((&"b", 3)), 5));
    }

    #[test]
    fn turns_ahead_are_those_that_are_served_before() {
        for (calls, own) in [
            (vec![("a", 1, 10), ("b", 1, 2), ("c", 3, 50)], 0),
            (vec![("a", 1, 10), ("b", 1, 2), ("c", 3, 50)], 4),
            (vec![("a", 2, 10), ("b", 1, 20), ("me", 1, 6)], 6),
        ] {
            let mut fair = waiting(&calls);
            serve_times(&mut fair, 5);
            let own = fair.child(&"me").map_or(own, |(_, len)| len);
            let reckoned = fair.ahead(&"me", weight(1), own);
            for _ in fair.child(&"me").map_or(0, |(_, len)| len)..=own {
                fair.enter(&"me", weight(1), |waiting| *waiting += 1);
            }
            let served = serve_times(&mut fair, 100);
            let last = served.iter().rposition(|&name| name == "me").unwrap();
            let ahead = last - own;
            assert!(
                (ahead.saturating_sub(calls.len())..=ahead).contains(&reckoned),
                "{reckoned} of {ahead}: {calls:?}"
            );
        }
    }
}
