//! Handles by what they count.

use std::hash::Hash;
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::model::hash_map::HashMap;

/// Handles that were made once and are found again: read on every call, written when a key is first seen. Whoever
/// chooses the keys keeps them bounded.
///
/// Of most the first is the only one that counts: an app's one API, its one endpoint, answers with ErrorCode 0. It is found
/// where its owner lies, without a lock and a table elsewhere in memory.
#[derive(Debug)]
pub(super) struct Handles<K, H> {
    first: OnceLock<(K, H)>,
    others: RwLock<HashMap<K, H>>,
}

impl<K: Eq + Hash + Clone, H: Clone> Handles<K, H> {
    pub(super) fn find(&self, key: &K) -> Option<H> {
        match self.first.get()? {
            (first, handle) if first == key => Some(handle.clone()),
            _ => self.others.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned(),
        }
    }

    pub(super) fn find_or(&self, key: &K, make: impl FnOnce() -> H) -> H {
        self.find(key).unwrap_or_else(|| self.add(key, make))
    }

    fn add(&self, key: &K, make: impl FnOnce() -> H) -> H {
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        // Written under the lock, so that no other thread makes the same.
        match self.first.get() {
            None => self.first.get_or_init(|| (key.clone(), make())).1.clone(),
            Some((first, handle)) if first == key => handle.clone(),
            Some(_) => others.entry(key.clone()).or_insert_with(make).clone(),
        }
    }

    /// Looks at all of them. Whoever finds one meanwhile does not wait; whoever makes the first of a key does.
    pub(super) fn each(&self, mut look: impl FnMut(&K, &H)) {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        for (key, handle) in self.first.get().map(|(key, handle)| (key, handle)).into_iter().chain(&*others) {
            look(key, handle);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut count = 0;
        self.each(|_, _| count += 1);
        count
    }
}

impl<K, H> Default for Handles<K, H> {
    fn default() -> Self {
        Self { first: OnceLock::new(), others: RwLock::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_key_keeps_the_handle_that_was_made_first() {
        let handles = Handles::default();
        assert!(handles.find(&1).is_none());
        let made = [1, 2, 3].map(|key| handles.find_or(&key, || Arc::new(key)));
        for (key, made) in (1..).zip(&made) {
            assert!(Arc::ptr_eq(made, &handles.find(&key).unwrap()));
            assert!(Arc::ptr_eq(made, &handles.find_or(&key, || unreachable!("it is there"))));
        }
        assert!(handles.find(&4).is_none());
        let mut seen = Vec::new();
        handles.each(|&key, handle| seen.push((key, **handle)));
        seen.sort_unstable();
        assert_eq!((seen, handles.len()), (vec![(1, 1), (2, 2), (3, 3)], 3));
    }

    #[test]
    fn threads_that_ask_at_once_get_the_same() {
        let handles = Handles::default();
        let made = std::thread::scope(|scope| {
            let asking = [(); 8].map(|()| scope.spawn(|| handles.find_or(&1, || Arc::new(0))));
            asking.map(|asked| asked.join().unwrap())
        });
        assert!(made.iter().all(|handle| Arc::ptr_eq(handle, &made[0])));
    }
}
