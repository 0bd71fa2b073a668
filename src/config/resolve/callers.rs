//! `[callers]`: who may call what.
//!
//! What is doubtful closes the door here: a rule that names nobody, an empty list where an absent one would mean
//! everyone or everything, and a name that no app has are problems and not warnings.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::apps::refuse_twins;
use crate::config::file::{self, Callers, File};
use crate::config::findings::{Findings, Spot};
use crate::config::problem::{Fault, quote};
use crate::config::reader::{At, Field, List};
use crate::config::settings::Boot;
use crate::gateway::caller::{self, Rule, Who};
use crate::gateway::policy::{self, ApiPattern, Rights};
use crate::model::api::{ApiName, catalogue, edit_distance};
use crate::model::app::AppName;
use crate::net::listener::ListenAddress;

/// The rules, with the rights that go with them.
pub(super) fn resolve(
    file: &File,
    boot: &Boot,
    findings: &mut Findings,
) -> (caller::Settings, policy::Settings) {
    let written = rules(&file.callers);
    refuse_twins(written, |rule| rule.name.given(), "the same name as", findings);
    let apps = app_names(file);
    let mut settings = caller::Settings {
        header: file.callers.header.or(caller::Settings::default().header),
        rules: Vec::new(),
    };
    let mut rights = HashMap::new();
    for at in written {
        let rule = rule(at, boot, findings);
        let granted = rights_of(&at.value, apps.as_deref(), findings);
        if let Some(rule) = rule {
            rights.insert(rule.name.clone(), granted);
            settings.rules.push(Arc::new(rule));
        }
    }
    (settings, policy::Settings { rights })
}

/// Whether there is a rule, be it right or wrong.
pub(super) fn has_rules(callers: &Callers) -> bool {
    !rules(callers).is_empty()
}

fn rules(callers: &Callers) -> &[At<file::Rule>] {
    callers.rule.given().map_or(&[], |at| &at.value.0)
}

/// One rule; `None` when a problem was told.
fn rule(at: &At<file::Rule>, boot: &Boot, findings: &mut Findings) -> Option<Rule> {
    let rule = &at.value;
    if rule.name.is_absent() {
        let spot = Spot { key: format!("{}.name", at.spot.key), place: at.spot.place.clone() };
        findings.problem(&spot, Fault::Missing { wanted: "a name for the callers that it matches".into() });
    }
    let who = who(at, boot, findings);
    Some(Rule {
        name: rule.name.given()?.value.clone(),
        who,
        weight: rule.weight.or(NonZeroU32::MIN),
        max_per_second: rule.max_per_second.given().and_then(|at| NonZeroU32::new(at.value)),
    })
}

fn who(at: &At<file::Rule>, boot: &Boot, findings: &mut Findings) -> Who {
    let rule = &at.value;
    if rule.cidr.is_absent() && rule.tls_name.is_absent() && rule.uid.is_absent() {
        let wanted = "cidr, tls_name or uid: whom the rule matches";
        findings.problem(&at.spot, Fault::Missing { wanted: wanted.into() });
    }
    if let (Field::Given(_), Field::Given(uid)) = (&rule.cidr, &rule.uid) {
        let fault =
            Fault::found("both cidr and uid", "one of them: what comes through a Unix socket has no address");
        findings.problem(&uid.spot, fault);
    }
    let shows_certificates = boot.tls.as_ref().is_some_and(|tls| tls.client_roots.is_some());
    let is_unix = matches!(boot.gateway, ListenAddress::Unix(_));
    for (spot, matches_nobody, why) in [
        (spot(&rule.cidr), is_unix, "what comes through the Unix socket at listen.gateway has no address"),
        (spot(&rule.uid), !is_unix, "only a Unix socket tells the user, and listen.gateway is none"),
        (spot(&rule.tls_name), !shows_certificates, "listen.tls.client_ca_file is not set"),
    ] {
        if let (Some(spot), true) = (spot, matches_nobody) {
            findings.warning(spot, format!("the rule matches nobody: {why}"));
        }
    }
    Who {
        networks: entries(&rule.cidr, "at least one network, or cidr left out", findings),
        tls_names: entries(&rule.tls_name, "at least one name, or tls_name left out", findings),
        uids: entries(&rule.uid, "at least one user, or uid left out", findings),
    }
}

fn rights_of(rule: &file::Rule, apps: Option<&[&AppName]>, findings: &mut Findings) -> Rights {
    if let (Some(apps), Some(named)) = (apps, rule.apps.given()) {
        for at in named.value.good.iter().filter(|at| !apps.contains(&&at.value)) {
            let hint =
                nearest(apps, &at.value).map(|app| format!(", did you mean {app}?")).unwrap_or_default();
            let found = quote(at.value.as_str());
            findings.problem(&at.spot, Fault::Remark(format!("no [[app]] has the name {found}{hint}")));
        }
    }
    let allow = rule
        .allow
        .given()
        .map(|_| entries(&rule.allow, "at least one pattern, or allow left out for every API", findings));
    for at in [&rule.allow, &rule.deny].into_iter().filter_map(Field::given).flat_map(|list| &list.value.good)
    {
        warn_if_unknown(at, findings);
    }
    Rights { apps: values(&rule.apps), allow, deny: values(&rule.deny) }
}

/// The names of all apps; `None` when some cannot be known, because a problem with them was told.
fn app_names(file: &File) -> Option<Vec<&AppName>> {
    let apps = file.app.given()?;
    apps.value.0.iter().map(|app| app.value.name.given().map(|at| &at.value)).collect()
}

fn nearest<'a>(apps: &[&'a AppName], name: &AppName) -> Option<&'a AppName> {
    let distance = |app: &AppName| edit_distance(app.as_str(), name.as_str());
    let nearest = apps.iter().copied().min_by_key(|app| distance(app));
    nearest.filter(|app| distance(app) <= 3.min(name.as_str().len() / 2))
}

/// A pattern for which the catalogue has no API may be right, since Tencent adds some; more often it is misspelt.
fn warn_if_unknown(at: &At<ApiPattern>, findings: &mut Findings) {
    let mut names = catalogue().entries().map(|(name, _)| name);
    // The catalogue has a secret's API in one family member only; the other two are known all the same.
    if names.any(|name| at.value.matches(name))
        || at.value.named_in_full().is_some_and(ApiName::answers_secret)
    {
        return;
    }
    let meant = match &at.value {
        ApiPattern::One(name) => catalogue().nearest(name.as_str()).map(ToString::to_string),
        ApiPattern::Some { service, .. } => {
            nearest_service(service.as_str()).map(|service| format!("{service}/…"))
        }
        ApiPattern::Every => None,
    };
    let hint = meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
    findings.warning(&at.spot, format!("the catalogue knows no API like {}{hint}", at.value));
}

/// The known service that is nearest to one without a star.
fn nearest_service(service: &str) -> Option<&'static str> {
    if service.contains('*') {
        return None;
    }
    let known = catalogue().entries().map(|(name, _)| name.service());
    let (distance, nearest) = known.map(|known| (edit_distance(known, service), known)).min()?;
    (1..=3).contains(&distance).then_some(nearest)
}

/// The entries of a list that must not be empty when it is there.
fn entries<T: Clone>(list: &Field<List<T>>, wanted: &str, findings: &mut Findings) -> Vec<T> {
    if let Some(at) = list.given()
        && at.value.written == 0
    {
        findings.problem(&at.spot, Fault::found("an empty list", wanted));
    }
    values(list)
}

fn values<T: Clone>(list: &Field<List<T>>) -> Vec<T> {
    let good = list.given().map_or(&[][..], |at| &at.value.good);
    good.iter().map(|at| at.value.clone()).collect()
}

fn spot<T>(field: &Field<T>) -> Option<&Spot> {
    field.given().map(|at| &at.spot)
}
