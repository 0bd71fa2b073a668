//! The APIs: how much of each ceiling is in use, who waits for it, and what came of the last minute's calls.

use std::cmp::Reverse;
use std::fmt;

use super::words::{Breaking, Count, Escaped, Milliseconds, Rate};
use super::{Status, class_of, more, per_second};
use crate::admin::{ApiStatus, CeilingStatus, CodeStatus};

pub(super) fn section(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let mut apis: Vec<&ApiStatus> = status.apis.iter().collect();
    // By what changes slowly, so that rows stay where they are while one looks at them.
    apis.sort_by_key(|api| Reverse(api.calls()));
    f.write_str("<section><h2>APIs<small>in use, with the last minute's calls</small></h2>")?;
    if apis.is_empty() {
        return f.write_str("<p class=\"none\">None was called lately.</p></section>\n");
    }
    f.write_str(
        "<table><thead><tr><th scope=\"col\">API<th scope=\"col\">Ceiling in use<th scope=\"col\" class=\"n\">Waiting\
         <th scope=\"col\" class=\"n\">Calls/s<th scope=\"col\" class=\"n\">Mean wait\
         <th scope=\"col\" class=\"n\">Mean answer<th scope=\"col\">ErrorCodes</tr></thead><tbody>\n",
    )?;
    for api in apis.iter().take(MOST) {
        row(f, api, status)?;
    }
    f.write_str("</tbody></table>")?;
    more(f, apis.len(), MOST)?;
    f.write_str("</section>\n")
}

fn row(f: &mut fmt::Formatter<'_>, api: &ApiStatus, status: &Status) -> fmt::Result {
    let (app, name) = (Escaped(&api.app), Escaped(&api.api));
    write!(f, "<tr data-key=\"{app} {name}\"><td class=\"name\">")?;
    match api.api.as_str() {
        "" => f.write_str("no API<small>refused before it was known</small>")?,
        "*" => write!(f, "all APIs together<small>{app}</small>")?,
        _ => write!(f, "{}<small>{app}</small>", Breaking(&api.api))?,
    }
    f.write_str("</td><td data-label=\"Ceiling in use\">")?;
    match &api.ceiling {
        Some(ceiling) => gauge(f, ceiling)?,
        None => f.write_str("<span class=\"soft\">none</span>")?,
    }
    let waiting = api.ceiling.map_or(0, |ceiling| ceiling.waiting);
    let emphasis = if waiting > 0 { " warn" } else { "" };
    write!(
        f,
        "</td><td class=\"n{emphasis}\" data-label=\"Waiting\">{}</td><td class=\"n\" data-label=\"Calls/s\">{}</td>\
         <td class=\"n\" data-label=\"Mean wait\">{}</td><td class=\"n\" data-label=\"Mean answer\">{}</td>\
         <td data-label=\"ErrorCodes\"><ul class=\"codes\">",
        Count(waiting),
        Rate(per_second(api.calls(), status)),
        Milliseconds(api.mean_wait_ms),
        Milliseconds(api.mean_upstream_ms)
    )?;
    for code in api.codes.iter().take(MOST_CODES) {
        chip(f, code)?;
    }
    if api.codes.len() > MOST_CODES {
        write!(f, "<li>and {} more</li>", api.codes.len() - MOST_CODES)?;
    }
    f.write_str("</ul></td></tr>\n")
}

fn gauge(f: &mut fmt::Formatter<'_>, ceiling: &CeilingStatus) -> fmt::Result {
    let CeilingStatus { limit, used, per_second, .. } = *ceiling;
    let percent = (used * 100).checked_div(limit).unwrap_or(0).min(100);
    let class = if percent >= 80 { " class=\"warn\"" } else { "" };
    write!(
        f,
        "<div class=\"gauge\"><svg viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect width=\"{percent}\" height=\"1\"{class}/></svg><span>{} of {}",
        Count(used),
        Count(limit)
    )?;
    // Of another period than a second, or lowered since Tencent said too frequent.
    if (per_second - limit as f64).abs() > 0.01 {
        write!(f, " <span class=\"soft\">({}/s)</span>", Rate(per_second))?;
    }
    f.write_str("</span></div>")
}

fn chip(f: &mut fmt::Formatter<'_>, code: &CodeStatus) -> fmt::Result {
    let (class, outcome) = (class_of(code.outcome), code.outcome);
    write!(f, "<li class=\"{class}\" title=\"{outcome}\"><b>")?;
    match code.error_code {
        Some(0) => f.write_str("ok")?,
        Some(code) => write!(f, "{code}")?,
        None => f.write_str("other")?,
    }
    write!(f, "</b>× {}</li>", Count(code.calls))
}

const MOST: usize = 60;
const MOST_CODES: usize = 8;
