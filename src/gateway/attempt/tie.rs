//! What a call and whoever waits for its reply know of each other.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// What a call and whoever waits for its reply know of each other. Clones are the same tie.
#[derive(Debug, Clone, Default)]
pub struct Tie(Rc<Ends>);

#[derive(Debug, Default)]
struct Ends {
    begun: Rc<Cell<u32>>,
    is_cut: Cell<bool>,
    cut: Notify,
}

impl Tie {
    /// How many tries have begun to leave: one more with the first byte of each. From the first one on the call may have
    /// been executed, and whoever gives up waiting lets it run to its end.
    #[must_use]
    pub fn begun(&self) -> &Rc<Cell<u32>> {
        &self.0.begun
    }

    /// Nobody waits for the reply any more.
    pub fn cut(&self) {
        self.0.is_cut.set(true);
        self.0.cut.notify_one();
    }

    /// Comes back once nobody waits for the reply any more, unless another try has begun to leave by then: that one runs
    /// to its end.
    pub(super) async fn is_cut_before_the_next_try(&self) {
        let begun = self.0.begun.get();
        while !self.0.is_cut.get() {
            self.0.cut.notified().await;
        }
        if self.0.begun.get() != begun {
            std::future::pending::<()>().await;
        }
    }
}
