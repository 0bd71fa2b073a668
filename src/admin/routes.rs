//! From method and path to an answer.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::commands::Order;
use super::server::Way;
use super::{Finding, Level, State, Status, findings, page};
use crate::telemetry::metrics;

const MISDIRECTED: &str = "this is the admin listener on loopback, asked under a name that may be anybody's: ask it as \
                          localhost or by its address\n";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What one can look at, and what one can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Livez,
    Metrics,
    Readyz,
    Startupz,
    StatusJson,
    Command(Order),
}

const ROUTES: [(&str, Route); 8] = [
    ("/", Route::Page),
    ("/-/quit", Route::Command(Order::Quit)),
    ("/-/reload", Route::Command(Order::Reload)),
    ("/livez", Route::Livez),
    ("/metrics", Route::Metrics),
    ("/readyz", Route::Readyz),
    ("/startupz", Route::Startupz),
    ("/status.json", Route::StatusJson),
];

/// The answer to one request. `HEAD` gets that of `GET`; the server leaves out its body.
pub(super) async fn answer<B>(state: &State, request: &Request<B>, way: Way) -> Response<Full<Bytes>> {
    if way.is_loopback && names_another(request.headers()) {
        return text(StatusCode::MISDIRECTED_REQUEST, MISDIRECTED);
    }
    let path = request.uri().path();
    let Some((_, route)) = ROUTES.iter().find(|(known, _)| *known == path) else {
        return text(StatusCode::NOT_FOUND, not_found());
    };
    let is_command = matches!(route, Route::Command(_));
    match *request.method() {
        Method::GET | Method::HEAD if !is_command => {}
        Method::POST if is_command => {}
        _ => return wrong_method(if is_command { "POST" } else { "GET, HEAD" }),
    }
    match route {
        Route::Command(order) => {
            let (status, told) = state.orders.obey(*order, request.headers(), way.is_local).await;
            text(status, told)
        }
        Route::Page => status_page(state),
        Route::Livez => text(StatusCode::OK, "ok\n"),
        Route::Metrics => respond(StatusCode::OK, metrics::CONTENT_TYPE, state.metrics.encode()),
        Route::Readyz => readyz(state),
        Route::Startupz if state.readiness.state().has_started() => text(StatusCode::OK, "ok\n"),
        Route::Startupz => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Route::StatusJson => status_json(state),
    }
}

/// Whether `host` is a name that anybody may have registered and let lead to loopback: a page under that name could read
/// what is told here (DNS rebinding). Left are addresses, `localhost` and what ends so, and names of a single part, which
/// nobody can register.
fn names_another(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return false };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return true };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
    !is_address && name.contains('.') && !name.ends_with(".localhost")
}

fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn readyz(state: &State) -> Response<Full<Bytes>> {
    let Some(reasons) = state.readiness.state().reasons_against() else {
        return text(StatusCode::OK, "ok\n");
    };
    // A line each, whatever a reason holds.
    let lines: String = reasons.iter().map(|reason| reason.replace(char::is_control, " ") + "\n").collect();
    text(StatusCode::SERVICE_UNAVAILABLE, lines)
}

fn status_json(state: &State) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(&Told::of((state.status)())) {
        Ok(json) => respond(StatusCode::OK, JSON, json),
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("the status cannot be told: {error}\n"))
        }
    }
}

/// What `/status.json` holds.
#[derive(Serialize)]
struct Told {
    level: Level,
    findings: Vec<Finding>,
    #[serde(flatten)]
    status: Status,
}

impl Told {
    fn of(status: Status) -> Self {
        let findings = findings::findings(&status);
        Self { level: findings::level(&findings), findings, status }
    }
}

fn status_page(state: &State) -> Response<Full<Bytes>> {
    let pages = ROUTES.iter().filter(|(_, route)| !matches!(route, Route::Page | Route::Command(_)));
    let links: Vec<&str> = pages.map(|(path, _)| *path).collect();
    let mut response = respond(StatusCode::OK, HTML, page::render(&(state.status)(), &links));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, page::content_security_policy());
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn not_found() -> String {
    let paths: String = ROUTES.iter().map(|(path, _)| format!("{path}\n")).collect();
    format!("no such route; there are:\n{paths}")
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, TEXT, body)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
