//! The callers: who spends the ceilings, who waits, and who is refused.

use std::fmt;

use super::words::{Count, Escaped, Percent, Rate};
use super::{Status, more, per_second};
use crate::admin::CallerStatus;

pub(super) fn section(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    f.write_str("<section><h2>Callers<small>in the last minute</small></h2>")?;
    if status.callers.is_empty() {
        return f.write_str("<p class=\"none\">Nobody called lately.</p></section>\n");
    }
    f.write_str(
        "<table><thead><tr><th scope=\"col\">Caller<th scope=\"col\">Share of all calls<th scope=\"col\" class=\"n\">Calls/s\
         <th scope=\"col\" class=\"n\">Waiting now<th scope=\"col\" class=\"n\">Refused here\
         <th scope=\"col\" class=\"n\">Too frequent<th scope=\"col\" class=\"n\">Failed otherwise\
         </tr></thead><tbody>\n",
    )?;
    let all: u64 = status.callers.iter().map(|caller| caller.calls).sum();
    for caller in status.callers.iter().take(MOST) {
        row(f, caller, all, status)?;
    }
    f.write_str("</tbody></table>")?;
    more(f, status.callers.len(), MOST)?;
    f.write_str("</section>\n")
}

fn row(f: &mut fmt::Formatter<'_>, caller: &CallerStatus, all: u64, status: &Status) -> fmt::Result {
    let name = match caller.name.as_str() {
        "" => "not known",
        name => name,
    };
    let percent = (caller.calls * 100).checked_div(all).unwrap_or(0);
    write!(
        f,
        "<tr data-key=\"{0}\"><td class=\"name\">{0}</td><td data-label=\"Share of all calls\"><div class=\"gauge\">\
         <svg viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect width=\"{percent}\" \
         height=\"1\"/></svg><span>{1}</span></div></td><td class=\"n\" data-label=\"Calls/s\">{2}</td>",
        Escaped(name),
        Percent(caller.calls, all),
        Rate(per_second(caller.calls, status))
    )?;
    for (label, count) in [
        ("Waiting now", caller.waiting),
        ("Refused here", caller.refused),
        ("Too frequent", caller.throttled),
        ("Failed otherwise", caller.failed),
    ] {
        let emphasis = if count > 0 { " warn" } else { "" };
        write!(f, "<td class=\"n{emphasis}\" data-label=\"{label}\">{}</td>", Count(count))?;
    }
    f.write_str("</tr>\n")
}

const MOST: usize = 40;
