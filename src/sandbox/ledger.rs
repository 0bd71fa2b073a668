//! The books: every call is entered when its head is read, judged against the ceilings, and completed later.
//!
//! One lock holds all of it, and the moment of arrival is taken under that lock, so the stamps are in order and the
//! worst second is exact.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::codes;
use super::quota::{Ceilings, Window};
use super::report::{AppReport, Call, Log, Report, Seen, Verdict};
use super::shape::Refusal;
use crate::model::api::ApiName;
use crate::model::app::SdkAppId;
use crate::model::error_code::ErrorCode;

/// The books of one sandbox.
pub(super) struct Ledger {
    books: Mutex<Books>,
    arrived: watch::Sender<u64>,
    count_refused: bool,
}

struct Books {
    ceilings: Ceilings,
    /// One entry for each app that lives here, made at the start.
    apps: HashMap<SdkAppId, AppBooks>,
    connections: u64,
    /// Counts resets, so that a call from before one is not entered after it.
    era: u64,
    arrived: u64,
    log: Log,
}

#[derive(Default)]
struct AppBooks {
    all: Account,
    /// Only APIs that the sandbox knows, which bounds it.
    apis: HashMap<ApiName, Account>,
}

#[derive(Default)]
struct Account {
    seen: Seen,
    arrivals: Window,
    /// The calls that took a place below the ceiling.
    taken: Window,
}

/// A call that was entered.
pub(super) struct Arrival {
    number: u64,
    era: u64,
    at: Instant,
    sdkappid: Option<SdkAppId>,
    /// The API, if the sandbox knows it.
    pub(super) api: Option<ApiName>,
    /// The ceilings that the arrivals exceeded with this call; looked at where refused calls count.
    over: Option<Refusal>,
}

impl Ledger {
    pub(super) fn new(
        apps: impl Iterator<Item = SdkAppId>,
        ceilings: Ceilings,
        count_refused: bool,
        log_calls: usize,
    ) -> Self {
        let books = Books {
            ceilings,
            apps: apps.map(|sdkappid| (sdkappid, AppBooks::default())).collect(),
            connections: 0,
            era: 0,
            arrived: 0,
            log: Log::new(log_calls),
        };
        Self { books: Mutex::new(books), arrived: watch::Sender::new(0), count_refused }
    }

    /// The number of a new connection, from 1.
    pub(super) fn connect(&self) -> u64 {
        let mut books = self.lock();
        books.connections += 1;
        books.connections
    }

    /// Enters a call whose head was just read: its number and moment are set here.
    pub(super) fn arrive(&self, mut call: Call) -> Arrival {
        let mut books = self.lock();
        let at = Instant::now();
        let Books { ceilings, apps, era, arrived, log, .. } = &mut *books;
        let number = *arrived;
        *arrived += 1;
        let api = call.api.clone().filter(|api| ceilings.knows(api));
        let over = call.sdkappid.and_then(|app| apps.get_mut(&app)).and_then(|app| {
            let in_app = app.all.arrive(at);
            let in_api = api.as_ref().map(|api| app.apis.entry(api.clone()).or_default().arrive(at));
            ceilings.exceeded_by(api.as_ref(), in_api.unwrap_or(0), in_app)
        });
        let arrival = Arrival { number, era: *era, at, sdkappid: call.sdkappid, api, over };
        (call.number, call.arrived) = (number, at);
        log.push(call);
        self.arrived.send_replace(*arrived);
        arrival
    }

    /// Asks for a place below the ceilings: one of the API's and one of the app's, or neither.
    pub(super) fn admit(&self, arrival: &Arrival) -> Result<(), Refusal> {
        if self.count_refused {
            return arrival.over.clone().map_or(Ok(()), Err);
        }
        let mut books = self.lock();
        let Books { ceilings, apps, .. } = &mut *books;
        let app = arrival.sdkappid.and_then(|app| apps.get_mut(&app));
        let (Some(app), Some(api)) = (app, &arrival.api) else { return Ok(()) };
        let account = app.apis.entry(api.clone()).or_default();
        let (in_api, in_app) = (account.taken.held(arrival.at) + 1, app.all.taken.held(arrival.at) + 1);
        if let Some(refusal) = ceilings.exceeded_by(Some(api), in_api, in_app) {
            return Err(refusal);
        }
        account.taken.note(arrival.at);
        app.all.taken.note(arrival.at);
        Ok(())
    }

    /// Completes a call: what was read of it, how it was judged, and with which code it will be answered.
    pub(super) fn complete(
        &self,
        arrival: &Arrival,
        body: Bytes,
        verdict: Verdict,
        answered: Option<ErrorCode>,
    ) {
        let mut books = self.lock();
        if arrival.era != books.era {
            return;
        }
        if let Some(app) = arrival.sdkappid.and_then(|app| books.apps.get_mut(&app)) {
            app.all.seen.judge(verdict);
            if let Some(account) = arrival.api.as_ref().and_then(|api| app.apis.get_mut(api)) {
                account.seen.judge(verdict);
            }
        }
        books.log.complete(arrival.number, |call| {
            (call.body, call.verdict, call.answered) = (body, verdict, answered);
        });
    }

    pub(super) fn report(&self) -> Report {
        let books = self.lock();
        let app_report = |app: &AppBooks| AppReport {
            all: app.all.report(),
            apis: app.apis.iter().map(|(api, account)| (api.clone(), account.report())).collect(),
        };
        Report {
            apps: books.apps.iter().map(|(&sdkappid, app)| (sdkappid, app_report(app))).collect(),
            arrived: books.arrived,
            connections: books.connections,
            calls: books.log.calls(),
        }
    }

    /// Waits until so many calls arrived since the last reset.
    pub(super) async fn wait_for_arrivals(&self, calls: u64) {
        let mut arrived = self.arrived.subscribe();
        // It fails only when the sender is gone, and `self` holds it.
        _ = arrived.wait_for(|&seen| seen >= calls).await;
    }

    pub(super) fn set_ceilings(&self, ceilings: Ceilings) {
        self.lock().ceilings = ceilings;
    }

    /// Forgets everything but the apps, the ceilings and the numbers of connections.
    pub(super) fn reset(&self) {
        let mut books = self.lock();
        books.apps.values_mut().for_each(|app| *app = AppBooks::default());
        books.log.clear();
        books.arrived = 0;
        books.era += 1;
        self.arrived.send_replace(0);
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn arrive(&mut self, at: Instant) -> usize {
        self.seen.arrived += 1;
        self.arrivals.note(at)
    }

    fn report(&self) -> Seen {
        Seen { worst_second: self.arrivals.worst(), ..self.seen }
    }
}

impl Seen {
    fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Refused(code) => {
                self.refused += 1;
                self.refused_for_rate += u64::from(code == codes::API_RATE || code == codes::APP_RATE);
            }
            Verdict::Unread | Verdict::NotPost => {}
        }
    }
}

impl Ceilings {
    /// The refusal, if so many calls in a second are more than allowed: the API's before the app's.
    fn exceeded_by(&self, api: Option<&ApiName>, in_api: usize, in_app: usize) -> Option<Refusal> {
        let above = |count: usize, ceiling: u32| count > ceiling as usize;
        if api.is_some_and(|api| above(in_api, self.of(api))) {
            return Some(Refusal::new(codes::API_RATE, "this API is called too often"));
        }
        let app_above = self.per_app.is_some_and(|ceiling| above(in_app, ceiling));
        app_above.then(|| Refusal::new(codes::APP_RATE, "this app calls too often"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method, Version};
    use std::time::Duration;

    const APP: u64 = 1_400_000_001;

    fn app() -> SdkAppId {
        SdkAppId::try_from(APP).unwrap()
    }

    fn ledger(ceilings: Ceilings, count_refused: bool) -> Ledger {
        Ledger::new([app()].into_iter(), ceilings, count_refused, 10)
    }

    fn ceilings(api: u32, app: Option<u32>) -> Ceilings {
        let per_api = ["a/one", "a/two"].map(|name| (name.parse().unwrap(), api)).into();
        Ceilings { per_api, per_app: app, ..Ceilings::default() }
    }

    fn call(api: &str) -> Call {
        Call {
            number: 0,
            arrived: Instant::now(),
            connection: 1,
            version: Version::HTTP_11,
            method: Method::POST,
            path: format!("/v4/{api}"),
            query: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            parameters: crate::sandbox::AuthParameters::default(),
            sdkappid: Some(app()),
            api: api.parse().ok(),
            verdict: Verdict::Unread,
            answered: None,
        }
    }

    /// The code that a call arriving now gets.
    fn code(ledger: &Ledger, api: &str) -> i64 {
        let arrival = ledger.arrive(call(api));
        let admitted = ledger.admit(&arrival);
        let verdict = admitted.map_or_else(|no| Verdict::Refused(no.code), |()| Verdict::Accepted);
        ledger.complete(&arrival, Bytes::new(), verdict, None);
        if let Verdict::Refused(code) = verdict { code.0 } else { 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_holds_for_each_api_and_for_the_app() {
        let ledger = ledger(ceilings(2, Some(3)), false);
        assert_eq!(["a/one"; 3].map(|api| code(&ledger, api)), [0, 0, 60007]);
        assert_eq!(["a/two"; 2].map(|api| code(&ledger, api)), [0, 60011]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(code(&ledger, "a/two"), 60011);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(["a/two"; 3].map(|api| code(&ledger, api)), [0, 0, 60007]);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_calls_count_or_not() {
        for (count_refused, later) in [(false, 0), (true, 60007)] {
            let ledger = ledger(ceilings(1, None), count_refused);
            assert_eq!(code(&ledger, "a/one"), 0);
            tokio::time::advance(Duration::from_millis(600)).await;
            assert_eq!(code(&ledger, "a/one"), 60007);
            tokio::time::advance(Duration::from_millis(600)).await;
            assert_eq!(code(&ledger, "a/one"), later, "the refused one is 600 ms back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_report_counts_what_was_entered() {
        let ledger = ledger(ceilings(2, None), false);
        for _ in 0..3 {
            code(&ledger, "a/one");
        }
        code(&ledger, "un/known");
        ledger.arrive(Call { sdkappid: SdkAppId::try_from(7).ok(), ..call("a/one") });
        let report = ledger.report();
        let seen = report.seen(app(), &"a/one".parse().unwrap());
        let expected = Seen { arrived: 3, accepted: 2, refused: 1, refused_for_rate: 1, worst_second: 3 };
        assert_eq!(seen, expected);
        assert_eq!(report.apps[&app()].all.worst_second, 4);
        assert_eq!(report.apps[&app()].apis.len(), 1, "an unknown API gets no entry of its own");
        assert_eq!((report.apps.len(), report.arrived, report.calls.len()), (1, 5, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_forgets_and_calls_from_before_stay_out() {
        let ledger = ledger(ceilings(1, None), false);
        let before = ledger.arrive(call("a/one"));
        ledger.admit(&before).unwrap();
        ledger.reset();
        let after = ledger.arrive(call("a/one"));
        ledger.complete(&before, Bytes::new(), Verdict::Accepted, None);
        assert_eq!(ledger.admit(&after), Ok(()), "the last second is forgotten too");
        let report = ledger.report();
        assert_eq!((report.arrived, report.calls[0].verdict), (1, Verdict::Unread));
        assert_eq!(report.seen(app(), &"a/one".parse().unwrap()).accepted, 0);
    }
}
