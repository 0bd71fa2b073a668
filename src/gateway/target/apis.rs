//! What the gateway knows of each API that is called, shared by every call and every worker.
//!
//! An API's *identity* ([`Api::key`] and [`Api::label`]: its bucket and its name in metrics) is apart from the *path*
//! to which a call is forwarded. Those in the catalogue and those that the settings name have an identity of their
//! own, and so have the first [`OWN_APIS_PER_APP`] others that each app calls. Whoever makes up further names gets
//! them forwarded, but all under one identity, so that made-up names cost neither memory nor labels.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::path::ApiPath;
use crate::model::api::{ApiName, RepeatSafety, catalogue};
use crate::model::app::SdkAppId;
use crate::model::ceiling::Ceiling;
use crate::model::hash_map::HashMap;

/// How many APIs outside the catalogue and the settings have an identity of their own, for each app.
pub const OWN_APIS_PER_APP: usize = 1_000;

/// The label of all further ones.
pub const OTHER_LABEL: &str = "other";

/// One API, as far as a call needs to know it.
#[derive(Debug)]
pub struct Api {
    /// Its name, which is always the one that was called.
    pub name: ApiName,
    /// The path to which it is forwarded, from the slash before `v4` or `v1`.
    pub url_path: String,
    /// Its name in metrics: the name, or [`OTHER_LABEL`].
    pub label: Arc<str>,
    /// Whether a call may be repeated when nobody knows how the first one ended.
    pub repeat: RepeatSafety,
    /// The ceilings that the catalogue documents or assumes; none where it does not know the API.
    pub ceilings: Arc<[Ceiling]>,
    /// Whether its answer holds a secret.
    pub answers_secret: bool,
    /// Whether the catalogue has it or the settings name it.
    pub known: bool,
    /// Which bucket its calls share: calls of one app with equal keys count together.
    pub key: ApiKey,
}

/// A small stand-in for an API in maps. The same API has the same key in every app, for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKey(u32);

impl ApiKey {
    /// What all APIs beyond the bound share.
    pub const OTHER: Self = Self(0);
}

/// Every API that has an identity of its own.
#[derive(Debug)]
pub struct Apis {
    /// By path. It never changes, so the usual call takes no lock.
    catalogue: HashMap<Box<str>, Arc<Api>>,
    others: RwLock<Others>,
}

/// What the catalogue does not have. Nothing is ever taken out, since a bucket may still hold tokens under its key.
#[derive(Debug, Default)]
struct Others {
    /// By path: those that the settings have named, and those that some app called while it had room.
    by_path: HashMap<Box<str>, Arc<Api>>,
    /// Which of those that nobody named each app has called; at most [`OWN_APIS_PER_APP`].
    own: HashMap<SdkAppId, HashSet<ApiKey>>,
}

// === impl Apis ===

impl Apis {
    /// The catalogue's APIs.
    #[must_use]
    pub fn new() -> Self {
        let catalogue = catalogue().entries().zip(1..).map(|((name, entry), key)| {
            let api = Api {
                repeat: entry.kind,
                ceilings: entry.ceilings().into(),
                known: true,
                ..Api::beyond_catalogue(name.clone(), ApiKey(key))
            };
            (api.url_path.clone().into(), Arc::new(api))
        });
        Self { catalogue: catalogue.collect(), others: RwLock::default() }
    }

    /// Gives the APIs that the settings name an identity of their own in every app. A name once given keeps it.
    pub fn know<'a>(&self, names: impl IntoIterator<Item = &'a ApiName>) {
        for name in names {
            let path = name.url_path();
            if self.catalogue.contains_key(path.as_str()) {
                continue;
            }
            let mut others = self.write();
            // One that was called before keeps its key, and with it the bucket that counts its calls.
            let key = others.by_path.get(path.as_str()).map_or_else(|| self.next_key(&others), |api| api.key);
            let api = Api { known: true, ..Api::beyond_catalogue(name.clone(), key) };
            others.by_path.insert(path.into(), Arc::new(api));
        }
    }

    /// The catalogue's API at this path, from the slash before `v4` or `v1`.
    pub(super) fn in_catalogue(&self, url: &str) -> Option<&Arc<Api>> {
        self.catalogue.get(url)
    }

    /// The API at a path that `app` is asked for. One that has no identity yet is under the shared one, until it
    /// is [called](Self::called).
    pub(super) fn at(&self, app: SdkAppId, path: &ApiPath<'_>) -> Arc<Api> {
        if let Some(api) = self.in_catalogue(path.url()) {
            return Arc::clone(api);
        }
        let found = self.read().find(app, path.url());
        match found {
            Found::Own(api) => api,
            Found::New | Found::NoRoom => Arc::new(Api::other(path.name())),
        }
    }

    /// The identity of an API that `app` is about to call, and that had none so far. What is refused before takes no room.
    /// `None`: it stays as it is.
    #[must_use]
    pub fn called(&self, app: SdkAppId, api: &Api) -> Option<Arc<Api>> {
        if api.key != ApiKey::OTHER {
            return None;
        }
        // Most that come here found no room.
        match self.read().find(app, &api.url_path) {
            Found::Own(own) => return Some(own),
            Found::NoRoom => return None,
            Found::New => {}
        }
        let mut others = self.write();
        // Another call may have been faster, or have taken the last place.
        match others.find(app, &api.url_path) {
            Found::Own(api) => return Some(api),
            Found::NoRoom => return None,
            Found::New => {}
        }
        let own = match others.by_path.get(api.url_path.as_str()) {
            Some(own) => Arc::clone(own),
            None => Arc::new(Api::beyond_catalogue(api.name.clone(), self.next_key(&others))),
        };
        others.by_path.insert(api.url_path.as_str().into(), Arc::clone(&own));
        others.own.entry(app).or_default().insert(own.key);
        Some(own)
    }

    /// Key 0 is [`ApiKey::OTHER`], then come the catalogue's, then the others' in order of arrival.
    fn next_key(&self, others: &Others) -> ApiKey {
        let taken = 1 + self.catalogue.len() + others.by_path.len();
        ApiKey(u32::try_from(taken).expect("each entry takes over 100 bytes, and 4 billion do not fit"))
    }

    fn read(&self) -> RwLockReadGuard<'_, Others> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Others> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Apis {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Others ===

/// What is known of an API outside the catalogue, for one app.
enum Found {
    /// It has an identity of its own here.
    Own(Arc<Api>),
    /// It has none here yet, and may have one.
    New,
    /// It has none, and there is no room.
    NoRoom,
}

impl Others {
    fn find(&self, app: SdkAppId, url: &str) -> Found {
        let own = self.own.get(&app);
        match self.by_path.get(url) {
            Some(api) if api.known || own.is_some_and(|own| own.contains(&api.key)) => {
                Found::Own(Arc::clone(api))
            }
            _ if own.is_some_and(|own| own.len() >= OWN_APIS_PER_APP) => Found::NoRoom,
            _ => Found::New,
        }
    }
}

// === impl Api ===

impl Api {
    /// One of which only the name is known.
    fn beyond_catalogue(name: ApiName, key: ApiKey) -> Self {
        Self {
            url_path: name.url_path(),
            label: name.as_str().into(),
            repeat: RepeatSafety::Write,
            ceilings: Arc::new([]),
            answers_secret: name.answers_secret(),
            known: false,
            key,
            name,
        }
    }

    /// One beyond the bound: its own path, the shared identity.
    fn other(name: ApiName) -> Self {
        Self { label: OTHER_LABEL.into(), ..Self::beyond_catalogue(name, ApiKey::OTHER) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::CallPath;
    use super::*;

    fn app(number: u64) -> SdkAppId {
        SdkAppId::try_from(number).unwrap()
    }

    fn at(apis: &Apis, app: SdkAppId, path: &str) -> Arc<Api> {
        let api = apis.at(app, &CallPath::parse(path).unwrap().api);
        apis.called(app, &api).unwrap_or(api)
    }

    #[test]
    fn the_catalogues_apis_are_known_and_shared_by_all_apps() {
        let apis = Apis::new();
        let api = at(&apis, app(1), "/v4/live_engine_http_srv/get_room_list");
        assert_eq!((api.ceilings[0].limit.get(), api.repeat, api.known), (10, RepeatSafety::Read, true));
        assert_eq!(&*api.label, "live_engine_http_srv/get_room_list");
        assert_eq!(api.url_path, "/v4/live_engine_http_srv/get_room_list");
        assert!(Arc::ptr_eq(&api, &at(&apis, app(2), "/apps/x/v4/live_engine_http_srv/get_room_list")));

        let keys: HashSet<_> = apis.catalogue.values().map(|api| api.key).collect();
        assert!(keys.len() == catalogue().entries().count() && !keys.contains(&ApiKey::OTHER));
        assert!(at(&apis, app(1), "/v4/live_config/get_callback_token").answers_secret);
    }

    #[test]
    fn the_old_call_family_is_another_api() {
        let apis = Apis::new();
        let (new, old) = (at(&apis, app(1), "/v4/callback/set"), at(&apis, app(1), "/v1/callback/set"));
        assert_ne!(new.key, old.key);
        assert_eq!((&*new.label, &*old.label), ("callback/set", "v1/callback/set"));
    }

    #[test]
    fn an_unknown_api_counts_as_a_write_and_keeps_its_identity() {
        let apis = Apis::new();
        let api = at(&apis, app(1), "/v4/brand_new/thing");
        assert_eq!((api.ceilings.len(), api.repeat, api.known), (0, RepeatSafety::Write, false));
        assert!(Arc::ptr_eq(&api, &at(&apis, app(1), "/v4/brand_new/thing")));
        assert_eq!(api.key, at(&apis, app(2), "/v4/brand_new/thing").key);
        assert_ne!(api.key, at(&apis, app(1), "/v4/brand_new/Thing").key, "paths are case-sensitive");
    }

    #[test]
    fn beyond_the_bound_unknown_apis_share_one_identity_and_keep_their_paths() {
        let apis = Apis::new();
        let keys: HashSet<_> =
            (0..OWN_APIS_PER_APP).map(|n| at(&apis, app(1), &format!("/v4/made_up/n{n}")).key).collect();
        assert_eq!(keys.len(), OWN_APIS_PER_APP);

        for command in ["one_more", "and_another"] {
            let api = at(&apis, app(1), &format!("/v4/made_up/{command}"));
            assert_eq!((api.key, &*api.label), (ApiKey::OTHER, OTHER_LABEL));
            assert_eq!(api.url_path, format!("/v4/made_up/{command}"));
        }
        assert_eq!(apis.read().by_path.len(), OWN_APIS_PER_APP);

        // What was there stays, the catalogue is not touched, and another app has room of its own.
        assert!(keys.contains(&at(&apis, app(1), "/v4/made_up/n0").key));
        assert!(at(&apis, app(1), "/v4/live_config/get_callback").known);
        assert_eq!(&*at(&apis, app(2), "/v4/made_up/one_more").label, "made_up/one_more");
        assert_eq!(at(&apis, app(1), "/v4/made_up/one_more").key, ApiKey::OTHER);
    }

    #[test]
    fn what_is_asked_for_and_not_called_takes_no_room() {
        let apis = Apis::new();
        for n in 0..=OWN_APIS_PER_APP {
            let path = format!("/v4/made_up/n{n}");
            let api = apis.at(app(1), &CallPath::parse(&path).unwrap().api);
            assert_eq!((api.key, &*api.label, api.url_path.as_str()), (ApiKey::OTHER, OTHER_LABEL, &*path));
        }
        assert_eq!(apis.read().by_path.len(), 0);
        assert_eq!(&*at(&apis, app(1), "/v4/made_up/called").label, "made_up/called");
    }

    #[test]
    fn what_the_settings_name_never_falls_under_other() {
        let apis = Apis::new();
        let before = at(&apis, app(1), "/v4/made_up/called_before").key;
        for n in 1..=OWN_APIS_PER_APP {
            at(&apis, app(1), &format!("/v4/made_up/n{n}"));
        }
        let names: Vec<ApiName> = ["made_up/called_before", "made_up/new", "live_config/get_callback"]
            .map(|name| name.parse().unwrap())
            .into();
        apis.know(&names);
        apis.know(&names);

        let api = at(&apis, app(1), "/v4/made_up/called_before");
        assert_eq!((api.key, api.known), (before, true));
        let api = at(&apis, app(1), "/v4/made_up/new");
        assert_eq!((&*api.label, api.known), ("made_up/new", true));
        assert_eq!(apis.read().by_path.len(), OWN_APIS_PER_APP + 1);
    }

    #[test]
    fn the_bound_holds_when_many_threads_call_at_once() {
        let apis = Apis::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let apis = &apis;
                scope.spawn(move || {
                    for n in 0..OWN_APIS_PER_APP {
                        at(apis, app(1), &format!("/v4/made_up/n{}", n + thread * 300));
                    }
                });
            }
        });
        let others = apis.read();
        assert_eq!(others.own[&app(1)].len(), OWN_APIS_PER_APP);
        let keys: HashSet<_> = others.by_path.values().map(|api| api.key).collect();
        assert_eq!(keys.len(), others.by_path.len());
    }
}
