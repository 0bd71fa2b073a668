//! Which app and API a call means. [`resolve`] gives a [`Target`].
//!
//! What comes in is the path and query of a request, as they were sent. The path says which API is meant and may
//! name the app (`/apps/{app}/v4/…`); the query may name it too, by its SDKAppID, which lets existing client code
//! change nothing but its base URL. What goes out is one configured [`App`] and one [`Api`], and the call is sent to
//! the path that this `Api` holds: what was decided on is what is forwarded, never a second reading of the caller's
//! text. Hence the narrow paths. Dots, doubled slashes, percent-encoding and the like mean different things to
//! different servers, so they are refused rather than understood.
//!
//! A well-formed API that the catalogue has never heard of is passed on: Tencent adds them faster than anyone updates
//! a gateway.

mod apis;
mod apps;
mod counted;
mod error;
mod path;
mod per_app;
pub(crate) mod query;

use std::sync::Arc;

pub use apis::{Api, ApiKey, Apis, OTHER_LABEL, OWN_APIS_PER_APP};
pub use apps::{App, AppConflict, AppIndex, Apps, Endpoints};
pub use counted::Counted;
pub use error::{AppNames, BadPath, ConflictingApp, Excerpt, PathFault, TargetError};
pub(crate) use per_app::PerApp;

use crate::model::app::SdkAppId;
use path::CallPath;
use query::AuthParameter;

/// What a call means: this API of this app.
#[derive(Debug, Clone)]
pub struct Target {
    /// The app that signs, and whose region is called.
    pub app: Arc<App>,
    /// The API, with the path to which the call is sent.
    pub api: Arc<Api>,
}

/// Finds out which app and API a call means.
///
/// The app is the one that the path names, else the one whose SDKAppID the query gives, else the default one.
///
/// # Errors
/// When the path has another form than the four accepted ones, when the app is not configured, or when path and query
/// disagree about it.
pub fn resolve(path: &str, query: Option<&str>, apps: &Apps, apis: &Apis) -> Result<Target, TargetError> {
    // A path of the catalogue's is well-formed, so nearly every call is spared the look at each of its bytes: 270
    // instructions instead of 1,340.
    let (named, rest) = path::after_app(path);
    if let Some(api) = apis.in_catalogue(rest)
        && let Ok(app) = choose_app(named, query, apps)
    {
        return Ok(Target { app: Arc::clone(app), api: Arc::clone(api) });
    }
    let path = CallPath::parse(path)?;
    let app = choose_app(path.app, query, apps)?;
    let api = apis.at(app.sdkappid, &path.api);
    Ok(Target { app: Arc::clone(app), api })
}

fn choose_app<'a>(
    prefix: Option<&str>,
    query: Option<&str>,
    apps: &'a Apps,
) -> Result<&'a Arc<App>, TargetError> {
    let parameter = asked_sdkappid(query)?;
    match (prefix, parameter) {
        (Some(name), parameter) => {
            let app = apps.named(name).ok_or_else(|| unknown(name, apps))?;
            match parameter {
                Some(parameter) if parameter != app.sdkappid => Err(ConflictingApp::PathAndParameter {
                    name: app.name.clone(),
                    sdkappid: app.sdkappid,
                    parameter,
                }
                .into()),
                _ => Ok(app),
            }
        }
        (None, Some(sdkappid)) => {
            apps.with_sdkappid(sdkappid).ok_or_else(|| unknown(&sdkappid.to_string(), apps))
        }
        (None, None) => {
            apps.default_app().ok_or_else(|| TargetError::NoAppChosen { configured: AppNames::of(apps) })
        }
    }
}

/// The SDKAppID that the caller's query gives: in whatever case and encoding its name is written, and once, or always
/// the same.
fn asked_sdkappid(query: Option<&str>) -> Result<Option<SdkAppId>, ConflictingApp> {
    let mut asked = None;
    for parameter in query::parameters(query) {
        if AuthParameter::of(parameter) != Some(AuthParameter::SdkAppId) {
            continue;
        }
        let sdkappid = query::value(parameter)
            .parse()
            .map_err(|_| ConflictingApp::NoSdkAppId { found: Excerpt::of(&query::value(parameter)) })?;
        match asked {
            Some(first) if first != sdkappid => {
                return Err(ConflictingApp::ParameterTwice { first, second: sdkappid });
            }
            _ => asked = Some(sdkappid),
        }
    }
    Ok(asked)
}

fn unknown(asked: &str, apps: &Apps) -> TargetError {
    TargetError::UnknownApp { asked: Excerpt::of(asked), configured: AppNames::of(apps) }
}

#[cfg(test)]
mod tests;
