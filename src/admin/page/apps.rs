//! The apps: until when each is signed for, where its calls go, and why it is stopped.

use std::fmt;

use super::words::{Count, Date, Escaped, Span};
use super::{Status, more};
use crate::admin::{AppStatus, TrippedApp};

pub(super) fn section(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let mut apps: Vec<&AppStatus> = status.apps.iter().collect();
    // What is not well must not be among those that are not shown.
    apps.sort_by_key(|app| app.tripped.is_none() && app.endpoints.iter().all(|endpoint| endpoint.healthy));
    write!(f, "<section><h2>Apps<small>{}</small></h2><table><thead><tr>", Count(apps.len() as u64))?;
    f.write_str("<th scope=\"col\">App<th scope=\"col\">State<th scope=\"col\">Region<th scope=\"col\">UserSig valid for\
                 <th scope=\"col\">Hosts</tr></thead><tbody>\n")?;
    for app in apps.iter().take(MOST) {
        row(f, app, status.now)?;
    }
    f.write_str("</tbody></table>")?;
    more(f, apps.len(), MOST)?;
    f.write_str("</section>\n")
}

fn row(f: &mut fmt::Formatter<'_>, app: &AppStatus, now: u64) -> fmt::Result {
    let (name, id) = (Escaped(&app.name), app.sdkappid);
    write!(
        f,
        "<tr data-key=\"{id}\"><td class=\"name\">{name}<small>{id}</small></td><td data-label=\"State\">"
    )?;
    f.write_str(match &app.tripped {
        None => "<span class=\"good\">in service</span>",
        Some(_) => "<strong class=\"bad\">stopped</strong>",
    })?;
    let region = app.region.as_deref().unwrap_or("own hosts");
    write!(
        f,
        "</td><td data-label=\"Region\">{}</td><td data-label=\"UserSig valid for\">",
        Escaped(region)
    )?;
    match app.usersig_expires_at {
        None => f.write_str("<span class=\"soft\">not signed yet</span>")?,
        Some(at) if at <= now => write!(f, "<div><strong class=\"bad\">expired</strong> {}</div>", Date(at))?,
        Some(at) => {
            write!(f, "<div>{}<br><span class=\"soft\">until {}</span></div>", Span(at - now), Date(at))?;
        }
    }
    f.write_str("</td><td data-label=\"Hosts\"><ul>")?;
    for endpoint in &app.endpoints {
        let (class, word) = match (endpoint.healthy, endpoint.in_use) {
            (false, _) => ("bad", "passed over"),
            (true, true) => ("good", "in use"),
            (true, false) => ("soft", "spare"),
        };
        write!(f, "<li>{} <span class=\"{class}\">{word}</span>", Escaped(&endpoint.url))?;
        if endpoint.clock_differs {
            f.write_str(" <span class=\"warn\">other clock</span>")?;
        }
        f.write_str("</li>")?;
    }
    f.write_str("</ul></td></tr>\n")?;
    if let Some(TrippedApp { diagnosis, error_code, probe_in_seconds, .. }) = &app.tripped {
        writeln!(
            f,
            "<tr class=\"stopped\" data-key=\"{id} stopped\"><td colspan=\"5\">Stopped, since Tencent answers \
             {error_code}: {}. One call goes as a probe {}.</td></tr>",
            Escaped(diagnosis),
            if *probe_in_seconds == 0 {
                "next".to_owned()
            } else {
                format!("in {}", Span(*probe_in_seconds))
            }
        )?;
    }
    Ok(())
}

const MOST: usize = 50;
