//! How the process ends: a signal that everything under way can watch.

use tokio::sync::watch;

/// How far the end has come. Phases only follow one another in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// At work.
    Running,
    /// No longer ready, still accepting: whoever sends calls needs a moment to notice.
    Draining,
    /// No longer accepting; what is under way is finished.
    Closing,
    /// What is still under way is given up.
    Killed,
}

/// Decides on the phase.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// Learns of the phase. When the [`Stopper`] is gone, everything counts as killed.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Phase>);

/// A pair of which one decides and the other learns.
#[must_use]
pub fn signal() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Moves on to `phase`; an earlier one than the present changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }
}

impl Stop {
    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Killed } else { *self.0.borrow() }
    }

    /// Waits until `phase` is reached or passed. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        // An error means that the stopper is gone, which passes every phase.
        _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_move_on() {
        let (stopper, stop) = signal();
        assert_eq!(stop.phase(), Phase::Running);
        stopper.advance(Phase::Closing);
        stopper.advance(Phase::Draining);
        assert_eq!(stop.phase(), Phase::Closing);
        stop.reached(Phase::Draining).await;
        stop.reached(Phase::Closing).await;
    }

    #[tokio::test]
    async fn without_a_stopper_everything_ends() {
        let (stopper, stop) = signal();
        drop(stopper);
        stop.reached(Phase::Killed).await;
        assert_eq!(stop.phase(), Phase::Killed);
    }
}
