//! From what was written to what may be used.
//!
//! Defaults come in, values are held against each other, and the files that they name are read. Nothing stops at a
//! problem: a value that is wrong is replaced by its default, so that the rest can still be judged, and the settings
//! that come out are dropped when there is any problem.

mod apis;
mod apps;
mod callers;
mod ceiling;
mod listen;
mod redis;
mod retry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{File, Limits, Tracing, Upstream, UserSig};
use super::findings::{Findings, Spot};
use super::pem::BadPem;
use super::problem::{Fault, quote};
use super::reader::{At, Field};
use super::settings::{Boot, DrainSettings, Settings};
use super::words::Timeout;
use super::{Environment, disk};
use crate::gateway::{self, AnswersSettings, RecordSettings, credentials, forward};
use crate::model::{duration, size};
use crate::telemetry::{logs, traces};

/// What the values of the file are held against.
struct Context<'a> {
    /// The configuration's folder: relative paths start there.
    folder: &'a Path,
    environment: &'a Environment,
    findings: &'a mut Findings,
}

/// Makes settings of the file.
pub(super) fn resolve(
    file: &File,
    folder: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> Settings {
    let mut context = Context { folder, environment, findings };
    let boot = boot(file, &mut context);
    let (callers, rules) = callers::resolve(file, &boot, context.findings);
    let default = RecordSettings::default();
    let live = gateway::Settings {
        apps: apps::resolve(&file.app, &boot, &mut context),
        callers,
        rules,
        ceiling: ceiling::resolve(&file.ceiling, context.findings),
        usersig: usersig(&file.usersig, context.findings),
        upstream: upstream(&file.upstream, context.findings),
        retry: retry::resolve(&file.retry, context.findings),
        answers: AnswersSettings { http_status: file.answers.http_status.or_default() },
        record: RecordSettings {
            access_share: file.log.access.given().map_or(default.access_share, |at| at.value.0),
            audit: file.log.audit.or(default.audit),
        },
    };
    warn_of_long_waits(file, &live, context.findings);
    Settings { boot, live }
}

fn boot(file: &File, context: &mut Context<'_>) -> Boot {
    let default = DrainSettings::default();
    Boot {
        limits: limits(&file.limits, context.findings),
        log: logs::Settings { format: file.log.format.or_default(), level: file.log.level.or_default() },
        tracing: tracing(&file.tracing),
        drain: DrainSettings {
            accept_for: file.drain.accept_for.or(default.accept_for),
            grace: file.drain.grace.or(default.grace),
        },
        redis: redis::resolve(&file.ceiling, context),
        ..listen::resolve(&file.listen, callers::has_rules(&file.callers), context)
    }
}

fn tracing(tracing: &Tracing) -> traces::Settings {
    let default = traces::Settings::default();
    traces::Settings {
        collector: tracing.otlp_endpoint.or(default.collector),
        sample: tracing.sample.given().map_or(default.sample, |at| at.value.0),
        propagate: tracing.propagate.or(default.propagate),
    }
}

fn limits(limits: &Limits, findings: &mut Findings) -> gateway::Limits {
    let default = gateway::Limits::default();
    let resolved = gateway::Limits {
        header_bytes: limits.header_bytes.given().map_or(default.header_bytes, |at| at.value.0),
        request_body: limits.request_body.given().map_or(default.request_body, |at| at.value.0),
        answer_body: limits.answer_body.given().map_or(default.answer_body, |at| at.value.0),
        buffered: limits.buffered.given().map_or(default.buffered, |at| at.value.0),
        header_timeout: limits.header_timeout.duration_or(default.header_timeout),
        body_timeout: limits.body_timeout.duration_or(default.body_timeout),
        idle_timeout: limits.idle_timeout.duration_or(default.idle_timeout),
    };
    let spot = limits.buffered.given().map(|at| &at.spot);
    let spot = spot.or(limits.request_body.given().map(|at| &at.spot));
    if let Some(spot) = spot
        && resolved.buffered / 2 < resolved.request_body
    {
        let [body, buffered] = [resolved.request_body, resolved.buffered].map(size::format);
        let text = format!(
            "limits.request_body ({body}) is more than the half of limits.buffered ({buffered}) that is for requests"
        );
        findings.problem(spot, Fault::Remark(text));
    }
    resolved
}

fn usersig(usersig: &UserSig, findings: &mut Findings) -> credentials::Settings {
    let default = credentials::Settings::default();
    let settings = credentials::Settings {
        ttl: usersig.ttl.duration_or(default.ttl),
        renew_before: usersig.renew_before.duration_or(default.renew_before),
    };
    // Tencent counts a UserSig's validity in whole seconds.
    if let Some(ttl) = usersig.ttl.given()
        && (settings.ttl < SHORTEST_TTL || settings.ttl.subsec_nanos() != 0)
    {
        let fault = Fault::found(written(settings.ttl), "whole seconds, at least \"1m\"");
        findings.problem(&ttl.spot, fault);
        return settings;
    }
    let renew_before =
        Bound { key: "usersig.renew_before", field: &usersig.renew_before, value: settings.renew_before };
    let ttl = Bound { key: "usersig.ttl", field: &usersig.ttl, value: settings.ttl };
    in_order(
        &renew_before,
        "shorter than",
        &ttl,
        "longer than",
        settings.renew_before < settings.ttl,
        findings,
    );
    settings
}

fn upstream(upstream: &Upstream, findings: &mut Findings) -> forward::Settings {
    let default = forward::Settings::default();
    let settings = forward::Settings {
        connect_timeout: upstream.connect_timeout.duration_or(default.connect_timeout),
        request_timeout: upstream.request_timeout.duration_or(default.request_timeout),
        total_timeout: upstream.total_timeout.duration_or(default.total_timeout),
        egress_proxy: upstream.egress_proxy.or(default.egress_proxy),
    };
    let [connect, request, total] = [
        ("upstream.connect_timeout", &upstream.connect_timeout, settings.connect_timeout),
        ("upstream.request_timeout", &upstream.request_timeout, settings.request_timeout),
        ("upstream.total_timeout", &upstream.total_timeout, settings.total_timeout),
    ]
    .map(|(key, field, value)| Bound { key, field, value });
    for (shorter, longer) in [(&connect, &request), (&request, &total)] {
        in_order(shorter, "at most", longer, "at least", shorter.value <= longer.value, findings);
    }
    settings
}

/// Waiting is part of a call's total time: a longer wait is cut off, which is allowed and probably not meant.
fn warn_of_long_waits(file: &File, live: &gateway::Settings, findings: &mut Findings) {
    let (wait, total) = (live.ceiling.max_wait, live.upstream.total_timeout);
    let spot = file.ceiling.max_wait.given().map(|at| &at.spot);
    let spot = spot.or(file.upstream.total_timeout.given().map(|at| &at.spot));
    if let Some(spot) = spot
        && wait >= total
    {
        let (wait, total) = (written(wait), written(total));
        let text = format!("ceiling.max_wait ({wait}) leaves nothing of upstream.total_timeout ({total})");
        findings.warning(spot, text);
    }
}

// === impl Context ===

impl Context<'_> {
    /// The value of a key that must be there.
    fn required<'f, T>(
        &mut self,
        field: &'f Field<T>,
        table: &Spot,
        key: &str,
        wanted: &str,
    ) -> Option<&'f At<T>> {
        if field.is_absent() {
            let spot = Spot { key: format!("{}.{key}", table.key), place: table.place.clone() };
            self.findings.problem(&spot, Fault::Missing { wanted: wanted.into() });
        }
        field.given()
    }

    /// What a PEM file holds.
    fn read<T>(&mut self, at: &At<PathBuf>, read: fn(&Path) -> Result<T, BadPem>) -> Option<T> {
        let path = self.folder.join(&at.value);
        self.findings.reads(&path);
        let told = |error| {
            let text = format!("{}: {error}", quote(&path.to_string_lossy()));
            self.findings.problem(&at.spot, Fault::Remark(text));
        };
        read(&path).map_err(told).ok()
    }

    fn warn_if_open_to_all(&mut self, path: &Path, spot: &Spot) {
        if let Some(what) = disk::open_to_all(path) {
            let path = quote(&path.to_string_lossy());
            let text =
                format!("every user of this machine may {what} {path}: take that right away (chmod o-rw)");
            self.findings.warning(spot, text);
        }
    }
}

/// A duration that is held against another one.
struct Bound<'a> {
    key: &'static str,
    field: &'a Field<Timeout>,
    /// What is given, or the default.
    value: Duration,
}

/// Tells when two durations contradict each other, at the one that is given; at the shorter, if both are.
fn in_order(
    shorter: &Bound<'_>,
    below: &str,
    longer: &Bound<'_>,
    above: &str,
    holds: bool,
    findings: &mut Findings,
) {
    if holds || matches!(shorter.field, Field::Wrong) || matches!(longer.field, Field::Wrong) {
        return;
    }
    let (at, found, relation, other) = match (shorter.field.given(), longer.field.given()) {
        (Some(at), _) => (at, shorter.value, below, longer),
        (None, Some(at)) => (at, longer.value, above, shorter),
        (None, None) => return,
    };
    let default = if other.field.is_absent() { ", the default" } else { "" };
    let wanted = format!("{relation} {} ({}{default})", other.key, written(other.value));
    findings.problem(&at.spot, Fault::found(written(found), wanted));
}

/// A duration as the file writes it.
fn written(duration: Duration) -> String {
    format!("\"{}\"", duration::format(duration))
}

// === impl Field ===

impl Field<Timeout> {
    fn duration_or(&self, default: Duration) -> Duration {
        self.or(Timeout(default)).0
    }
}

impl<T: Clone + Default> Field<T> {
    fn or_default(&self) -> T {
        self.or(T::default())
    }
}

const SHORTEST_TTL: Duration = Duration::from_secs(60);
