use proptest::prelude::*;

use super::*;

const KEY: Cause = Cause { diagnosis: Diagnosis::WrongKey, code: ErrorCode(70009) };
const REGION: Cause = Cause { diagnosis: Diagnosis::WrongRegion, code: ErrorCode(60026) };
const QUIET_CAUSE: Cause = Cause { diagnosis: Diagnosis::TooManySignatures, code: ErrorCode(70050) };

const S: Duration = Duration::from_secs(1);

fn at(now: Instant) -> Moment {
    Moment { now, jitter: 0.0 }
}

fn tripped(cause: Cause) -> Option<Change> {
    Some(Change::Tripped { cause, before: None })
}

impl State {
    fn open(&mut self, now: Instant) -> Ticket {
        match self.enter(now) {
            Entrance::Open(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn refuse_thrice(&mut self, cause: Cause, now: Instant) {
        for _ in 0..3 {
            let ticket = self.open(now);
            self.refused(ticket, cause, at(now));
        }
    }
}

#[test]
fn three_refusals_in_a_row_trip_and_a_success_between_counts_anew() {
    let now = Instant::now();
    let mut state = State::default();
    for _ in 0..2 {
        let ticket = state.open(now);
        assert_eq!(state.refused(ticket, REGION, at(now)), None);
    }
    let ticket = state.open(now);
    assert_eq!(state.let_in(ticket), None);
    assert!(state.is_clear());
    for change in [None, None, tripped(REGION)] {
        let ticket = state.open(now);
        assert_eq!(state.refused(ticket, REGION, at(now)), change);
    }
    assert_eq!(state.enter(now), Entrance::Refused(REGION, now + S));
    // Those that were on their way change nothing any more.
    assert_eq!(state.refused(ticket, REGION, at(now)), None);
    assert_eq!(state.tripped(), Some((REGION, now + S)));
}

#[test]
fn one_call_is_the_probe_at_intervals_that_double_up_to_a_minute() {
    let began = Instant::now();
    let mut state = State::default();
    state.refuse_thrice(REGION, began);
    let mut now = began;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let due = now + seconds * S;
        assert_eq!(state.enter(due - S / 1000), Entrance::Refused(REGION, due));
        now = due;
        let probe = state.open(now);
        assert!(matches!(state.enter(now), Entrance::Refused(..)), "one at a time");
        assert_eq!(state.refused(probe, REGION, at(now)), None, "nothing that was not told already");
        state.ended(probe);
    }
    let probe = state.open(now + 60 * S);
    assert_eq!(state.let_in(probe), Some(Change::Closed(REGION)));
    state.ended(probe);
    assert!(state.is_clear() && matches!(state.enter(now), Entrance::Open(Ticket { trial: false, .. })));
}

#[test]
fn probes_are_late_by_chance_and_never_early() {
    let now = Instant::now();
    for (jitter, after) in [(0.0, S), (0.5, S + S / 8), (0.999, S + S / 4)] {
        let mut state = State::default();
        for _ in 0..3 {
            let ticket = state.open(now);
            state.refused(ticket, REGION, Moment { now, jitter });
        }
        let (_, probe) = state.tripped().unwrap();
        assert!(probe <= now + after && probe >= now + S, "{:?}", probe - now);
    }
}

#[test]
fn a_probe_without_an_answer_is_followed_by_another() {
    let began = Instant::now();
    let mut state = State::default();
    state.refuse_thrice(REGION, began);
    let probe = state.open(began + S);
    assert_eq!(
        state.enter(began + 9 * S),
        Entrance::Refused(REGION, began + 2 * S),
        "it is still on its way"
    );
    state.ended(probe);
    assert!(matches!(state.enter(began + 9 * S), Entrance::Open(Ticket { trial: true, .. })));
}

#[test]
fn another_reason_is_told() {
    let now = Instant::now();
    let mut state = State::default();
    state.refuse_thrice(REGION, now);
    let probe = state.open(now + S);
    let change = state.refused(probe, KEY, at(now + S));
    assert_eq!(change, Some(Change::Tripped { cause: KEY, before: Some(REGION) }));
}

#[test]
fn in_doubt_one_call_goes_and_the_others_wait_for_it() {
    let now = Instant::now();
    let mut state = State::default();
    let calls: Vec<_> = (0..100).map(|_| state.open(now)).collect();
    for call in calls {
        assert_eq!(state.signature_refused(call, KEY, at(now)), None, "one bad UserSig is one doubt");
    }
    let trial = state.open(now);
    assert_eq!(state.enter(now), Entrance::Wait);
    state.ended(trial);
    // It brought no answer: the next one goes.
    let trial = state.open(now);
    assert_eq!(state.let_in(trial), None);
    state.ended(trial);
    assert!(state.is_clear());
}

#[test]
fn a_success_with_the_old_usersig_says_nothing_about_the_new_one() {
    let now = Instant::now();
    let mut state = State::default();
    let [refused, taken] = [state.open(now), state.open(now)];
    state.signature_refused(refused, KEY, at(now));
    state.let_in(taken);
    assert!(matches!(state.enter(now), Entrance::Open(Ticket { trial: true, .. })));
}

#[test]
fn a_success_of_a_call_from_before_a_trip_does_not_end_it() {
    let now = Instant::now();
    let mut state = State::default();
    let [slow, other] = [(); 2].map(|()| state.open(now));
    state.quiet(QUIET_CAUSE, at(now));
    assert_eq!(state.let_in(slow), None);
    assert_eq!(state.tripped(), Some((QUIET_CAUSE, now + QUIET)));
    let probe = state.open(now + QUIET);
    assert_eq!(state.let_in(other), None);
    assert_eq!(state.let_in(probe), Some(Change::Closed(QUIET_CAUSE)));
}

#[test]
fn a_probe_whose_usersig_is_refused_lengthens_the_interval_once() {
    let mut now = Instant::now();
    let mut state = State::default();
    // The one with which the handful is full trips the app.
    for nth in 1..=HANDFUL {
        let ticket = state.open(now);
        let change = state.signature_refused(ticket, KEY, at(now));
        assert_eq!(change.is_some(), nth == HANDFUL);
        if nth == HANDFUL {
            state.refused(ticket, KEY, at(now));
        }
        state.ended(ticket);
    }
    assert_eq!(state.tripped(), Some((KEY, now + S)));
    // By then there is room for one more.
    now += MINUTE;
    for interval in [2, 4, 8, 16, 32, 60, 60] {
        let probe = state.open(now);
        assert_eq!(state.signature_refused(probe, KEY, at(now)), None);
        assert_eq!(state.refused(probe, KEY, at(now)), None);
        state.ended(probe);
        assert_eq!(state.tripped(), Some((KEY, now + S * interval)));
        now += MINUTE;
    }
}

#[test]
fn quiet_is_a_minute_and_then_one_probe() {
    let now = Instant::now();
    let mut state = State::default();
    let ticket = state.open(now);
    assert_eq!(state.quiet(QUIET_CAUSE, at(now)), tripped(QUIET_CAUSE));
    state.ended(ticket);
    assert_eq!(state.enter(now + 60 * S - S / 1000), Entrance::Refused(QUIET_CAUSE, now + 60 * S));
    let probe = state.open(now + 60 * S);
    assert_eq!(state.quiet(QUIET_CAUSE, at(now + 60 * S)), None);
    state.ended(probe);
    assert_eq!(state.enter(now + 61 * S), Entrance::Refused(QUIET_CAUSE, now + 120 * S));
    let probe = state.open(now + 120 * S);
    assert_eq!(state.let_in(probe), Some(Change::Closed(QUIET_CAUSE)));
}

#[test]
fn what_is_forgotten_trips_no_more() {
    let now = Instant::now();
    let mut state = State::default();
    state.refuse_thrice(REGION, now);
    assert_eq!(state.forget(), Some(Change::Closed(REGION)));
    state.refuse_thrice(REGION, now);
    let ticket = state.open(now);
    assert_eq!(state.signature_refused(ticket, KEY, at(now)), None);
    assert_eq!(state.quiet(QUIET_CAUSE, at(now)), None);
    assert!(state.is_clear());
}

/// What becomes of calls that are let through.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A call asks to be sent.
    Ask,
    /// One of those on their way has its UserSig refused.
    SignatureRefused(usize),
    Refused(usize),
    LetIn(usize),
    Lost(usize),
    Quiet(usize),
    Milliseconds(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Ask),
        6 => (0..50_usize).prop_map(Step::SignatureRefused),
        1 => (0..50_usize).prop_map(Step::Refused),
        2 => (0..50_usize).prop_map(Step::LetIn),
        1 => (0..50_usize).prop_map(Step::Lost),
        1 => (0..50_usize).prop_map(Step::Quiet),
        4 => (0..30_000_u64).prop_map(Step::Milliseconds),
    ]
}

proptest! {
    #[test]
    fn no_minute_sees_more_than_a_handful_of_trials_refused(
        steps in prop::collection::vec(step(), 0..400),
        jitter in 0.0..1.0,
    ) {
        let mut now = Instant::now();
        let mut state = State::default();
        let mut under_way: Vec<Ticket> = Vec::new();
        let mut refused_trials: Vec<Instant> = Vec::new();
        for step in steps {
            let mut take = |n: usize| (!under_way.is_empty()).then(|| under_way.swap_remove(n % under_way.len()));
            let at = Moment { now, jitter };
            match step {
                Step::Ask => if let Entrance::Open(ticket) = state.enter(now) {
                    under_way.push(ticket);
                    let trials = under_way.iter().filter(|ticket| ticket.trial).count();
                    prop_assert!(trials <= 1);
                },
                Step::SignatureRefused(n) => if let Some(ticket) = take(n) {
                    if ticket.trial {
                        refused_trials.push(now);
                    }
                    state.signature_refused(ticket, KEY, at);
                    state.ended(ticket);
                },
                Step::Refused(n) => if let Some(ticket) = take(n) {
                    state.refused(ticket, REGION, at);
                    state.ended(ticket);
                },
                Step::LetIn(n) => if let Some(ticket) = take(n) {
                    state.let_in(ticket);
                    state.ended(ticket);
                },
                Step::Lost(n) => if let Some(ticket) = take(n) {
                    state.ended(ticket);
                },
                Step::Quiet(n) => if let Some(ticket) = take(n) {
                    state.quiet(QUIET_CAUSE, at);
                    state.ended(ticket);
                },
                Step::Milliseconds(ms) => now += Duration::from_millis(ms),
            }
        }
        for window in refused_trials.windows(HANDFUL + 1) {
            prop_assert!(window[HANDFUL] - window[0] >= MINUTE, "{:?}", window[HANDFUL] - window[0]);
        }
    }

    #[test]
    fn whatever_happened_a_good_app_is_let_in_again(steps in prop::collection::vec(step(), 0..100)) {
        let mut now = Instant::now();
        let mut state = State::default();
        for step in steps {
            match (step, state.enter(now)) {
                (Step::SignatureRefused(_), Entrance::Open(ticket)) => {
                    state.signature_refused(ticket, KEY, at(now));
                    state.ended(ticket);
                }
                (Step::Refused(_), Entrance::Open(ticket)) => {
                    state.refused(ticket, REGION, at(now));
                    state.ended(ticket);
                }
                (Step::Quiet(_), Entrance::Open(ticket)) => {
                    state.quiet(QUIET_CAUSE, at(now));
                    state.ended(ticket);
                }
                (Step::Milliseconds(ms), Entrance::Open(ticket)) => {
                    now += Duration::from_millis(ms);
                    state.ended(ticket);
                }
                (_, Entrance::Open(ticket)) => state.ended(ticket),
                (_, Entrance::Wait) => prop_assert!(false, "nobody is on trial"),
                (_, Entrance::Refused(_, until)) => prop_assert!(until > now && until <= now + 75 * S),
            }
        }
        now += 75 * S;
        let ticket = state.open(now);
        state.let_in(ticket);
        state.ended(ticket);
        prop_assert!(state.is_clear());
    }
}
