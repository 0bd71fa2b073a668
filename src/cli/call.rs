//! `call`: makes one call through a running gateway and tells how it went.
//!
//! The answer's body goes to standard output as it came. What decides about success is the answer's ErrorCode, never
//! the HTTP status: with any other code than 0, or none, the reason goes to standard error and the exit status is 1.

use std::io::{Read, Write};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde_json::Value;

use super::Failure;
use super::exchange::{Answer, Server, block_on, exchange, printable};
use crate::model::api::{ApiName, Family, catalogue};
use crate::model::app::AppName;
use crate::model::duration;

/// Make one call through a running gateway; exit 0 only on ErrorCode 0
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: usersig-gateway call live_config/get_callback '{}'")]
pub(super) struct Args {
    /// Where the gateway listens: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    gateway: Server,

    /// The app to call; without it, the gateway's default app
    #[arg(long, value_name = "NAME")]
    app: Option<AppName>,

    /// The longest wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,

    /// A header to send, such as 'x-caller: ops'; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Header>,

    /// service/command, or v1/service/command; a query may follow: ConfigSvc/GetIPList?nettype=5
    api: ApiAndQuery,

    /// The JSON body; - takes it from standard input
    #[arg(default_value = "{}")]
    body: String,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let body = match args.body.as_str() {
        "-" => read_bounded(std::io::stdin().lock())?,
        body => Bytes::copy_from_slice(body.as_bytes()),
    };
    let request = request(args, body);
    let answer = block_on(exchange(&args.gateway, request, args.timeout))?
        .map_err(|error| Failure::new(error.to_string()))?;
    let printed = print(&answer.body, out);
    // How the call went matters more than whether anybody read its answer.
    judge(&args.api.name, &answer)?;
    Ok(printed?)
}

fn request(args: &Args, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::post(args.api.uri(args.app.as_ref()));
    if let Some(headers) = request.headers_mut() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        for Header(name, value) in &args.headers {
            headers.insert(name, value.clone());
        }
    }
    request.body(Full::new(body)).expect("method, path and headers are parsed already")
}

fn read_bounded(input: impl Read) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    let most = u64::try_from(LONGEST_BODY).unwrap_or(u64::MAX);
    input.take(most + 1).read_to_end(&mut body)?;
    if body.len() > LONGEST_BODY {
        return Err(Failure::bad_input(format!("the body is longer than {LONGEST_BODY} bytes")));
    }
    Ok(body.into())
}

fn print(body: &[u8], out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(body)?;
    if !body.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Whether the answer says that the call succeeded; if not, why.
fn judge(api: &ApiName, answer: &Answer) -> Result<(), Failure> {
    let status = answer.status.as_u16();
    let Ok(members) = serde_json::from_slice::<Value>(&answer.body) else {
        return Err(Failure::new(format!("the answer is not JSON (HTTP status {status})")));
    };
    // The old Call family writes its members in camelCase; the gateway's own refusals are written the other way.
    let names: &[_] = match api.family() {
        Family::V4 => &[("ErrorCode", "ErrorInfo")],
        Family::V1 => &[("errorCode", "errorMessage"), ("ErrorCode", "ErrorInfo")],
    };
    let told =
        names.iter().find_map(|(code, info)| Some((error_code(members.get(code)?)?, members.get(info))));
    let message = match told {
        Some((0, _)) => return Ok(()),
        Some((code, info)) => {
            let info = info.and_then(Value::as_str).unwrap_or("(no ErrorInfo)");
            format!("ErrorCode {code} (HTTP status {status}): {}", printable(info))
        }
        None => format!("the answer carries no ErrorCode (HTTP status {status})"),
    };
    Err(Failure::new([message, retry_after(answer), did_you_mean(api)].concat()))
}

/// A whole number, or one written as text: Tencent's page of the old Call family types it as text.
fn error_code(member: &Value) -> Option<i64> {
    member.as_i64().or_else(|| member.as_str()?.parse().ok())
}

/// A line that tells when to come again; empty when the answer does not say.
fn retry_after(answer: &Answer) -> String {
    let value = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    value.map_or_else(String::new, |value| format!("\nRetry-After: {}", printable(value)))
}

/// A line that names the likely API where this one is in no catalogue.
fn did_you_mean(api: &ApiName) -> String {
    match catalogue().nearest(api.as_str()) {
        Some(nearest) if catalogue().find(api).is_none() => {
            format!("\n{api} is not in the catalogue; did you mean {nearest}?")
        }
        _ => String::new(),
    }
}

/// Which API to call, and the query to send along.
#[derive(Debug, Clone)]
struct ApiAndQuery {
    name: ApiName,
    /// Checked to stand in a URI.
    query: Option<String>,
}

impl ApiAndQuery {
    fn uri(&self, app: Option<&AppName>) -> Uri {
        let app = app.map_or_else(String::new, |name| format!("/apps/{name}"));
        let query = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        format!("{app}{}{query}", self.name.url_path())
            .parse()
            .expect("names of apps and APIs need no escaping in a path, and the query was checked")
    }
}

impl FromStr for ApiAndQuery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, query) = match text.split_once('?') {
            Some((name, query)) => (name, Some(query)),
            None => (text, None),
        };
        let name = name.parse().map_err(|error: crate::model::api::BadApiName| error.to_string())?;
        if query.is_some_and(|query| query.contains('#') || format!("/?{query}").parse::<Uri>().is_err()) {
            return Err("the query must be percent-encoded".to_owned());
        }
        Ok(Self { name, query: query.map(str::to_owned) })
    }
}

/// One header to send.
#[derive(Debug, Clone)]
struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written = || "a header is written 'name: value'".to_owned();
        let (name, value) = text.split_once(':').ok_or_else(written)?;
        let name: HeaderName = name.trim().parse().map_err(|_| written())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| written())?;
        if [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION]
            .contains(&name)
        {
            return Err(format!("{name} follows from the request and cannot be chosen"));
        }
        Ok(Self(name, value))
    }
}

const USER_AGENT: &str = concat!("usersig-gateway-call/", env!("CARGO_PKG_VERSION"));

/// The longest body that is read from standard input, in bytes; the gateway takes 1 MiB by default.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_app_family_and_query() {
        let app: AppName = "live".parse().unwrap();
        for (api, app, path) in [
            ("live_config/get_callback", None, "/v4/live_config/get_callback"),
            ("/v4/live_config/get_callback", Some(&app), "/apps/live/v4/live_config/get_callback"),
            ("v1/callback/set", Some(&app), "/apps/live/v1/callback/set"),
            ("ConfigSvc/GetIPList?nettype=5&a=%20", None, "/v4/ConfigSvc/GetIPList?nettype=5&a=%20"),
        ] {
            assert_eq!(api.parse::<ApiAndQuery>().unwrap().uri(app).to_string(), path);
        }
        for bad in ["live_config", "a/b/c", "a/b?c d", "a/b?#"] {
            assert!(bad.parse::<ApiAndQuery>().is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_a_name_and_a_value() {
        let Header(name, value) = "X-Caller:  ops: night ".parse().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-caller", "ops: night"));
        for bad in ["", "x-caller", ": ops", "a b: c", "a: b\nc: d", "Host: a", "content-length: 3"] {
            assert!(bad.parse::<Header>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_from_standard_input_has_a_bound() {
        let most = u64::try_from(LONGEST_BODY).unwrap();
        assert_eq!(read_bounded(std::io::repeat(b' ').take(most)).unwrap().len(), LONGEST_BODY);
        assert_eq!(read_bounded(std::io::repeat(b' ')).unwrap_err().status, 2);
    }

    fn judged(api: &str, body: &'static str) -> Result<(), String> {
        let answer = Answer {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        judge(&api.parse().unwrap(), &answer).map_err(|failure| failure.message)
    }

    #[test]
    fn only_error_code_0_is_success() {
        assert_eq!(judged("openim/sendmsg", r#"{"ErrorCode":0}"#), Ok(()));
        assert_eq!(judged("v1/callback/set", r#"{"errorCode":"0","data":""}"#), Ok(()));
        for (api, body, message) in [
            (
                "openim/sendmsg",
                r#"{"ErrorCode":60007,"ErrorInfo":"slow\ndown"}"#,
                "ErrorCode 60007 (HTTP status 200): slow\ndown",
            ),
            ("openim/sendmsg", r#"{"ErrorCode":5}"#, "ErrorCode 5 (HTTP status 200): (no ErrorInfo)"),
            ("openim/sendmsg", r#"{"errorCode":0}"#, "the answer carries no ErrorCode (HTTP status 200)"),
            ("openim/sendmsg", r#"[{"ErrorCode":0}]"#, "the answer carries no ErrorCode (HTTP status 200)"),
            (
                "openim/sendmsg",
                r#"{"Response":{"ErrorCode":0}}"#,
                "the answer carries no ErrorCode (HTTP status 200)",
            ),
            ("openim/sendmsg", "", "the answer is not JSON (HTTP status 200)"),
            (
                "v1/callback/set",
                r#"{"errorCode":70001,"errorMessage":"must start with http"}"#,
                "ErrorCode 70001 (HTTP status 200): must start with http",
            ),
            (
                "v1/callback/set",
                r#"{"ErrorCode":9900429,"ErrorInfo":"too late"}"#,
                "ErrorCode 9900429 (HTTP status 200): too late",
            ),
        ] {
            assert_eq!(judged(api, body), Err(message.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_misspelt_api_gets_a_hint() {
        let message =
            judged("live_config/get_calback", r#"{"ErrorCode":60009,"ErrorInfo":"none"}"#).unwrap_err();
        assert!(message.ends_with(
            "\nlive_config/get_calback is not in the catalogue; did you mean live_config/get_callback?"
        ));
    }
}
