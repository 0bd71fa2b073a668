//! The status page: plain HTML without script, image or anything from elsewhere.

use std::fmt::{self, Write};
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::{AppStatus, ConfigStatus, ReadinessState, Status, TrippedApp};
use crate::telemetry::metrics::CeilingReading;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}\
td,th{border-bottom:1px solid #ccc;padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top}\
.number{text-align:right}\
.bad{color:#b00020}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8ab4f8}.bad{color:#ff8a80}}";

/// The first second of the year 10000, which HTTP dates cannot tell any more.
const BEYOND_DATES: u64 = 253_402_300_800;

/// What a browser may load for the page: its one style sheet, known by its hash, and nothing else.
pub(super) fn content_security_policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>usersig-gateway</title><style>{STYLE}</style></head><body>\n<h1>usersig-gateway</h1>\n"
        )?;
        process(f, self.status)?;
        config(f, &self.status.config)?;
        apps(f, &self.status.apps)?;
        ceilings(f, &self.status.ceilings)?;
        f.write_str("<p>")?;
        for link in self.links {
            write!(f, "<a href=\"{0}\">{0}</a> ", Escaped(link))?;
        }
        f.write_str("</p>\n</body></html>\n")
    }
}

fn process(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    writeln!(
        f,
        "<p>Version {}, started {}, up for {}.</p>",
        Escaped(&status.version),
        Date(status.started_at),
        Span(status.uptime_seconds)
    )?;
    match status.readiness.reasons_against() {
        None => f.write_str("<p>Ready.</p>\n"),
        Some(reasons) => {
            let word = match status.readiness {
                ReadinessState::Starting => "Starting",
                ReadinessState::Draining => "Draining",
                ReadinessState::Ready | ReadinessState::NotReady(_) => "Not ready",
            };
            writeln!(f, "<p class=\"bad\">{word}:</p>")?;
            list(f, &reasons)
        }
    }
}

fn config(f: &mut fmt::Formatter<'_>, config: &ConfigStatus) -> fmt::Result {
    let since = Date(config.taken_at);
    if config.rejected.is_empty() {
        return writeln!(f, "<p>Configuration of {since}.</p>");
    }
    writeln!(f, "<p class=\"bad\">Configuration of {since}, since the changed one has problems:</p>")?;
    list(f, &config.rejected)
}

fn list(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    f.write_str("<ul>")?;
    for line in lines {
        write!(f, "<li>{}</li>", Escaped(line))?;
    }
    f.write_str("</ul>\n")
}

fn apps(f: &mut fmt::Formatter<'_>, apps: &[AppStatus]) -> fmt::Result {
    f.write_str(
        "<h2>Apps</h2>\n<table><tr><th>App<th>SDKAppID<th>Region<th>Endpoints<th>UserSig valid until</tr>\n",
    )?;
    for app in apps {
        let region = app.region.as_deref().unwrap_or("own endpoints");
        write!(f, "<tr><td>{}<td>{}<td>{}<td>", Escaped(&app.name), app.sdkappid, Escaped(region))?;
        for endpoint in &app.endpoints {
            if endpoint.healthy {
                write!(f, "{}<br>", Escaped(&endpoint.url))?;
            } else {
                write!(f, "<span class=\"bad\">{} (passed over)</span><br>", Escaped(&endpoint.url))?;
            }
        }
        match app.usersig_expires_at {
            Some(expires) => writeln!(f, "<td>{}</tr>", Date(expires))?,
            None => f.write_str("<td class=\"bad\">not signed yet</tr>\n")?,
        }
        if let Some(TrippedApp { diagnosis, error_code, probe_in_seconds, .. }) = &app.tripped {
            writeln!(
                f,
                "<tr><td><td colspan=\"4\" class=\"bad\">Stopped, since Tencent answers {error_code}: {}. \
                 Next probe in {}.</tr>",
                Escaped(diagnosis),
                Span(*probe_in_seconds)
            )?;
        }
    }
    f.write_str("</table>\n")
}

fn ceilings(f: &mut fmt::Formatter<'_>, ceilings: &[CeilingReading]) -> fmt::Result {
    if ceilings.is_empty() {
        return Ok(());
    }
    f.write_str("<h2>Ceilings</h2>\n<table><tr><th>App<th>API")?;
    f.write_str("<th class=\"number\">Limit<th class=\"number\">Used<th class=\"number\">Waiting</tr>\n")?;
    for CeilingReading { app, api, limit, used, waiting, .. } in ceilings {
        write!(f, "<tr><td>{}<td>{}", Escaped(app), Escaped(api))?;
        for number in [limit as &dyn fmt::Display, used, waiting] {
            write!(f, "<td class=\"number\">{number}")?;
        }
        f.write_str("</tr>\n")?;
    }
    f.write_str("</table>\n")
}

/// Text that cannot become markup, in an element as in a quoted attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A moment in Unix seconds, as people read it.
struct Date(u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= BEYOND_DATES {
            return write!(f, "{} s after 1970", self.0);
        }
        f.write_str(&httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.0)))
    }
}

/// A number of seconds, as people read it.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.0 / 60, self.0 % 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        match (hours / 24, hours % 24, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, minutes) => write!(f, "{minutes} min {seconds} s"),
            (0, hours, minutes) => write!(f, "{hours} h {minutes} min"),
            (days, hours, _) => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::EndpointStatus;

    fn status() -> Status {
        Status {
            version: "1.2.3".to_owned(),
            started_at: 1_700_000_000,
            uptime_seconds: 90_061,
            readiness: ReadinessState::Ready,
            config: ConfigStatus { taken_at: 1_700_000_000, rejected: Vec::new() },
            apps: vec![AppStatus {
                name: "live".to_owned(),
                sdkappid: 1_400_000_001,
                region: Some("singapore".to_owned()),
                endpoints: [("https://a.example", false), ("https://b.example", true)]
                    .map(|(url, healthy)| EndpointStatus { url: url.to_owned(), healthy })
                    .into(),
                usersig_expires_at: Some(1_700_086_400),
                tripped: Some(TrippedApp {
                    reason: "wrong_region".to_owned(),
                    diagnosis: "set region".to_owned(),
                    error_code: 60026,
                    probe_in_seconds: 62,
                }),
            }],
            ceilings: vec![CeilingReading {
                app: "live".to_owned(),
                api: "live_config/get_callback".to_owned(),
                limit: 190.5,
                used: 12,
                waiting: 3,
                unproven: 0,
                shadowed: 0,
            }],
        }
    }

    #[test]
    fn the_page_shows_what_the_status_holds() {
        let page = render(&status(), &["/metrics"]);
        for part in [
            "Version 1.2.3, started Tue, 14 Nov 2023 22:13:20 GMT, up for 1 d 1 h.",
            "Ready.",
            "<p>Configuration of Tue, 14 Nov 2023 22:13:20 GMT.</p>",
            "<td>live<td>1400000001<td>singapore<td><span class=\"bad\">https://a.example (passed over)</span><br>https://b.example<br>",
            "<td>Wed, 15 Nov 2023 22:13:20 GMT</tr>",
            "class=\"bad\">Stopped, since Tencent answers 60026: set region. Next probe in 1 min 2 s.</tr>",
            "<td class=\"number\">190.5<td class=\"number\">12<td class=\"number\">3</tr>",
            "<a href=\"/metrics\">/metrics</a>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn whatever_is_shown_is_text_and_no_markup() {
        let hostile = "<script>'\"&".to_owned();
        let mut status = status();
        status.version.clone_from(&hostile);
        status.readiness = ReadinessState::NotReady(vec![hostile.clone()]);
        status.config.rejected = vec![hostile.clone()];
        status.apps[0] = AppStatus {
            name: hostile.clone(),
            sdkappid: 1,
            region: Some(hostile.clone()),
            endpoints: vec![EndpointStatus { url: hostile.clone(), healthy: true }],
            usersig_expires_at: None,
            tripped: Some(TrippedApp {
                reason: hostile.clone(),
                diagnosis: hostile.clone(),
                error_code: 1,
                probe_in_seconds: 1,
            }),
        };
        status.ceilings[0].app.clone_from(&hostile);
        status.ceilings[0].api = hostile;
        let page = render(&status, &["/<script>"]);
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;&#39;&quot;&amp;").count(), 9);
        assert!(page.contains("not signed yet") && page.contains("Not ready:"));
    }

    #[test]
    fn times_are_told_at_every_size() {
        assert_eq!(Date(BEYOND_DATES - 1).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(Date(u64::MAX).to_string(), "18446744073709551615 s after 1970");
        let spans = [59, 60, 3_599, 3_600, 86_399, 86_400].map(|seconds| Span(seconds).to_string());
        assert_eq!(spans, ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 0 h"]);
    }

    #[test]
    fn the_policy_allows_the_one_style_by_its_hash() {
        let page = render(&status(), &[]);
        let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = STANDARD.encode(Sha256::digest(style));
        let policy = content_security_policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(policy.contains(&format!("style-src 'sha256-{hash}';")), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
