//! The counters of an app's APIs, found on a call's way without hashing.

use std::sync::{Arc, OnceLock};

use super::{Api, ApiKey};
use crate::telemetry::metrics::ApiMetrics;

/// The counters of the APIs that were called first, as many as most apps call. Any further one's are to be looked up: by
/// the app's label, the API's, and both in two tables, which took 540 instructions and, with many apps in use, five cache
/// lines that were cold.
#[derive(Debug, Default)]
pub struct Counted([OnceLock<Known>; PLACES]);

#[derive(Debug)]
struct Known {
    key: ApiKey,
    /// Whether the settings or the catalogue had it. One that they have since has a label of its own.
    known: bool,
    metrics: Arc<ApiMetrics>,
}

impl Counted {
    /// The API's counters; `find` looks them up.
    pub(in crate::gateway) fn of(
        &self,
        api: &Api,
        find: impl FnOnce() -> Arc<ApiMetrics>,
    ) -> Arc<ApiMetrics> {
        for place in &self.0 {
            match place.get() {
                Some(here) if here.key == api.key && here.known == api.known => {
                    return Arc::clone(&here.metrics);
                }
                Some(_) => {}
                None => {
                    let metrics = find();
                    let known = Known { key: api.key, known: api.known, metrics: Arc::clone(&metrics) };
                    // Another worker may have been faster, with whatever API: then this one looks again next time.
                    _ = place.set(known);
                    return metrics;
                }
            }
        }
        find()
    }
}

/// The same app under another name is counted elsewhere.
impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

const PLACES: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::tests::{app, with_apps};
    use super::super::{Apis, resolve};
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn each_api_has_its_own_and_the_first_are_looked_up_once() {
        let (apps, apis, metrics) = (with_apps(&[("a", 1)], None), Apis::new(), Metrics::new("1"));
        let counted = app("a", 1).counted;
        let named = ["get_callback", "set_callback", "get_ban_list", "get_black_list", "get_forbid_list"];
        let paths = named.map(|name| format!("/v4/live_config/{name}"));
        let of = |path: &String, find: &dyn Fn(&str) -> Arc<ApiMetrics>| {
            let api = resolve(path, None, &apps, &apis).unwrap().api;
            let api = apis.called(apps.default_app().unwrap().sdkappid, &api).unwrap_or(api);
            counted.of(&api, || find(&api.label))
        };
        let first = paths.each_ref().map(|path| of(path, &|api| metrics.api("a", api)));
        for (nth, path) in paths.iter().enumerate() {
            let again = of(path, &|api| {
                assert!(nth >= PLACES, "it is at hand");
                metrics.api("a", api)
            });
            assert!(Arc::ptr_eq(&again, &first[nth]));
        }
        let one_more = Counted::clone(&counted);
        assert!(one_more.0.iter().all(|place| place.get().is_none()));
    }
}
