//! The waker of an HTTP/1.1 connection, which is not woken for a body that has ended.
//!
//! Whenever a piece of a request's body is taken, hyper (since 1.12) wakes the connection's task, so that it reads the next
//! one. The request is handled by that very task. So for each call whose body comes in one piece, as most do, the whole
//! connection was polled once more for nothing, a third time beside for the request and for the answer. Here that one
//! wake-up is caught while the piece is taken, and given on only where more of the body is to come. Nothing else can be
//! caught with it: what other threads do does not pass through here, and taking a piece wakes nobody else.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// A connection's waker, for as long as the same task polls it.
#[derive(Debug, Default)]
pub(super) struct QuietWaker(Option<(Waker, Waker)>);

impl QuietWaker {
    /// The one to poll the connection with, in place of the task's own.
    pub(super) fn of(&mut self, cx: &Context<'_>) -> &Waker {
        if !self.0.as_ref().is_some_and(|(task, _)| task.will_wake(cx.waker())) {
            let task = cx.waker().clone();
            self.0 = Some((task.clone(), Arc::new(Quiet { task }).into()));
        }
        self.0.as_ref().map_or(Waker::noop(), |(_, quiet)| quiet)
    }
}

/// Takes a piece of a body. Says too whether the connection was to be woken for that, and was not.
pub(super) fn take<T>(piece: impl FnOnce() -> T) -> (T, bool) {
    let taking = Taking::begin();
    let piece = piece();
    (piece, taking.caught())
}

#[derive(Debug)]
struct Quiet {
    task: Waker,
}

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if CAUGHT.get().is_some() {
            CAUGHT.set(Some(true));
        } else {
            self.task.wake_by_ref();
        }
    }
}

/// While it lives, what this thread wakes is caught. It ends with a panic too.
struct Taking;

impl Taking {
    fn begin() -> Self {
        CAUGHT.set(Some(false));
        Self
    }

    fn caught(self) -> bool {
        CAUGHT.get() == Some(true)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        CAUGHT.set(None);
    }
}

thread_local! {
    /// Whether a wake-up was caught; `None`: none is to be.
    static CAUGHT: Cell<Option<bool>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_what_is_woken_by_taking_a_piece_is_caught() {
        let wakes = Arc::<Wakes>::default();
        let task = Waker::from(Arc::clone(&wakes));
        let mut quiet = QuietWaker::default();
        let waker = quiet.of(&Context::from_waker(&task)).clone();
        assert!(waker.will_wake(quiet.of(&Context::from_waker(&task))), "it stays the same");

        waker.wake_by_ref();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(take(|| waker.wake_by_ref()).1);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(!take(|| ()).1);
        // What another thread has to say is heard meanwhile.
        let caught = take(|| std::thread::scope(|scope| scope.spawn(|| waker.wake_by_ref()).join().unwrap()));
        assert_eq!((caught, wakes.0.load(Ordering::Relaxed)), (((), false), 2));
        // And all is as before after a panic.
        let panicked = std::panic::catch_unwind(|| take(|| panic!("a bug")));
        assert!(panicked.is_err());
        waker.wake_by_ref();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn another_task_is_woken_once_it_polls() {
        let (first, second) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
        let mut quiet = QuietWaker::default();
        for wakes in [&first, &second] {
            let task = Waker::from(Arc::clone(wakes));
            quiet.of(&Context::from_waker(&task)).wake_by_ref();
        }
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (1, 1));
    }
}
