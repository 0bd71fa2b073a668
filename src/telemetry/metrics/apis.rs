//! The counters of all APIs of all apps: found by their names, and read when Prometheus asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::Shared;
use super::api::ApiMetrics;
use super::families::{
    ADMISSION_WAIT, ATTEMPTS, ApiFamily, CALL_DURATION, CALLS, REFUSED, RETRIES, UPSTREAM_DURATION,
};
use super::kept::Kept;
use super::values::Histogram;
use crate::model::api::catalogue;
use crate::telemetry::labels::{APIS, APPS, Bounded, Label, OTHER, UNKNOWN};

/// The counters of every API of every app that was called.
#[derive(Debug)]
pub(super) struct Apis {
    /// By the app's label, so there are at most [`APPS`] and one.
    apps: Kept<Label, Arc<AppApis>>,
    app_labels: Bounded,
    /// The catalogue's APIs, for all apps together.
    catalogue: Bounded,
    shared: Arc<Shared>,
}

/// Those of one app, by the API's label.
#[derive(Debug)]
struct AppApis {
    /// Of its APIs outside the catalogue.
    labels: Bounded,
    metrics: Kept<ApiLabel, Arc<ApiMetrics>>,
}

/// An API's label: one of all apps, or one of its app's own. With the catalogue for each, an app in use took 28 KB more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ApiLabel {
    Catalogue(Label),
    Own(Label),
}

// === impl Apis ===

impl Apis {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let catalogue = catalogue().entries().map(|(name, _)| name.as_str()).chain([UNKNOWN]);
        Self {
            apps: Kept::default(),
            app_labels: Bounded::new(APPS).reserving([UNKNOWN]),
            catalogue: Bounded::new(0).reserving(catalogue),
            shared,
        }
    }

    /// What an app is called in metrics.
    pub(super) fn app_text(&self, app: &str) -> Arc<str> {
        self.app_labels.text(self.app_labels.label(app))
    }

    /// `own` gives the label of an API outside the catalogue.
    pub(super) fn find(&self, app: &str, api: &str, own: fn(&Bounded, &str) -> Label) -> Arc<ApiMetrics> {
        let app = self.app_labels.label(app);
        let of_app = self.apps.find_or(&app, || Arc::new(AppApis::new()));
        let api = match self.catalogue.label(api) {
            Label::OTHER => ApiLabel::Own(own(&of_app.labels, api)),
            known => ApiLabel::Catalogue(known),
        };
        of_app.metrics.find_or(&api, || {
            let (app, api) = (self.app_labels.text(app), self.api_text(&of_app, api));
            Arc::new(ApiMetrics::new(app, api, Arc::clone(&self.shared)))
        })
    }

    /// What an app and its API are called.
    pub(super) fn texts(&self, app: Label, api: ApiLabel) -> (Arc<str>, Arc<str>) {
        let of_app = self.apps.find(&app);
        (self.app_labels.text(app), of_app.map(|of_app| self.api_text(&of_app, api)).unwrap_or_default())
    }

    fn api_text(&self, of_app: &AppApis, api: ApiLabel) -> Arc<str> {
        match api {
            ApiLabel::Catalogue(label) => self.catalogue.text(label),
            ApiLabel::Own(label) => of_app.labels.text(label),
        }
    }

    /// Looks at all of them. Calls that find theirs meanwhile do not wait for that, however many there are.
    pub(super) fn each(&self, mut look: impl FnMut(Label, ApiLabel, &ApiMetrics)) {
        for (app, of_app) in self.apps.all() {
            for (api, metrics) in of_app.metrics.all() {
                look(app, api, &metrics);
            }
        }
    }

    /// How many APIs of an app are counted by themselves.
    #[cfg(test)]
    pub(super) fn len_of(&self, app: &str) -> usize {
        self.apps.find(&self.app_labels.label(app)).map_or(0, |of_app| of_app.metrics.len())
    }
}

impl AppApis {
    fn new() -> Self {
        Self { labels: Bounded::new(APIS), metrics: Kept::default() }
    }
}

/// Gives the registry what was counted.
#[derive(Debug)]
pub(super) struct ReadApis {
    apis: Arc<Apis>,
    descs: [Desc; 7],
}

impl ReadApis {
    pub(super) fn new(apis: Arc<Apis>) -> Self {
        let descs = [
            CALLS.desc(),
            REFUSED.desc(),
            RETRIES.desc(),
            ATTEMPTS.desc(),
            CALL_DURATION.desc(),
            ADMISSION_WAIT.desc(),
            UPSTREAM_DURATION.desc(),
        ];
        Self { apis, descs }
    }
}

impl Collector for ReadApis {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples::default();
        self.apis.each(|_, _, metrics| samples.add(metrics, &self.apis.shared));
        samples.collected()
    }
}

/// What is shown of each family.
#[derive(Default)]
struct Samples {
    calls: Vec<Metric>,
    refused: Vec<Metric>,
    retries: Vec<Metric>,
    /// By app, endpoint and result: all APIs together.
    attempts: BTreeMap<(Arc<str>, Arc<str>, &'static str), u64>,
    call_duration: Vec<Metric>,
    admission_wait: Vec<Metric>,
    upstream_duration: Vec<Metric>,
}

impl Samples {
    fn add(&mut self, metrics: &ApiMetrics, shared: &Shared) {
        let (app, api) = (&*metrics.app, &*metrics.api);
        metrics.calls.each(|&(caller, code, outcome), counter| {
            let caller = shared.callers.text(caller);
            let code = code.map_or_else(|| OTHER.to_owned(), |code| code.to_string());
            self.calls.push(CALLS.counter([api, app, &caller, &code, outcome.as_str()], counter.get()));
        });
        metrics.refused.each(|&(caller, reason), counter| {
            let caller = shared.callers.text(caller);
            self.refused.push(REFUSED.counter([api, app, &caller, reason], counter.get()));
        });
        metrics.retries.each(|reason, counter| {
            self.retries.push(RETRIES.counter([api, app, reason], counter.get()));
        });
        self.call_duration.push(CALL_DURATION.histogram([api, app], &metrics.call_duration));
        self.admission_wait.push(ADMISSION_WAIT.histogram([api, app], &metrics.admission_wait));
        metrics.endpoints.each(|authority, of_endpoint| {
            let took = &of_endpoint.upstream_duration;
            self.upstream_duration.push(UPSTREAM_DURATION.histogram([api, app, authority], took));
            of_endpoint.attempts.each(|&result, counter| {
                let key = (Arc::clone(&metrics.app), Arc::clone(authority), result);
                *self.attempts.entry(key).or_default() += counter.get();
            });
        });
    }

    fn collected(self) -> Vec<MetricFamily> {
        let attempts = self.attempts.iter();
        let attempts = attempts
            .map(|((app, endpoint, result), &count)| ATTEMPTS.counter([app, endpoint, result], count));
        vec![
            ATTEMPTS.counters(attempts.collect()),
            CALLS.counters(self.calls),
            REFUSED.counters(self.refused),
            RETRIES.counters(self.retries),
            CALL_DURATION.histograms(self.call_duration),
            ADMISSION_WAIT.histograms(self.admission_wait),
            UPSTREAM_DURATION.histograms(self.upstream_duration),
        ]
    }
}

impl<const L: usize> ApiFamily<L> {
    fn desc(&self) -> Desc {
        let labels = self.labels.map(str::to_owned).to_vec();
        Desc::new(self.full_name(), self.help.to_owned(), labels, HashMap::new())
            .expect("names and labels are well-formed constants")
    }

    fn counter(&self, values: [&str; L], count: u64) -> Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(count as f64);
        let mut metric = self.sample(values);
        metric.set_counter(counter);
        metric
    }

    fn histogram<const N: usize>(&self, values: [&str; L], histogram: &Histogram<N>) -> Metric {
        let mut metric = self.sample(values);
        metric.set_histogram(histogram.collect());
        metric
    }

    fn sample(&self, values: [&str; L]) -> Metric {
        let labels = self.labels.iter().zip(values).map(|(&name, value)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value.to_owned());
            label
        });
        Metric::from_label(labels.collect())
    }

    fn counters(&self, samples: Vec<Metric>) -> MetricFamily {
        self.family(MetricType::COUNTER, samples)
    }

    fn histograms(&self, samples: Vec<Metric>) -> MetricFamily {
        self.family(MetricType::HISTOGRAM, samples)
    }

    fn family(&self, of: MetricType, samples: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.full_name());
        family.set_help(self.help.to_owned());
        family.set_field_type(of);
        family.set_metric(samples);
        family
    }
}
