//! The hand on the sandbox over HTTP, for scripts:
//!
//! - `GET /sandbox/report` gives counts and worst seconds; `?calls=N` adds the last N calls, UserSigs masked.
//! - `POST /sandbox/faults` takes a JSON list of [`Fault`]s, all or none.
//! - `POST /sandbox/reset` goes back to the start.
//!
//! It counts no calls of its own. Bad input is 400 with `{"error": "…"}`.

use std::fmt;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::answer::page;
use super::auth::{Query, masked};
use super::body::{self, AnswerBody};
use super::core::Core;
use super::faults::Fault;
use super::report::{Call, Report, Seen};

/// Whether a path belongs to the desk.
pub(super) fn is_desk(path: &str) -> bool {
    path.starts_with("/sandbox/")
}

/// Answers one request.
pub(super) async fn handle(core: &Core, request: Request<Incoming>) -> Response<AnswerBody> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/sandbox/report") => {
            let query = Query::parse(request.uri().query().unwrap_or_default());
            match query.value("calls").unwrap_or("0").parse() {
                Ok(calls) => reply(StatusCode::OK, &report(&core.ledger.report(), calls)),
                Err(_) => refuse(StatusCode::BAD_REQUEST, "calls is no number"),
            }
        }
        (&Method::POST, "/sandbox/faults") => faults(core, request.into_body()).await,
        (&Method::POST, "/sandbox/reset") => {
            core.reset();
            reply(StatusCode::OK, &json!({}))
        }
        (_, "/sandbox/report" | "/sandbox/faults" | "/sandbox/reset") => {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "GET report, POST faults or reset")
        }
        _ => refuse(StatusCode::NOT_FOUND, "there are /sandbox/report, /sandbox/faults and /sandbox/reset"),
    }
}

async fn faults(core: &Core, body: Incoming) -> Response<AnswerBody> {
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    let faults: Vec<Fault> = match serde_json::from_slice(&body) {
        Ok(faults) => faults,
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, format_args!("no JSON list of faults: {error}"));
        }
    };
    let queued = faults.len();
    match core.faults.push_all(faults) {
        Ok(()) => reply(StatusCode::OK, &json!({ "queued": queued })),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error),
    }
}

fn report(report: &Report, calls: usize) -> Value {
    let apps: serde_json::Map<String, Value> = report
        .apps
        .iter()
        .map(|(sdkappid, app)| {
            let apis: serde_json::Map<String, Value> =
                app.apis.iter().map(|(api, seen)| (api.to_string(), counts(seen))).collect();
            (sdkappid.to_string(), json!({ "all": counts(&app.all), "apis": apis }))
        })
        .collect();
    let last = &report.calls[report.calls.len().saturating_sub(calls)..];
    json!({
        "arrived": report.arrived,
        "connections": report.connections,
        "apps": apps,
        "calls": last.iter().map(|call| in_brief(call)).collect::<Vec<_>>(),
    })
}

fn counts(seen: &Seen) -> Value {
    json!({
        "arrived": seen.arrived,
        "accepted": seen.accepted,
        "refused": seen.refused,
        "refused_for_rate": seen.refused_for_rate,
        "worst_second": seen.worst_second,
    })
}

fn in_brief(call: &Call) -> Value {
    let parameters: serde_json::Map<String, Value> = call
        .parameters
        .lists()
        .into_iter()
        .map(|(name, values)| match name {
            "usersig" => (name.to_owned(), values.iter().map(|value| masked(value)).collect()),
            _ => (name.to_owned(), json!(values)),
        })
        .collect();
    json!({
        "number": call.number,
        "connection": call.connection,
        "version": format!("{:?}", call.version),
        "method": call.method.as_str(),
        "path": call.path,
        "parameters": parameters,
        "body": String::from_utf8_lossy(&call.body),
        "verdict": format!("{:?}", call.verdict),
        "answered": call.answered.map(|code| code.0),
    })
}

fn refuse(status: StatusCode, error: impl fmt::Display) -> Response<AnswerBody> {
    reply(status, &json!({ "error": error.to_string() }))
}

fn reply(status: StatusCode, value: &Value) -> Response<AnswerBody> {
    page(status, "application/json", format!("{value}\n"))
}
