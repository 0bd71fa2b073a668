//! From method and path to an answer.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use super::{State, page};
use crate::telemetry::metrics;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What one can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Livez,
    Metrics,
    Readyz,
    Startupz,
    StatusJson,
}

const ROUTES: [(&str, Route); 6] = [
    ("/", Route::Page),
    ("/livez", Route::Livez),
    ("/metrics", Route::Metrics),
    ("/readyz", Route::Readyz),
    ("/startupz", Route::Startupz),
    ("/status.json", Route::StatusJson),
];

/// The answer to one request. `HEAD` gets that of `GET`; the server leaves out its body.
pub(super) fn answer(state: &State, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let Some((_, route)) = ROUTES.iter().find(|(known, _)| *known == path) else {
        return text(StatusCode::NOT_FOUND, not_found());
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match route {
        Route::Page => status_page(state),
        Route::Livez => text(StatusCode::OK, "ok\n"),
        Route::Metrics => respond(StatusCode::OK, metrics::CONTENT_TYPE, state.metrics.encode()),
        Route::Readyz => readyz(state),
        Route::Startupz if state.readiness.state().has_started() => text(StatusCode::OK, "ok\n"),
        Route::Startupz => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Route::StatusJson => status_json(state),
    }
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
    match serde_json::to_vec_pretty(&(state.status)()) {
        Ok(json) => respond(StatusCode::OK, JSON, json),
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("the status cannot be told: {error}\n"))
        }
    }
}

fn status_page(state: &State) -> Response<Full<Bytes>> {
    let links: Vec<&str> = ROUTES.iter().map(|(path, _)| *path).filter(|path| *path != "/").collect();
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
