//! What was made once for a key and is found again.

use std::hash::Hash;
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::model::hash_map::HashMap;

/// What was made once for each key: looked at on every call, written when a key is first seen. Whoever chooses the keys
/// keeps them bounded.
///
/// Of most the first is the only one that counts: an app's one API, its one endpoint, answers with ErrorCode 0. It lies
/// where its owner does, and is found without a lock and a table elsewhere in memory.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    first: OnceLock<(K, V)>,
    others: RwLock<HashMap<K, V>>,
}

impl<K: Eq + Hash + Clone, V> Kept<K, V> {
    /// Looks at that of `key`, if there is one.
    pub(super) fn at<R>(&self, key: &K, look: impl FnOnce(&V) -> R) -> Option<R> {
        match self.first.get()? {
            (first, value) if first == key => Some(look(value)),
            _ => self.others.read().unwrap_or_else(PoisonError::into_inner).get(key).map(look),
        }
    }

    /// Looks at that of `key`, which is made if there is none.
    pub(super) fn at_or<R>(&self, key: &K, make: impl FnOnce() -> V, look: impl Fn(&V) -> R) -> R {
        self.at(key, &look).unwrap_or_else(|| {
            let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
            // Written under the lock, so that no other thread makes the same.
            match self.first.get() {
                None => look(&self.first.get_or_init(|| (key.clone(), make())).1),
                Some((first, value)) if first == key => look(value),
                Some(_) => look(others.entry(key.clone()).or_insert_with(make)),
            }
        })
    }

    /// Looks at all of them. Whoever makes the first of a key waits meanwhile, and then so does whoever finds one: not for
    /// many, nor for what takes long.
    pub(super) fn each(&self, mut look: impl FnMut(&K, &V)) {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in self.first.get().map(|(key, value)| (key, value)).into_iter().chain(&*others) {
            look(key, value);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut count = 0;
        self.each(|_, _| count += 1);
        count
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Kept<K, V> {
    pub(super) fn find(&self, key: &K) -> Option<V> {
        self.at(key, V::clone)
    }

    pub(super) fn find_or(&self, key: &K, make: impl FnOnce() -> V) -> V {
        self.at_or(key, make, V::clone)
    }

    /// All of them, as they are now.
    pub(super) fn all(&self) -> Vec<(K, V)> {
        let mut all = Vec::new();
        self.each(|key, value| all.push((key.clone(), value.clone())));
        all
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { first: OnceLock::new(), others: RwLock::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_key_keeps_what_was_made_first() {
        let kept = Kept::default();
        assert!(kept.find(&1).is_none());
        let made = [1, 2, 3].map(|key| kept.find_or(&key, || Arc::new(key)));
        for (key, made) in (1..).zip(&made) {
            assert!(Arc::ptr_eq(made, &kept.find(&key).unwrap()));
            assert!(Arc::ptr_eq(made, &kept.find_or(&key, || unreachable!("it is there"))));
        }
        assert!(kept.find(&4).is_none());
        let mut seen = Vec::new();
        kept.each(|&key, value| seen.push((key, **value)));
        seen.sort_unstable();
        assert_eq!((seen, kept.len()), (vec![(1, 1), (2, 2), (3, 3)], 3));
    }

    #[test]
    fn threads_that_ask_at_once_get_the_same() {
        let kept = Kept::default();
        let made = std::thread::scope(|scope| {
            let asking = [(); 8].map(|()| scope.spawn(|| kept.find_or(&1, || Arc::new(0))));
            asking.map(|asked| asked.join().unwrap())
        });
        assert!(made.iter().all(|value| Arc::ptr_eq(value, &made[0])));
    }
}
