//! The last errors, one of each kind: what happened, what to do, and the ids to ask with.

use std::cmp::Reverse;
use std::fmt;

use super::words::{Ago, Count, Escaped};
use super::{Status, class_of};
use crate::admin::ErrorStatus;

pub(super) fn section(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    f.write_str("<section><h2>Last errors<small>the latest of each kind</small></h2>")?;
    if status.errors.is_empty() {
        return f.write_str("<p class=\"none\">None since the start.</p></section>\n");
    }
    f.write_str("<ul class=\"errors\">\n")?;
    let mut errors: Vec<&ErrorStatus> = status.errors.iter().collect();
    // Those of the same minute by how many there are, so that they do not change places with each call.
    errors.sort_by_key(|error| {
        (status.now.saturating_sub(error.at) / 60, Reverse(error.calls), error.error_code)
    });
    for error in errors.into_iter().take(MOST) {
        item(f, error, status.now)?;
    }
    f.write_str("</ul></section>\n")
}

fn item(f: &mut fmt::Formatter<'_>, error: &ErrorStatus, now: u64) -> fmt::Result {
    let (app, api, code) = (Escaped(&error.app), Escaped(&error.api), error.error_code);
    let what = error.meaning.or(error.reason).unwrap_or("not documented").replace('_', " ");
    let (class, outcome) = (class_of(error.outcome), error.outcome.replace('_', " "));
    write!(
        f,
        "<li data-key=\"{app} {api} {code} {reason} {outcome}\"><p class=\"code {class}\" data-outcome=\"{outcome}\">{code}\
         <br><small class=\"soft\">{outcome}</small></p><div><p class=\"what\">{}</p>",
        Escaped(&what),
        reason = error.reason.unwrap_or_default(),
    )?;
    match error.api.as_str() {
        "" => f.write_str("<p>before its API was known")?,
        _ => write!(f, "<p>{api} <span class=\"soft\">of</span> {app}")?,
    }
    write!(
        f,
        "<span class=\"soft\">, called by</span> {}</p><p class=\"remedy soft\">{}</p></div><dl><dt>Last</dt><dd>{}",
        Escaped(&error.caller),
        Escaped(error.remedy),
        Ago(now.saturating_sub(error.at)),
    )?;
    if error.calls > 1 {
        write!(f, ", {} in all", Count(error.calls))?;
    }
    write!(f, "</dd><dt>Id</dt><dd class=\"mono\">{}</dd>", Escaped(&error.request_id))?;
    if let Some(id) = &error.tencent_request_id {
        write!(f, "<dt>Tencent's</dt><dd class=\"mono\">{}</dd>", Escaped(id))?;
    }
    f.write_str("</dl></li>\n")
}

const MOST: usize = 20;
