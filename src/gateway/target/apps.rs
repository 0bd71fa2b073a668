//! The configured apps, found by name or SDKAppID.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::model::api::Family;
use crate::model::app::{AppName, Identifier, SdkAppId};
use crate::model::endpoint::Endpoint;
use crate::model::hash_map::HashMap;
use crate::model::region::Region;
use crate::model::secret::SecretKey;

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
    pub extra_roots: Vec<CertificateDer<'static>>,
}

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
    /// By the text of its name, so that a look-up need not make an [`AppName`].
    by_name: BTreeMap<Box<str>, Arc<App>>,
    by_sdkappid: HashMap<SdkAppId, Arc<App>>,
    default: Option<Arc<App>>,
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
    pub fn add(&mut self, app: App, default: bool) -> Result<(), AppConflict> {
        if self.by_name.contains_key(app.name.as_str()) {
            return Err(AppConflict::Name);
        }
        if self.by_sdkappid.contains_key(&app.sdkappid) {
            return Err(AppConflict::SdkAppId);
        }
        if default && self.default.is_some() {
            return Err(AppConflict::Default);
        }
        let app = Arc::new(app);
        if default {
            self.default = Some(Arc::clone(&app));
        }
        self.by_sdkappid.insert(app.sdkappid, Arc::clone(&app));
        self.by_name.insert(app.name.as_str().into(), app);
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
        match (&self.default, self.by_name.len()) {
            (Some(app), _) => Some(app),
            (None, 1) => self.by_name.values().next(),
            (None, _) => None,
        }
    }

    /// Every app, in the order of names.
    #[must_use]
    pub fn all(&self) -> Vec<&Arc<App>> {
        self.by_name.values().collect()
    }
}
