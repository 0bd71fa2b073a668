//! Looking whether there are newer keys, before a call is refused for its key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Lets calls whose key Tencent refuses ask for a look at where the keys come from. All that asked before a look
/// began share it.
#[derive(Debug)]
pub(super) struct Lookout {
    is_kept: AtomicBool,
    /// How often a look was asked for.
    asked: AtomicU64,
    wake: Notify,
    /// Up to which asking it was looked.
    looked: watch::Sender<u64>,
}

/// Whoever reads keys and looks when asked to. Dropped, nobody does, and nobody waits for it.
#[derive(Debug)]
pub struct LookoutKeeper(Arc<Lookout>);

impl Lookout {
    pub(super) fn new() -> Self {
        let (is_kept, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { is_kept, asked, wake: Notify::new(), looked: watch::Sender::new(0) }
    }

    /// Waits for a look that begins from now on, and until what it finds is taken; a few seconds at most. Where nobody
    /// looks it waits for nothing.
    ///
    /// Cancel-safe.
    pub(super) async fn look(&self) {
        if self.is_kept.load(Ordering::Acquire) {
            let mut looked = self.looked.subscribe();
            let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
            self.wake.notify_one();
            // Whoever looks may be held up, by a slow disk say: then the call ends with what is known.
            _ = timeout(PATIENCE, looked.wait_for(|looked| *looked >= number)).await;
        }
    }

    pub(super) fn keep(self: Arc<Self>) -> LookoutKeeper {
        self.is_kept.store(true, Ordering::Release);
        LookoutKeeper(self)
    }
}

impl LookoutKeeper {
    /// Waits until somebody asks for a look that has not ended yet.
    ///
    /// Cancel-safe: whoever asks goes on asking.
    pub async fn asked(&self) {
        while self.so_far() <= *self.0.looked.borrow() {
            self.0.wake.notified().await;
        }
    }

    /// How often a look was asked for. To be noted before a look begins, and told when it has ended.
    #[must_use]
    pub fn so_far(&self) -> u64 {
        self.0.asked.load(Ordering::Acquire)
    }

    /// A look has ended for all who had asked `so_far`, and what it found is taken.
    pub fn looked(&self, so_far: u64) {
        self.0.looked.send_if_modified(|looked| {
            let is_news = so_far > *looked;
            *looked = so_far.max(*looked);
            is_news
        });
    }
}

impl Drop for LookoutKeeper {
    fn drop(&mut self) {
        self.0.is_kept.store(false, Ordering::Release);
        self.looked(self.so_far());
    }
}

/// A changed file is looked at twice before it is read, which takes a second or so.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    fn kept() -> (Arc<Lookout>, LookoutKeeper) {
        let lookout = Arc::new(Lookout::new());
        (Arc::clone(&lookout), lookout.keep())
    }

    async fn seconds_of(look: impl Future<Output = ()>) -> u64 {
        let began = Instant::now();
        look.await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_began_before_is_not_waited_for_but_the_next_one() {
        let (lookout, keeper) = kept();
        let keeping = async {
            for _ in 0..2 {
                keeper.asked().await;
                let so_far = keeper.so_far();
                sleep(Duration::from_secs(2)).await;
                keeper.looked(so_far);
            }
        };
        let later = async {
            sleep(Duration::from_secs(1)).await;
            seconds_of(lookout.look()).await
        };
        let (first, also_first, second, ()) =
            tokio::join!(seconds_of(lookout.look()), seconds_of(lookout.look()), later, keeping);
        assert_eq!((first, also_first, second), (2, 2, 3));
        assert!(timeout(Duration::from_secs(9), keeper.asked()).await.is_err(), "nobody asks any more");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_not_at_all_where_nobody_looks() {
        assert_eq!(seconds_of(Lookout::new().look()).await, 0);
        let (lookout, keeper) = kept();
        assert_eq!(seconds_of(lookout.look()).await, 5);
        let leaves = async {
            sleep(Duration::from_secs(1)).await;
            drop(keeper);
        };
        let (waited, ()) = tokio::join!(seconds_of(lookout.look()), leaves);
        assert_eq!((waited, seconds_of(lookout.look()).await), (1, 0));
    }
}
