//! The configured apps, found by name or SDKAppID.

use std::collections::HashSet;
use std::sync::Arc;

use super::Counted;
use crate::model::api::Family;
use crate::model::app::{AppName, Identifier, SdkAppId};
use crate::model::endpoint::Endpoint;
use crate::model::hash_map::HashMap;
use crate::model::region::Region;
use crate::model::secret::SecretKey;
use crate::net::client::Roots;

/// One app: who signs for it, and where its calls go.
#[derive(Debug, Clone)]
pub struct App {
    /// The name by which callers choose it.
    pub name: AppName,
    /// Tencent's number for it.
    pub sdkappid: SdkAppId,
    /// The administrator account in whose name calls are signed.
    pub identifier: Identifier,
    /// Secret keys, newest first; at least one.
    pub keys: Vec<SecretKey>,
    /// The region, unless the endpoints are private ones.
    pub region: Option<Region>,
    /// Where its calls go.
    pub endpoints: Endpoints,
    /// Extra trust roots for those endpoints, beside the platform's.
    pub extra_roots: Roots,
    /// Its index among the apps of its configuration. [`Apps::add`] puts its own in the place of whatever stands here.
    pub index: AppIndex,
    /// The counters of its APIs, as far as calls have found them.
    pub counted: Counted,
}

/// Which one an app is among those of its configuration, from 0. [`Apps::add`] gives it.
#[derive(Debug, Clone, Copy, Default)]
pub struct AppIndex(usize);

/// Where one app's calls go, by family, the primary first. All of them serve the same region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// For `v4/…`; at least one.
    pub v4: Vec<Endpoint>,
    /// For `v1/…`; at least one.
    pub v1: Vec<Endpoint>,
}

impl Endpoints {
    /// The published hosts of a region.
    #[must_use]
    pub fn of_region(region: Region) -> Self {
        let domains = region.domains();
        Self {
            v4: vec![Endpoint::https(domains.primary), Endpoint::https(domains.backup)],
            v1: vec![Endpoint::https(domains.old_call)],
        }
    }

    /// Private endpoints, which serve both families.
    #[must_use]
    pub fn private(endpoints: Vec<Endpoint>) -> Self {
        Self { v1: endpoints.clone(), v4: endpoints }
    }

    /// The endpoints of one family, the primary first.
    #[must_use]
    pub fn of(&self, family: Family) -> &[Endpoint] {
        match family {
            Family::V4 => &self.v4,
            Family::V1 => &self.v1,
        }
    }
}

/// The configured apps.
#[derive(Debug, Clone, Default)]
pub struct Apps {
    /// A look-up in a tree of 10,000 names compares some twenty of them, each of which lies elsewhere in memory.
    by_name: HashMap<AppName, Arc<App>>,
    by_sdkappid: HashMap<SdkAppId, Arc<App>>,
    by_index: Vec<Arc<App>>,
    default: Option<Arc<App>>,
    shared: Shared,
}

/// What apps have in common, so that it lies in memory once: of 1,000 apps in use, the processor's caches hold little.
#[derive(Debug, Clone, Default)]
struct Shared {
    endpoints: HashSet<Endpoint>,
    roots: Vec<Roots>,
}

/// Why an app cannot stand beside those that are there already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppConflict {
    /// The name is taken.
    #[error("another app has this name")]
    Name,
    /// The SDKAppID is taken.
    #[error("another app has this sdkappid")]
    SdkAppId,
    /// There is a default already.
    #[error("another app is the default")]
    Default,
}

impl Apps {
    /// Adds an app. With `default`, calls that choose no app go to it.
    ///
    /// # Errors
    /// When name, SDKAppID or the place of the default is taken; nothing is added then.
    pub fn add(&mut self, mut app: App, default: bool) -> Result<(), AppConflict> {
        if self.by_name.contains_key(app.name.as_str()) {
            return Err(AppConflict::Name);
        }
        if self.by_sdkappid.contains_key(&app.sdkappid) {
            return Err(AppConflict::SdkAppId);
        }
        if default && self.default.is_some() {
            return Err(AppConflict::Default);
        }
        self.shared.share(&mut app);
        app.index = AppIndex(self.by_index.len());
        let app = Arc::new(app);
        if default {
            self.default = Some(Arc::clone(&app));
        }
        self.by_index.push(Arc::clone(&app));
        self.by_sdkappid.insert(app.sdkappid, Arc::clone(&app));
        self.by_name.insert(app.name.clone(), app);
        Ok(())
    }

    /// The app of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<App>> {
        self.by_name.get(name)
    }

    /// The app of this SDKAppID.
    #[must_use]
    pub fn with_sdkappid(&self, sdkappid: SdkAppId) -> Option<&Arc<App>> {
        self.by_sdkappid.get(&sdkappid)
    }

    /// The app for calls that choose none: the one marked default, else the only one.
    #[must_use]
    pub fn default_app(&self) -> Option<&Arc<App>> {
        match (&self.default, &self.by_index[..]) {
            (Some(app), _) | (None, [app]) => Some(app),
            (None, _) => None,
        }
    }

    /// Every app, in the order of indices.
    pub fn each(&self) -> impl Iterator<Item = &Arc<App>> {
        self.by_index.iter()
    }

    /// Every app, in the order of names.
    #[must_use]
    pub fn all(&self) -> Vec<&Arc<App>> {
        let mut all: Vec<_> = self.by_index.iter().collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

// === impl AppIndex ===

impl AppIndex {
    pub(super) fn get(self) -> usize {
        self.0
    }
}

// === impl Shared ===

impl Shared {
    fn share(&mut self, app: &mut App) {
        for endpoint in app.endpoints.v4.iter_mut().chain(&mut app.endpoints.v1) {
            match self.endpoints.get(endpoint) {
                Some(known) => *endpoint = known.clone(),
                None => _ = self.endpoints.insert(endpoint.clone()),
            }
        }
        match self.roots.iter().find(|roots| **roots == app.extra_roots) {
            Some(known) => app.extra_roots = known.clone(),
            None => self.roots.push(app.extra_roots.clone()),
        }
    }
}
