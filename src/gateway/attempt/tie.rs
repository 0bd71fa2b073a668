//! What a call and whoever waits for its reply know of each other.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// What a call and whoever waits for its reply know of each other. Clones are the same tie.
#[derive(Debug, Clone, Default)]
pub struct Tie(Rc<Ends>);

#[derive(Debug, Default)]
struct Ends {
    under_way: Rc<Cell<bool>>,
    is_cut: Cell<bool>,
    cut: Notify,
}

impl Tie {
    /// Becomes true when the first byte of the call's first try is written, and stays so: from then on it may have been
    /// executed, and whoever gives up waiting lets it run to its end.
    #[must_use]
    pub fn under_way(&self) -> &Rc<Cell<bool>> {
        &self.0.under_way
    }

    /// Nobody waits for the reply any more.
    pub fn cut(&self) {
        self.0.is_cut.set(true);
        self.0.cut.notify_one();
    }

    /// Comes back once nobody waits for the reply any more.
    pub(super) async fn is_cut(&self) {
        while !self.0.is_cut.get() {
            self.0.cut.notified().await;
        }
    }
}
