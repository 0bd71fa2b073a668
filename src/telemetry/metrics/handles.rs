//! Handles by what they count.

use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use crate::model::hash_map::HashMap;

/// Handles that were made once and are found again: read on every call, written when a key is first seen. Whoever
/// chooses the keys keeps them bounded.
#[derive(Debug)]
pub(super) struct Handles<K, H>(RwLock<HashMap<K, H>>);

impl<K: Eq + Hash + Clone, H: Clone> Handles<K, H> {
    pub(super) fn find(&self, key: &K) -> Option<H> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn find_or(&self, key: &K, make: impl FnOnce() -> H) -> H {
        self.find(key).unwrap_or_else(|| {
            let mut handles = self.0.write().unwrap_or_else(PoisonError::into_inner);
            handles.entry(key.clone()).or_insert_with(make).clone()
        })
    }

    /// Looks at all of them. Whoever finds one meanwhile does not wait; whoever makes the first of a key does.
    pub(super) fn each(&self, mut look: impl FnMut(&K, &H)) {
        for (key, handle) in &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            look(key, handle);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<K, H> Default for Handles<K, H> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}
