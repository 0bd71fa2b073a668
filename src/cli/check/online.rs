//! What Tencent thinks of each app: one harmless call, on the very way that the gateway's calls go.
//!
//! The call is `live_config/get_callback_token`, which changes nothing. When it succeeds its answer holds the webhook
//! token in clear, so no part of the answer is shown but its ErrorCode and, beside any code but 0, its ErrorInfo.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use serde_json::Value;

use crate::app;
use crate::cli::Failure;
use crate::cli::exchange::{block_on, printable};
use crate::clock::WallClock;
use crate::config::Settings;
use crate::gateway::outcome::{Diagnosis, Outcome, Then, Verdict, is_let_in, meaning, read};
use crate::gateway::reply::ReplyBody;
use crate::model::api::Family;
use crate::model::app::AppName;
use crate::net::body::read_capped;
use crate::net::listener::Peer;

/// Makes the call for each app and tells what the answers say.
///
/// # Errors
/// When an answer says that the configuration is wrong (exit status 2), or when there is none that tells (1).
pub(super) fn check(
    settings: Settings,
    clock: &Arc<dyn WallClock>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let names: Vec<AppName> = settings.live.apps.all().into_iter().map(|app| app.name.clone()).collect();
    let findings = block_on(async {
        let gateway = app::without_listeners(settings, clock);
        let mut findings = Vec::new();
        for name in names {
            let request = Request::post(format!("/apps/{name}/v4/{API}")).header(header::HOST, "localhost");
            let request = request
                .body(Full::<Bytes>::default())
                .expect("the names of apps and APIs need no escaping in a path");
            let found = judge(gateway.handle(request, Peer::Uid(None).into()).await).await;
            findings.push((name, found));
        }
        findings
    })?;
    let mut failures = Vec::new();
    for (name, found) in findings {
        match found {
            Finding::Good(what) => writeln!(out, "app {name}: {what}")?,
            Finding::Wrong(what) => failures.push((2, format!("app {name}: {what}"))),
            Finding::Unknown(what) => failures.push((1, format!("app {name}: {what}"))),
        }
    }
    match failures.iter().map(|(status, _)| *status).max() {
        None => Ok(()),
        Some(status) => {
            let messages: Vec<_> = failures.into_iter().map(|(_, message)| message).collect();
            Err(Failure { message: messages.join("\n"), status })
        }
    }
}

/// What an answer says about the app's configuration.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Tencent took the call's credentials.
    Good(String),
    /// Tencent says that something is set wrong.
    Wrong(String),
    /// Nobody can say.
    Unknown(String),
}

async fn judge(response: Response<ReplyBody>) -> Finding {
    match read_capped(response.into_body(), LONGEST_ANSWER).await {
        Ok(body) => finding(&body),
        Err(_) => Finding::Unknown("the answer broke off or is too long".to_owned()),
    }
}

fn finding(body: &[u8]) -> Finding {
    let Outcome::Answered { reading, verdict, .. } = read(Family::V4, body) else {
        return Finding::Unknown("the answer carries no ErrorCode".to_owned());
    };
    let code = reading.error_code;
    if code.is_ok() {
        return Finding::Good("Tencent takes its calls (ErrorCode 0)".to_owned());
    }
    if code.is_of_gateway() {
        return Finding::Unknown(format!("there is no answer of Tencent's: {}", error_info(body)));
    }
    let told = format!("ErrorCode {code}, {}", meaning(Family::V4, code).unwrap_or("which nobody documents"));
    let told = format!("{told} ({})", error_info(body));
    match diagnosis(verdict) {
        Some(diagnosis) => Finding::Wrong(format!("{told}: {diagnosis}")),
        None if is_let_in(Family::V4, code) => Finding::Good(format!("Tencent takes its calls ({told})")),
        None => Finding::Unknown(format!("{told}: this says nothing about its configuration")),
    }
}

/// What is wrong with the app, if the verdict on a call's answer says so.
fn diagnosis(verdict: Verdict) -> Option<Diagnosis> {
    match verdict {
        Verdict::NextKey(diagnosis) | Verdict::Trip(diagnosis) => Some(diagnosis),
        Verdict::Resign(Then::NextKey(diagnosis) | Then::Trip(diagnosis)) => Some(diagnosis),
        Verdict::QuietSignatures => Some(Diagnosis::TooManySignatures),
        Verdict::HandOver | Verdict::Resign(Then::Retry) | Verdict::Retry { .. } | Verdict::BackOff(_) => {
            None
        }
    }
}

fn error_info(body: &[u8]) -> String {
    let members: Value = serde_json::from_slice(body).unwrap_or_default();
    printable(members["ErrorInfo"].as_str().unwrap_or("no ErrorInfo")).replace('\n', " ")
}

const API: &str = "live_config/get_callback_token";

/// In bytes; the answer has some two hundred.
const LONGEST_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: i64) -> Finding {
        let body =
            format!(r#"{{"ErrorCode":{code},"ErrorInfo":"as told","Response":{{"Token":"FAKETOKEN"}}}}"#);
        finding(body.as_bytes())
    }

    #[test]
    fn an_accepted_call_is_good_and_shows_no_token() {
        // Most apps have no webhook token.
        for code in [0, 100_302] {
            let Finding::Good(what) = found(code) else { panic!("{code}") };
            assert!(what.contains(&format!("ErrorCode {code}")) && !what.contains("FAKE"), "{what}");
        }
    }

    #[test]
    fn a_refused_one_names_the_setting_to_fix() {
        for (code, setting) in [
            (60006, "sdkappid"),
            (60010, "identifier"),
            (60021, "upstream.egress_proxy"),
            (60026, "region"),
            (70001, "clock"),
            (70003, "secret_key_file"),
            (70009, "secret_key_file"),
            (70016, "region"),
            (70020, "region"),
            (70050, "secret_key_file"),
        ] {
            let Finding::Wrong(what) = found(code) else { panic!("{code}") };
            assert!(what.starts_with(&format!("ErrorCode {code}, ")), "{what}");
            let (_, words) = what.split_once(" (as told): ").unwrap();
            assert!(words.contains(setting), "{code}: {what}");
        }
    }

    #[test]
    fn what_says_nothing_of_the_configuration_is_no_verdict() {
        for code in [60004, 60007, 60008, 9_900_502] {
            assert!(matches!(found(code), Finding::Unknown(_)), "{code}");
        }
        assert!(matches!(finding(b"{}"), Finding::Unknown(_)));
        assert_eq!(
            finding(br#"{"ErrorCode":9900502,"ErrorInfo":"cannot\nconnect"}"#),
            Finding::Unknown("there is no answer of Tencent's: cannot connect".to_owned())
        );
    }
}
