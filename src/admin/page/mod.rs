//! The status page: one HTML document with its style and script inside, and nothing from elsewhere.
//!
//! It shows what [`Status`] holds, the worst first: is it well, what is to be done, then apps, APIs, callers and the last
//! errors. Without script it is a snapshot. The script asks for the same page every two seconds and takes over what
//! differs, so there is one place that makes markup, and it escapes whatever is text. The browser runs and loads nothing
//! but the one style and the one script, which it knows by their hashes.

mod apis;
mod apps;
mod callers;
mod errors;
mod words;

use std::fmt::{self, Display};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::findings::{Finding, Level, findings, level};
use super::{ApiStatus, Status, StoreMode};
use words::{Count, Date, Escaped, Percent, Rate, Span};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a browser may load for the page: its own style and script, the page itself again, and the icon that is in it.
pub(super) fn content_security_policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let [style, script] = [STYLE, SCRIPT].map(|text| STANDARD.encode(Sha256::digest(text)));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        policy.try_into().expect("the policy is ASCII without control characters")
    });
    POLICY.clone()
}

/// The page.
pub(super) fn render(status: &Status, links: &[&str]) -> String {
    Page { status, links }.to_string()
}

struct Page<'a> {
    status: &'a Status,
    links: &'a [&'a str],
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, findings) = (self.status, findings(self.status));
        let level = level(&findings);
        head(f, level)?;
        write!(
            f,
            "<header><h1>usersig-gateway <span>{}</span></h1><p id=\"fresh\">up {} · as of {}</p>\
             <button id=\"pause\" type=\"button\" aria-label=\"Pause updating\" hidden>Pause</button></header>\n<main>\n",
            Escaped(&status.version),
            Span(status.uptime_seconds),
            Date(status.now)
        )?;
        verdict(f, level, &findings, status)?;
        tiles(f, status)?;
        apps::section(f, status)?;
        apis::section(f, status)?;
        callers::section(f, status)?;
        errors::section(f, status)?;
        write!(
            f,
            "</main>\n<footer><p>started {}</p><p>configuration of {}</p><nav aria-label=\"Routes\">",
            Date(status.started_at),
            Date(status.config.taken_at)
        )?;
        for link in self.links {
            write!(f, "<a href=\"{0}\">{0}</a>", Escaped(link))?;
        }
        write!(f, "</nav></footer>\n<script>{SCRIPT}</script></body></html>\n")
    }
}

fn head(f: &mut fmt::Formatter<'_>, level: Level) -> fmt::Result {
    // A dot in the colour of the verdict, so that one tab among many can be told.
    let color = match level {
        Level::Well => "2da44e",
        Level::Attention => "d49a2a",
        Level::Trouble => "d1242f",
    };
    write!(
        f,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{} · usersig-gateway</title>\
         <link id=\"icon\" rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
         viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23{color}'/%3E%3C/svg%3E\">\
         <style>{STYLE}</style></head><body>\n",
        words_of(level)
    )
}

fn words_of(level: Level) -> &'static str {
    match level {
        Level::Well => "All is well",
        Level::Attention => "Worth a look",
        Level::Trouble => "In trouble",
    }
}

fn verdict(f: &mut fmt::Formatter<'_>, level: Level, all: &[Finding], status: &Status) -> fmt::Result {
    let (class, icon) = match level {
        Level::Well => ("well", "M7 12.5l3.3 3.3L17 9"),
        Level::Attention => ("attention", "M12 6.5v7M12 16.9v.2"),
        Level::Trouble => ("trouble", "M8 8l8 8M16 8l-8 8"),
    };
    write!(
        f,
        "<section class=\"verdict {class}\"><div><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" \
         stroke=\"currentColor\" stroke-width=\"2\" stroke-linecap=\"round\" stroke-linejoin=\"round\">\
         <circle cx=\"12\" cy=\"12\" r=\"10.5\"/><path d=\"{icon}\"/></svg><div><h2 role=\"status\">{}</h2><p>{}</p>\
         </div></div>",
        words_of(level),
        Summary(status)
    )?;
    if !all.is_empty() {
        f.write_str("<ul class=\"findings\">")?;
        for Finding { level, what, remedy } in all.iter().take(MOST_FINDINGS) {
            let class = if *level == Level::Trouble { "bad" } else { "warn" };
            let (what, remedy) = (Escaped(what), Escaped(remedy));
            write!(f, "<li><strong class=\"{class}\">{what}</strong><p class=\"remedy\">{remedy}</p></li>")?;
        }
        f.write_str("</ul>")?;
        more(f, all.len(), MOST_FINDINGS)?;
    }
    f.write_str("</section>\n")
}

/// What there is and how much goes on, in a sentence.
struct Summary<'a>(&'a Status);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        let (all, ok) = totals(&status.apis);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let apps = status.apps.len();
        write!(f, "{} app{}. ", Count(apps as u64), plural(apps))?;
        if all == 0 {
            return f.write_str("No call ended in the last minute.");
        }
        write!(f, "{} calls in the last minute, {} of them successful", Count(all), Percent(ok, all))?;
        match waiting(status) {
            0 => f.write_str("; none waits."),
            1 => f.write_str("; one waits for its turn."),
            waiting => write!(f, "; {} wait for their turn.", Count(waiting)),
        }
    }
}

fn tiles(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let (all, ok) = totals(&status.apis);
    let refused: u64 = status.callers.iter().map(|caller| caller.refused).sum();
    let store = match status.store.mode {
        StoreMode::Local => "local <small>this process</small>",
        StoreMode::Shared => "shared <small>with other gateways</small>",
        StoreMode::Joining => "joining <small>other gateways</small>",
        StoreMode::Lost => "lost <small>for a moment</small>",
        StoreMode::Degraded => "in part <small>without Redis</small>",
        StoreMode::Stopped => "not at all <small>without Redis</small>",
    };
    let percent = if all == 0 { "–".to_owned() } else { Percent(ok, all).to_string() };
    f.write_str("<section aria-label=\"In short\"><dl class=\"tiles\">")?;
    tile(f, "Calls", format_args!("{} <small>a second</small>", Rate(per_second(all, status))))?;
    tile(f, "Successful", percent)?;
    tile(f, "Waiting now", Count(waiting(status)))?;
    tile(f, "Refused here", format_args!("{} <small>last minute</small>", Count(refused)))?;
    tile(
        f,
        "Under way",
        format_args!(
            "{} <small>of {}</small>",
            Count(status.load.in_flight),
            Count(status.load.max_in_flight)
        ),
    )?;
    tile(f, "Connections", Count(status.load.connections))?;
    tile(f, "Ceilings kept", store)?;
    f.write_str("</dl></section>\n")
}

fn tile(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    write!(f, "<div><dt>{name}</dt><dd>{value}</dd></div>")
}

/// The calls of the last minute, and how many of them succeeded.
fn totals(apis: &[ApiStatus]) -> (u64, u64) {
    let ok = apis.iter().flat_map(|api| &api.codes).filter(|code| code.outcome == "ok");
    (apis.iter().map(ApiStatus::calls).sum(), ok.map(|code| code.calls).sum())
}

fn waiting(status: &Status) -> u64 {
    status.callers.iter().map(|caller| caller.waiting).sum()
}

fn per_second(calls: u64, status: &Status) -> f64 {
    calls as f64 / status.window_seconds.max(1.0)
}

/// Says that there is more than is shown.
fn more(f: &mut fmt::Formatter<'_>, all: usize, shown: usize) -> fmt::Result {
    match all.saturating_sub(shown) {
        0 => Ok(()),
        more => write!(
            f,
            "<p class=\"more\">and {} more: <a href=\"/status.json\">/status.json</a></p>",
            Count(more as u64)
        ),
    }
}

/// How an outcome looks.
fn class_of(outcome: &str) -> &'static str {
    match outcome {
        "ok" => "good",
        "auth" | "fault" => "bad",
        _ => "warn",
    }
}

const MOST_FINDINGS: usize = 8;

#[cfg(test)]
mod tests;
