//! `[[app]]`: apps with their keys and endpoints, no two of them alike.

use rustls::pki_types::CertificateDer;

use super::Context;
use super::listen::leads_back;
use crate::config::findings::{Findings, Spot};
use crate::config::problem::{Fault, Place, quote};
use crate::config::reader::{At, Field, List, Tables};
use crate::config::secret::Source;
use crate::config::settings::Boot;
use crate::config::{file, pem};
use crate::gateway::target::{App, Apps, Endpoints};
use crate::model::app::SdkAppId;
use crate::model::endpoint::Endpoint;
use crate::model::region::Region;
use crate::model::secret::SecretKey;

/// The apps that are right in themselves.
pub(super) fn resolve(written: &Field<Tables<file::App>>, boot: &Boot, context: &mut Context<'_>) -> Apps {
    let mut apps = Apps::default();
    let written = match written {
        Field::Given(at) => &at.value.0[..],
        Field::Wrong => return apps,
        Field::Absent => &[],
    };
    if written.is_empty() {
        let spot = Spot { key: "app".into(), place: Place::File };
        context.findings.problem(&spot, Fault::Missing { wanted: "at least one [[app]]".into() });
    }
    refuse_twins(written, |app| app.name.given(), "the same name as", context.findings);
    refuse_twins(written, |app| app.sdkappid.given(), "the same number as", context.findings);
    refuse_twins(
        written,
        |app| app.default.given().filter(|at| at.value),
        "a second default beside",
        context.findings,
    );
    for at in written {
        if let Some(app) = app(at, boot, context) {
            // A conflict has been told already, with the places of both.
            _ = apps.add(app, at.value.default.or_default());
        }
    }
    apps
}

/// Tells every value that an earlier table has already.
pub(super) fn refuse_twins<K, T: PartialEq>(
    tables: &[At<K>],
    field: impl Fn(&K) -> Option<&At<T>>,
    relation: &str,
    findings: &mut Findings,
) {
    for (index, table) in tables.iter().enumerate() {
        let Some(mine) = field(&table.value) else { continue };
        let mut earlier = tables[..index].iter().filter_map(|table| field(&table.value));
        if let Some(first) = earlier.find(|first| first.value == mine.value) {
            findings.problem(&mine.spot, Fault::Remark(format!("{relation} {}", first.spot)));
        }
    }
}

/// One app; `None` when a problem was told.
fn app(at: &At<file::App>, boot: &Boot, context: &mut Context<'_>) -> Option<App> {
    let (app, spot) = (&at.value, &at.spot);
    // Each of them is looked at before the first `?`, so that every problem is told.
    let name = context.required(&app.name, spot, "name", "the name by which callers choose the app");
    let sdkappid = context.required(&app.sdkappid, spot, "sdkappid", "Tencent's number for the app");
    let identifier = context.required(&app.identifier, spot, "identifier", "an administrator's userid");
    let keys = keys(app, spot, context);
    let place = place(app, sdkappid.map(|at| at.value), boot, context);
    let extra_roots = extra_roots(app, context);
    let (region, endpoints) = place?;
    Some(App {
        name: name?.value.clone(),
        sdkappid: sdkappid?.value,
        identifier: identifier?.value.clone(),
        keys: keys?,
        region,
        endpoints,
        extra_roots: extra_roots?.into(),
        index: Default::default(),
        counted: Default::default(),
    })
}

/// The secret keys, from the one source that is named.
fn keys(app: &file::App, spot: &Spot, context: &mut Context<'_>) -> Option<Vec<SecretKey>> {
    match (&app.secret_key_file, &app.secret_key_env) {
        (Field::Given(file), Field::Absent) => {
            let path = context.folder.join(&file.value);
            context.findings.reads(&path);
            let keys = keys_of(Source::File(&path), &file.spot, context)?;
            context.warn_if_open_to_all(&path, &file.spot);
            Some(keys)
        }
        (Field::Absent, Field::Given(variable)) => {
            keys_of(Source::Variable(&variable.value), &variable.spot, context)
        }
        (Field::Given(_), Field::Given(variable)) => {
            let fault = Fault::found("both secret_key_file and secret_key_env", "one of them");
            context.findings.problem(&variable.spot, fault);
            None
        }
        (Field::Absent, Field::Absent) => {
            let fault = Fault::Missing { wanted: "secret_key_file or secret_key_env".into() };
            context.findings.problem(spot, fault);
            None
        }
        (Field::Wrong, _) | (_, Field::Wrong) => None,
    }
}

fn keys_of(source: Source<'_>, spot: &Spot, context: &mut Context<'_>) -> Option<Vec<SecretKey>> {
    let keys = source.keys(context.environment);
    keys.map_err(|error| context.findings.problem(spot, Fault::Remark(error.to_string()))).ok()
}

/// Where the app's calls go: private endpoints, else the region's.
fn place(
    app: &file::App,
    sdkappid: Option<SdkAppId>,
    boot: &Boot,
    context: &mut Context<'_>,
) -> Option<(Option<Region>, Endpoints)> {
    if let Field::Given(endpoints) = &app.endpoints {
        if !app.region.is_absent() {
            let fault = Fault::found("both region and endpoints", "one of them");
            context.findings.problem(&endpoints.spot, fault);
        }
        let endpoints = private_endpoints(endpoints, boot, context.findings);
        return Some((None, Endpoints::private(endpoints)));
    }
    if let (Field::Given(ca_file), Field::Absent) = (&app.ca_file, &app.endpoints) {
        let text = "goes with endpoints only: a region's domains have public certificates".into();
        context.findings.problem(&ca_file.spot, Fault::Remark(text));
    }
    let inferred = sdkappid.map(Region::of);
    let region = match &app.region {
        Field::Given(region) => {
            if let (Some(sdkappid), Some(inferred)) = (sdkappid, inferred)
                && inferred != region.value
            {
                let text = format!(
                    "{} is set, but an SDKAppID such as {sdkappid} usually belongs to {inferred}; \
                     another region's domain refuses the app (60026)",
                    region.value
                );
                context.findings.warning(&region.spot, text);
            }
            region.value
        }
        Field::Absent => inferred?,
        Field::Wrong => return None,
    };
    app.endpoints.is_absent().then(|| (Some(region), Endpoints::of_region(region)))
}

/// The endpoints, after telling those that lead back to this gateway or are named twice.
fn private_endpoints(list: &At<List<Endpoint>>, boot: &Boot, findings: &mut Findings) -> Vec<Endpoint> {
    let endpoints = &list.value.good;
    if list.value.written == 0 {
        let fault = Fault::found("an empty list", "at least one endpoint, or region instead");
        findings.problem(&list.spot, fault);
    }
    for (index, at) in endpoints.iter().enumerate() {
        let wanted = if leads_back(&at.value, boot) {
            "an endpoint that is not this gateway's own listener"
        } else if endpoints[..index].iter().any(|earlier| earlier.value == at.value) {
            "each endpoint once"
        } else {
            continue;
        };
        findings.problem(&at.spot, Fault::found(quote(&at.value.to_string()), wanted));
    }
    endpoints.iter().map(|at| at.value.clone()).collect()
}

fn extra_roots(app: &file::App, context: &mut Context<'_>) -> Option<Vec<CertificateDer<'static>>> {
    match &app.ca_file {
        Field::Given(ca_file) => context.read(ca_file, pem::roots),
        Field::Absent => Some(Vec::new()),
        Field::Wrong => None,
    }
}
