//! Stopping, told to everybody at once.
//!
//! The process ends in phases. Whoever runs it holds the one [`Stopper`] and moves it forward: on SIGTERM to
//! [`Phase::Draining`], some seconds later to [`Phase::Closing`], and to [`Phase::Killed`] once everything has finished
//! or the grace time is over. Whoever serves holds a [`Stop`], of which there may be any number, and waits for the
//! phase that concerns it. A phase never comes back, and nobody who asks late misses one.

use tokio::sync::watch;

/// How far the end of the process has come. Later phases are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing has been asked.
    Running,
    /// Readiness is withdrawn, so that no new traffic is sent here; what still comes is accepted and served.
    Draining,
    /// Nothing new is accepted; connections finish what is under way.
    Closing,
    /// What is still under way ends now.
    Killed,
}

/// Moves the phase forward. When it is dropped, nobody is left who could, and every [`Stop`] reads
/// [`Phase::Killed`].
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// Sees how far the end has come. Clones see the same.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Phase>);

// === impl Stopper ===

impl Stopper {
    /// A process that is running.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }

    /// The other end, for one who serves.
    #[must_use]
    pub fn signal(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Moves on to `phase`. Does nothing when that phase or a later one has been reached already.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let forward = *current < phase;
            if forward {
                *current = phase;
            }
            forward
        });
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Stop ===

impl Stop {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Killed } else { *self.0.borrow() }
    }

    /// Returns once `phase` or a later one has been reached. Safe to drop and to call again, as in `select!`.
    pub async fn wait_for(&self, phase: Phase) {
        // The error says that the stopper was dropped, which counts as the last phase.
        _ = self.0.clone().wait_for(|current| *current >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Whether `wait_for(phase)` would return now. With time paused, the timeout costs nothing.
    async fn reached(stop: &Stop, phase: Phase) -> bool {
        timeout(Duration::from_secs(3600), stop.wait_for(phase)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_is_reached_with_every_later_one() {
        let stopper = Stopper::new();
        let stop = stopper.signal();
        assert!(reached(&stop, Phase::Running).await);
        assert!(!reached(&stop, Phase::Draining).await);
        stopper.advance(Phase::Closing);
        assert_eq!(stop.phase(), Phase::Closing);
        assert!(reached(&stop, Phase::Draining).await);
        assert!(reached(&stop, Phase::Closing).await);
        assert!(!reached(&stop, Phase::Killed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_never_comes_back() {
        let stopper = Stopper::new();
        stopper.advance(Phase::Closing);
        stopper.advance(Phase::Draining);
        assert_eq!(stopper.signal().phase(), Phase::Closing);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_woken() {
        let stopper = Stopper::new();
        let waits = [stopper.signal(), stopper.signal().clone()].map(|stop| {
            tokio::spawn(async move {
                stop.wait_for(Phase::Draining).await;
                stop.phase()
            })
        });
        tokio::task::yield_now().await;
        stopper.advance(Phase::Draining);
        for wait in waits {
            assert_eq!(wait.await.unwrap(), Phase::Draining);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_stopper_ends_everything() {
        let stopper = Stopper::new();
        let stop = stopper.signal();
        drop(stopper);
        assert!(reached(&stop, Phase::Killed).await);
        assert_eq!(stop.phase(), Phase::Killed);
    }
}
