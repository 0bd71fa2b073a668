//! Whether a call may come in: its five parameters, its UserSig, its administrator.
//!
//! The query string comes in, percent-decoded into pairs; out comes who calls, or the documented code. Names are
//! case-sensitive, as Tencent's are. Whether two keys can be valid at once no page says; here any listed key is.

use std::collections::HashMap;
use std::fmt;

use percent_encoding::percent_decode_str;

use super::codes;
use super::shape::Refusal;
use super::usersig;
use crate::model::app::{Identifier, SdkAppId};
use crate::model::secret::SecretKey;

/// An app that lives in the sandbox.
#[derive(Debug, Clone)]
pub struct SandboxApp {
    /// Tencent's number for it.
    pub sdkappid: SdkAppId,
    /// The keys with which a UserSig may be made.
    pub keys: Vec<SecretKey>,
    /// The accounts that may call the REST API.
    pub administrators: Vec<Identifier>,
}

impl SandboxApp {
    /// An app with one administrator, called `administrator`.
    #[must_use]
    pub fn new(sdkappid: SdkAppId, keys: Vec<SecretKey>) -> Self {
        let administrator = "administrator".parse().expect("13 letters are an identifier");
        Self { sdkappid, keys, administrators: vec![administrator] }
    }
}

/// The values found for each of the five parameters of authentication: normally one each.
///
/// A name counts in whatever case and percent-encoding it comes, so that a test sees what a gateway let through.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthParameters {
    /// The app's number.
    pub sdkappid: Vec<String>,
    /// The administrator.
    pub identifier: Vec<String>,
    /// The signature; `Debug` shows only its length.
    pub usersig: Vec<String>,
    /// The random number.
    pub random: Vec<String>,
    /// `json`.
    pub contenttype: Vec<String>,
}

impl AuthParameters {
    /// The five lists with their names.
    pub fn lists(&self) -> [(&'static str, &[String]); 5] {
        [
            ("sdkappid", &self.sdkappid),
            ("identifier", &self.identifier),
            ("usersig", &self.usersig),
            ("random", &self.random),
            ("contenttype", &self.contenttype),
        ]
    }

    fn list_mut(&mut self, name: &str) -> Option<&mut Vec<String>> {
        match name.to_ascii_lowercase().as_str() {
            "sdkappid" => Some(&mut self.sdkappid),
            "identifier" => Some(&mut self.identifier),
            "usersig" => Some(&mut self.usersig),
            "random" => Some(&mut self.random),
            "contenttype" => Some(&mut self.contenttype),
            _ => None,
        }
    }
}

impl fmt::Debug for AuthParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked: Vec<String> = self.usersig.iter().map(|text| masked(text)).collect();
        f.debug_struct("AuthParameters")
            .field("sdkappid", &self.sdkappid)
            .field("identifier", &self.identifier)
            .field("usersig", &masked)
            .field("random", &self.random)
            .field("contenttype", &self.contenttype)
            .finish()
    }
}

/// How a UserSig is shown.
pub(super) fn masked(usersig: &str) -> String {
    format!("({} characters)", usersig.chars().count())
}

/// A query string, taken apart and percent-decoded. `+` stands for itself.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pair = |text: &str| match text.split_once('=') {
            Some((name, value)) => (decoded(name), decoded(value)),
            None => (decoded(text), String::new()),
        };
        Self(raw.split('&').filter(|text| !text.is_empty()).map(pair).collect())
    }

    /// The five parameters' values, whatever the case of their names.
    pub(crate) fn parameters(&self) -> AuthParameters {
        let mut parameters = AuthParameters::default();
        for (name, value) in &self.0 {
            if let Some(list) = parameters.list_mut(name) {
                list.push(value.clone());
            }
        }
        parameters
    }

    /// The app that the call names, known or not.
    pub(super) fn sdkappid(&self) -> Option<SdkAppId> {
        self.value("sdkappid").and_then(|text| text.parse().ok())
    }

    /// The first value under exactly this name; an empty one is none.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value).filter(|v| !v.is_empty())
    }
}

/// Who calls: proof that every check of this module was passed.
pub(super) struct Caller {
    pub(super) sdkappid: SdkAppId,
    pub(super) identifier: String,
}

/// The apps that live here.
pub(super) type Apps = HashMap<SdkAppId, SandboxApp>;

/// Checks a call's parameters at the Unix second `now`, in the order of Tencent's documentation as far as it has one.
pub(super) fn check(query: &Query, apps: &Apps, now: u64) -> Result<Caller, Refusal> {
    for (name, values) in query.parameters().lists() {
        if values.len() > 1 {
            return Err(Refusal::new(codes::BAD_URL, format!("{name} is given {} times", values.len())));
        }
    }
    let app = check_app(query, apps)?;
    let identifier = query
        .value("identifier")
        .ok_or_else(|| Refusal::new(codes::WRONG_PARAMETER, "identifier is missing"))?;
    check_usersig(query, app, identifier, now)?;
    if !app.administrators.iter().any(|known| known.as_str() == identifier) {
        return Err(Refusal::new(codes::NOT_ADMINISTRATOR, "identifier is no administrator of this app"));
    }
    check_random(query)?;
    match query.value("contenttype") {
        Some("json") => Ok(Caller { sdkappid: app.sdkappid, identifier: identifier.to_owned() }),
        _ => Err(Refusal::new(codes::WRONG_PARAMETER, "contenttype is not json")),
    }
}

fn check_app<'a>(query: &Query, apps: &'a Apps) -> Result<&'a SandboxApp, Refusal> {
    let Some(text) = query.value("sdkappid") else {
        return Err(Refusal::new(codes::NO_SDKAPPID, "sdkappid is missing"));
    };
    let Ok(sdkappid) = text.parse::<SdkAppId>() else {
        return Err(Refusal::new(codes::WRONG_PARAMETER, "sdkappid is no number from 1 to 4294967295"));
    };
    apps.get(&sdkappid).ok_or_else(|| Refusal::new(codes::NO_SUCH_APP, "sdkappid does not exist here"))
}

/// What was signed is compared before who signed: 70014 for another app's UserSig says more than 70009 would.
/// No page tells how far a clock may run ahead, so a UserSig from the future is taken.
fn check_usersig(query: &Query, app: &SandboxApp, identifier: &str, now: u64) -> Result<(), Refusal> {
    let Some(text) = query.value("usersig") else {
        return Err(Refusal::new(codes::EMPTY_USERSIG, "usersig is empty"));
    };
    let usersig =
        usersig::decode(text).map_err(|error| Refusal::new(codes::ILLEGAL_USERSIG, error.to_string()))?;
    if !usersig.is_version_2() {
        return Err(Refusal::new(codes::FAILED_CHECK, "usersig is not of TLS.ver 2.0"));
    }
    if usersig.sdkappid != u64::from(app.sdkappid.number()) {
        return Err(Refusal::new(codes::OTHER_SDKAPPID, "usersig was made for another sdkappid"));
    }
    if usersig.identifier != identifier {
        return Err(Refusal::new(codes::OTHER_IDENTIFIER, "usersig was made for another identifier"));
    }
    if !app.keys.iter().any(|key| usersig.is_made_with(key)) {
        return Err(Refusal::new(codes::OTHER_KEY, "usersig was made with another key"));
    }
    if usersig.expires_at() <= now {
        return Err(Refusal::new(codes::EXPIRED, "usersig has expired"));
    }
    Ok(())
}

fn check_random(query: &Query) -> Result<(), Refusal> {
    let is_u32 = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok();
    match query.value("random") {
        Some(text) if is_u32(text) => Ok(()),
        Some(_) => Err(Refusal::new(codes::BAD_URL, "random is no number from 0 to 4294967295")),
        None => Err(Refusal::new(codes::BAD_URL, "random is missing")),
    }
}
