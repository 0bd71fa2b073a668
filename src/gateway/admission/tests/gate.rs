//! Admission as its callers see it, with what it takes to call.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{LazyLock, Mutex};

use http::{HeaderMap, HeaderValue};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::super::{Admission, ApiCeiling, NotAdmitted, Permit, Reading, Settings};
use super::*;
use crate::gateway::caller::{self, Rule, identify};
use crate::gateway::policy::{self, Grant, Rights};
use crate::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use crate::model::endpoint::Endpoint;
use crate::net::client::Roots;
use crate::net::listener::Peer;

/// One catalogue for all gates: what takes longest to make.
static APIS: LazyLock<Apis> = LazyLock::new(Apis::new);

/// Admission with what makes grants for it.
pub(super) struct Gate {
    pub(super) admission: Arc<Admission>,
    apps: Apps,
    apis: &'static Apis,
    pub(super) rules: Vec<Arc<Rule>>,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) address: &'a str,
    pub(super) caller: &'a str,
    pub(super) priority: &'a str,
}

pub(super) const A: From<'_> = From { address: "10.0.0.1", caller: "a", priority: "u=3" };
pub(super) const B: From<'_> = From { address: "10.0.1.1", caller: "b", priority: "u=3" };
pub(super) const API: &str = "live_config/get_callback";
pub(super) const OTHER_API: &str = "live_config/set_callback";
pub(super) const LONG: Duration = Duration::from_secs(60);

/// Ceilings of `API` and `OTHER_API`; tokens come home a second after sending, and there is no cold start to wait for.
pub(super) async fn gate(per_second: u32, tune: impl FnOnce(&mut Settings)) -> Gate {
    let started = Instant::now();
    tokio::time::advance(Duration::from_secs(10)).await;
    gate_since(started, per_second, tune)
}

/// The same of a process that started then.
pub(super) fn gate_since(started: Instant, per_second: u32, tune: impl FnOnce(&mut Settings)) -> Gate {
    let mut settings = Settings {
        guarantee: Guarantee::Dispatch,
        max_wait: LONG,
        max_waiting: 10_000,
        max_waiting_per_caller: 10_000,
        burst: NonZeroU32::new(u32::MAX),
        ..Settings::default()
    };
    for api in [API, OTHER_API] {
        settings.api.insert(api.parse().unwrap(), ApiCeiling::Periods(vec![a_second(per_second)]));
    }
    tune(&mut settings);
    let admission = Arc::new(Admission::new(settings, Handle::current(), started));
    Gate { admission, apps: apps("live"), apis: &APIS, rules: Vec::new() }
}

fn apps(name: &str) -> Apps {
    let mut apps = Apps::default();
    apps.add(app(name, 1_400_000_001), true).unwrap();
    apps
}

fn app(name: &str, sdkappid: u32) -> App {
    App {
        name: name.parse().unwrap(),
        sdkappid: sdkappid.to_string().parse().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: Vec::new(),
        region: None,
        endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

impl Gate {
    /// A reload gives the app another name.
    pub(super) fn rename(&mut self, name: &str) {
        self.apps = apps(name);
    }

    /// A reload brings so many more apps, `app0` and so on.
    pub(super) fn add_apps(&mut self, count: u32) {
        for n in 0..count {
            self.apps.add(app(&format!("app{n}"), 1_500_000_000 + n), false).unwrap();
        }
    }

    pub(super) fn grant(&self, from: From<'_>, api: &str) -> Grant {
        self.grant_at(from, &format!("/v4/{api}"))
    }

    /// The same, where the path may name the app.
    pub(super) fn grant_at(&self, from: From<'_>, path: &str) -> Grant {
        let mut headers = HeaderMap::new();
        headers.insert("x-caller", HeaderValue::from_str(from.caller).unwrap());
        headers.insert("priority", HeaderValue::from_str(from.priority).unwrap());
        let peer = Peer::Ip(from.address.parse::<IpAddr>().unwrap());
        let settings = caller::Settings { rules: self.rules.clone(), ..caller::Settings::default() };
        let target = resolve(path, None, &self.apps, self.apis).unwrap();
        let rights = self.rules.iter().map(|rule| (rule.name.clone(), Rights::default()));
        let rights = policy::Settings { rights: rights.collect() };
        policy::allow(identify(&headers, peer, &settings), target, &rights).unwrap()
    }

    pub(super) async fn admit(
        &self,
        from: From<'_>,
        api: &str,
        max_wait: Duration,
    ) -> Result<Permit, NotAdmitted> {
        let grant = self.grant(from, api);
        self.admission.admit(&grant, self.admission.arrive(), Instant::now(), max_wait).await
    }

    /// Takes a turn at once, and sends.
    pub(super) async fn send(&self, from: From<'_>, api: &str) {
        self.admit(from, api, Duration::ZERO).await.expect("a token is at home").sent();
    }

    pub(super) fn reading(&self, api: &str) -> Reading {
        self.admission.readings().into_iter().find(|reading| &*reading.api == api).expect("it is in use")
    }

    /// Calls that begin to wait now, one after the other, and that send as soon as they may. When its turn comes, each
    /// writes its name down, with the milliseconds since now.
    pub(super) async fn queue(&self, calls: &[(From<'static>, &'static str, &'static str)]) -> Diary {
        let diary = Diary::default();
        let start = Instant::now();
        for &(from, api, name) in calls {
            let (admission, grant) = (Arc::clone(&self.admission), self.grant(from, api));
            let entries = Arc::clone(&diary.entries);
            diary.tasks.lock().unwrap().spawn(async move {
                if let Ok(mut permit) =
                    admission.admit(&grant, admission.arrive(), Instant::now(), LONG).await
                {
                    permit.sent();
                    entries.lock().unwrap().push((name, start.elapsed().as_millis()));
                }
            });
            tokio::task::yield_now().await;
        }
        diary
    }
}

#[derive(Default)]
pub(super) struct Diary {
    pub(super) entries: Arc<Mutex<Vec<(&'static str, u128)>>>,
    pub(super) tasks: Mutex<JoinSet<()>>,
}

impl Diary {
    pub(super) async fn names(self) -> Vec<&'static str> {
        self.entries().await.into_iter().map(|(name, _)| name).collect()
    }

    pub(super) async fn entries(self) -> Vec<(&'static str, u128)> {
        let mut tasks = self.tasks.into_inner().unwrap();
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        Arc::into_inner(self.entries).unwrap().into_inner().unwrap()
    }

    /// How many turns each had in the first so many seconds, while others wait on.
    pub(super) async fn counts(self, seconds: u64) -> BTreeMap<&'static str, usize> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.tasks.into_inner().unwrap().abort_all();
        let mut counts = BTreeMap::new();
        for (name, _) in &*self.entries.lock().unwrap() {
            *counts.entry(*name).or_default() += 1;
        }
        counts
    }
}
