//! The pages of a book, found by API.

use std::sync::Arc;

use tokio::time::Instant;

use crate::gateway::admission::bucket::Bucket;
use crate::gateway::admission::queue::Queue;
use crate::gateway::target::{Api, ApiKey};
use crate::model::hash_map::HashMap;

/// A page for each API of an app that is in use.
///
/// Many apps call a single API. One page lies in the book itself: a table elsewhere in memory is two more cache lines, each
/// of them on the way to the next, and with many apps in use all are cold. Together with the ring of
/// [`Recent`](super::recent::Recent) a call takes 0.95 of the CPU that it took (0.90 to 1.01, 120 rounds) with 1,000 of 10,000
/// apps in use, and with one app 0.99 (0.94 to 1.03).
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Of whichever API came when there was none.
    first: Option<(ApiKey, Page)>,
    others: HashMap<ApiKey, Page>,
}

/// One API's page in the book. What every call touches is side by side: the end of the bucket and the beginning of the queue.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Page {
    pub(super) api: Arc<Api>,
    pub(super) look: Option<Instant>,
    /// The number of its latest turn among those of the whole app; 0: none yet.
    pub(super) latest_turn: u64,
    /// `None`: the API has no ceiling.
    pub(super) bucket: Option<Bucket>,
    pub(super) queue: Queue,
}

// === impl Pages ===

impl Pages {
    pub(super) fn get(&self, api: ApiKey) -> Option<&Page> {
        match &self.first {
            Some((key, page)) if *key == api => Some(page),
            _ => self.others.get(&api),
        }
    }

    pub(super) fn get_mut(&mut self, api: ApiKey) -> Option<&mut Page> {
        match &mut self.first {
            Some((key, page)) if *key == api => Some(page),
            _ => self.others.get_mut(&api),
        }
    }

    /// Adds the page of an API that has none.
    pub(super) fn insert(&mut self, api: ApiKey, page: Page) {
        debug_assert!(self.get(api).is_none(), "an API has one page");
        if self.first.is_none() {
            self.first = Some((api, page));
        } else {
            self.others.insert(api, page);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Page> {
        self.first.iter().map(|(_, page)| page).chain(self.others.values())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ApiKey, &mut Page)> {
        let first = self.first.iter_mut().map(|(key, page)| (*key, page));
        first.chain(self.others.iter_mut().map(|(key, page)| (*key, page)))
    }

    /// Takes out the pages of which `keep` does not say that they are to stay.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(ApiKey, &mut Page) -> bool) {
        if let Some((key, page)) = &mut self.first
            && !keep(*key, page)
        {
            self.first = None;
        }
        self.others.retain(|key, page| keep(*key, page));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }
}

// === impl Page ===

impl Page {
    /// Whether a call that waits here may go now, as far as the API's own ceiling says.
    pub(super) fn is_ready(&mut self, now: Instant) -> bool {
        self.bucket.as_mut().is_none_or(|bucket| {
            bucket.settle(true, now);
            bucket.is_ready(now)
        })
    }
}
