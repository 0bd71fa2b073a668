//! What a connection is doing: whether a request is under way, since when not, and whether the caller takes its
//! answers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::pace::Pace;
use super::{Limits, Passed};

/// Shared by a connection's stream, its service and its timer. Released with the last of them.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests whose answer is not yet wholly given away.
    under_way: RefCell<Vec<Weak<UnderWay>>>,
    /// How the kernel takes what is written.
    outlet: Pace,
    /// When the last answer was gone, or when the connection began.
    idle_since: Cell<Instant>,
    /// A head that is not yet complete.
    head: Cell<Head>,
    /// Whether a request came whose answer the kernel does not have to the last byte.
    answering: Cell<bool>,
    /// Whether heads are told from other bytes. HTTP/2 also sends frames that belong to no request.
    heads: Cell<bool>,
    /// Whether bytes of the last request were left unread.
    unread: Cell<bool>,
    /// Whether the last request was read to its end.
    whole: Cell<bool>,
}

/// A request that is under way: until it is dropped, which is when the last byte of its answer was taken.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Rc<Activity>,
    /// How the caller takes the answer.
    pace: Pace,
    /// Bytes of the answer that were handed out and not yet taken.
    owed: Cell<usize>,
}

/// How far the head of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Nothing of it came, or all of it.
    None,
    /// Its first byte came just now. Nearly always the rest came with it, and then no clock is read.
    Begun,
    /// Its first byte came then.
    Since(Instant),
}

// === impl Activity ===

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            under_way: RefCell::default(),
            outlet: Pace::default(),
            idle_since: Cell::new(Instant::now()),
            head: Cell::new(Head::None),
            answering: Cell::new(false),
            heads: Cell::new(true),
            unread: Cell::new(false),
            whole: Cell::new(false),
        }
    }

    /// Bytes came in.
    pub(super) fn bytes_came(&self) {
        // While an answer is on its way out, what comes is the next request, whose time has not begun.
        if self.heads.get() && self.head.get() == Head::None && !self.is_busy() {
            self.head.set(Head::Begun);
        }
    }

    /// Some of what was to be written was not taken yet. Nearly always all of it is, and then no clock is read.
    pub(super) fn is_held_up(&self) {
        self.outlet.offer();
    }

    /// The kernel took so many bytes.
    pub(super) fn written(&self, bytes: usize) {
        self.outlet.take(bytes);
    }

    /// The kernel has everything that was written.
    pub(super) fn flushed(&self) {
        let settled = self.outlet.settle();
        if self.heads.get() && self.under_way.borrow().is_empty() {
            self.answering.set(false);
            // What HTTP/2 writes of its own accord, such as pings, is no answer.
            if settled {
                self.idle_since.set(Instant::now());
            }
        }
    }

    /// Whether what is written now can belong to an answer.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.get() || !self.heads.get()
    }

    /// Whether a call is under way over HTTP/1.1.
    fn is_answering_request(&self) -> bool {
        self.heads.get() && !self.under_way.borrow().is_empty()
    }

    /// From now on bytes say nothing of requests.
    pub(super) fn ignore_heads(&self) {
        self.heads.set(false);
        self.head.set(Head::None);
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Rc<Self>) -> Rc<UnderWay> {
        self.head.set(Head::None);
        self.unread.set(false);
        self.whole.set(false);
        self.answering.set(true);
        let under_way =
            Rc::new(UnderWay { activity: Rc::clone(self), pace: Pace::default(), owed: Cell::new(0) });
        self.under_way.borrow_mut().push(Rc::downgrade(&under_way));
        under_way
    }

    /// The last request's body was read to its end.
    pub(super) fn is_whole(&self) {
        self.whole.set(true);
    }

    /// Whether a call is under way over HTTP/1.1 whose request was read to its end, so that nobody else reads.
    pub(super) fn only_answers(&self) -> bool {
        self.whole.get() && self.is_answering_request()
    }

    /// The last request's body was not read to its end.
    pub(super) fn leave_unread(&self) {
        self.unread.set(true);
    }

    /// The connection goes on: what was left was little, and was thrown away.
    pub(super) fn goes_on(&self) {
        self.unread.set(false);
    }

    /// Whether the caller has its whole answer, and may still be writing what nobody will read.
    pub(super) fn has_answered_unread(&self) -> bool {
        self.unread.get() && !self.is_answering()
    }

    /// Whether the caller may still be writing what nobody will read.
    pub(super) fn has_left_unread(&self) -> bool {
        self.unread.get()
    }

    fn is_busy(&self) -> bool {
        self.outlet.is_owing() || !self.under_way.borrow().is_empty()
    }

    /// Looks at something only while no call is under way over HTTP/1.1 whose caller takes what is written: then no limit of
    /// the connection's can be passed, it does not rest, and its answer says whether it is closed. A call ends nowhere
    /// but where the connection is polled, which is by the same task and right before this.
    pub(super) fn unless_in_call<F: Future>(
        &self,
        mut future: Pin<&mut F>,
    ) -> impl Future<Output = F::Output> {
        poll_fn(move |cx| if self.is_in_call() { Poll::Pending } else { future.as_mut().poll(cx) })
    }

    fn is_in_call(&self) -> bool {
        self.is_answering_request() && !self.outlet.is_owing()
    }

    /// When the first byte of a head came that is not yet complete.
    fn head_since(&self) -> Option<Instant> {
        if self.head.get() == Head::Begun {
            self.head.set(Head::Since(Instant::now()));
        }
        match self.head.get() {
            Head::Since(since) => Some(since),
            Head::None | Head::Begun => None,
        }
    }

    /// Waits until a limit is passed.
    pub(super) async fn limit_passed(&self, limits: &Limits) -> Passed {
        loop {
            let now = Instant::now();
            let (until, passed) = self.next_limit(limits, now);
            if until <= now {
                return passed;
            }
            tokio::select! {
                biased; // a random order is drawn for each poll
                () = sleep_until(until) => {}
                () = self.head_begins() => {}
            }
        }
    }

    /// Waits until nothing has happened for so long that the connection is not expected to do anything soon.
    pub(super) async fn rests(&self) {
        loop {
            let now = Instant::now();
            let is_idle = !self.is_busy() && self.head_since().is_none() && !self.unread.get();
            let since = if is_idle { self.idle_since.get() } else { now };
            if now >= since + REST_AFTER {
                return;
            }
            sleep_until(since + REST_AFTER).await;
        }
    }

    fn next_limit(&self, limits: &Limits, now: Instant) -> (Instant, Passed) {
        if self.is_busy() {
            // Looks again later: a connection that was busy until then is not idle for long.
            let later = now + limits.idle_timeout.min(limits.header_timeout);
            let stuck_at = |pace: &Pace| pace.stuck_at(limits.idle_timeout);
            let answers = self.answers();
            let paces = answers.iter().map(|answer| &answer.pace).chain([&self.outlet]);
            return (paces.filter_map(stuck_at).min().map_or(later, |stuck| stuck.min(later)), Passed::Stuck);
        }
        match self.head_since() {
            Some(since) => (since + limits.header_timeout, Passed::SlowHead),
            None => (self.idle_since.get() + limits.idle_timeout, Passed::Idle),
        }
    }

    /// Waits, once the goodbye was said, until nothing is under way that still gets on. A caller that heard the
    /// goodbye closes the connection before that.
    pub(super) async fn nothing_gets_on(&self, limits: &Limits) {
        loop {
            sleep(GOODBYE_WITHIN).await;
            if !self.gets_on(limits.idle_timeout, Instant::now()) {
                return;
            }
        }
    }

    fn gets_on(&self, patience: Duration, now: Instant) -> bool {
        let is_stuck = |pace: &Pace| pace.stuck_at(patience).is_some_and(|stuck| stuck <= now);
        let answers = self.answers();
        if is_stuck(&self.outlet) {
            false
        } else if answers.is_empty() {
            now < self.idle_since.get() + GOODBYE_WITHIN
        } else {
            answers.iter().any(|answer| !is_stuck(&answer.pace))
        }
    }

    fn answers(&self) -> Vec<Rc<UnderWay>> {
        self.under_way.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until the first byte of a head comes, whose limit may be nearer than the one that is waited for.
    ///
    /// Nobody wakes it: bytes come when the connection is polled, which is by the same task and right before this.
    async fn head_begins(&self) {
        let before = self.head_since();
        poll_fn(|_| {
            let since = self.head_since();
            let has_begun = since.is_some() && since != before;
            if has_begun { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

// === impl UnderWay ===

impl UnderWay {
    /// So many bytes of the answer are handed out.
    pub(super) fn hand_out(&self, bytes: usize) {
        if bytes > 0 {
            self.owed.set(self.owed.get() + bytes);
            // Over HTTP/1.1 what is handed out is written at once, and the outlet tells how that gets on.
            if !self.activity.heads.get() {
                self.pace.offer();
            }
        }
    }

    /// So many of them were taken, or nobody wants them any more.
    pub(super) fn taken(&self, bytes: usize) {
        self.owed.set(self.owed.get() - bytes);
        if self.owed.get() == 0 {
            self.pace.settle();
        } else {
            self.pace.take(bytes);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // This one counts as gone already.
        self.activity.under_way.borrow_mut().retain(|other| other.strong_count() > 0);
        self.activity.idle_since.set(Instant::now());
    }
}

/// How long a connection is idle before it gives its buffers back.
const REST_AFTER: Duration = Duration::from_secs(1);
/// How long a caller has to close the connection once it was told to.
pub(super) const GOODBYE_WITHIN: Duration = Duration::from_secs(5);
