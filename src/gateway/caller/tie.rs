//! What a call and whoever waits for its reply know of each other.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// What a call and whoever waits for its reply know of each other. Clones are the same tie.
#[derive(Debug, Clone, Default)]
pub struct Tie(Rc<Ends>);

#[derive(Debug, Default)]
struct Ends {
    begun: Cell<u32>,
    is_cut: Cell<bool>,
    cut: Notify,
}

impl Tie {
    /// Another try begins to leave: its first bytes are being written.
    pub fn begin(&self) {
        self.0.begun.set(self.0.begun.get() + 1);
    }

    /// Whether a try has begun to leave. From then on the call may have been executed, and whoever gives up waiting lets it
    /// run to its end.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.begun.get() > 0
    }

    /// Nobody waits for the reply any more.
    pub fn cut(&self) {
        self.0.is_cut.set(true);
        self.0.cut.notify_one();
    }

    /// Comes back once nobody waits for the reply any more, unless another try has begun to leave by then: that one runs
    /// to its end.
    pub async fn is_cut_before_the_next_try(&self) {
        let begun = self.0.begun.get();
        while !self.0.is_cut.get() {
            self.0.cut.notified().await;
        }
        if self.0.begun.get() != begun {
            std::future::pending::<()>().await;
        }
    }
}
