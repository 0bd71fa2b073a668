//! From what an API answers to what is sent: in shape, and spoilt where a fault asks for that.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, DATE, SERVER};
use http::{HeaderValue, Response, StatusCode, Version};
use serde_json::{Map, Value};

use super::body::AnswerBody;
use super::faults::Effect;
use super::shape::{Answer, Shape};
use super::socket::Fate;

/// What an answer depends on besides the [`Answer`] itself.
pub(super) struct Occasion<'a> {
    pub(super) shape: Shape,
    pub(super) request_id: String,
    /// The whole URL of the request.
    pub(super) url: &'a str,
    pub(super) version: Version,
    pub(super) fate: &'a Arc<Fate>,
}

/// The response that carries `answer`, as `effect` spoils it. Effects that allow no answer change nothing here.
pub(super) fn respond(mut answer: Answer, effect: &Effect, occasion: Occasion<'_>) -> Response<AnswerBody> {
    let Occasion { shape, request_id, url, version, fate } = occasion;
    if *effect == Effect::EchoUrl {
        answer.info = url.to_owned().into();
    }
    let object = shape.dress(answer, &request_id);
    match effect {
        Effect::NotJson => page(StatusCode::OK, "text/plain", "busy, try again".to_owned()),
        Effect::Empty => json(AnswerBody::whole("")),
        Effect::BadGateway => page(StatusCode::BAD_GATEWAY, "text/html", BAD_GATEWAY_PAGE.to_owned()),
        Effect::EchoUrlInHtml => page(StatusCode::NOT_FOUND, "text/html", not_found_page(url)),
        Effect::Large(bytes) => json(AnswerBody::whole(large(object, shape.code_member(), *bytes))),
        Effect::Truncate => json(AnswerBody::truncated(text(object).as_bytes(), Arc::clone(fate))),
        Effect::Gzip => gzipped(text(object).as_bytes()),
        Effect::GzipBomb(bytes) => gzipped(large(object, shape.code_member(), *bytes).as_bytes()),
        Effect::Drip(pause) => json(AnswerBody::whole(text(object)).dripping(*pause)),
        Effect::CloseSilently => json(AnswerBody::whole(text(object)).then_close(Arc::clone(fate))),
        Effect::CloseAnnounced => {
            let mut response = json(AnswerBody::whole(text(object)).then_close(Arc::clone(fate)));
            // HTTP/2 has no such header: it says goodbye with a frame.
            if version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
        Effect::Serve
        | Effect::Answer(_)
        | Effect::EchoUrl
        | Effect::ResetBeforeReading
        | Effect::ResetAfterReading
        | Effect::Stall => json(AnswerBody::whole(text(object))),
    }
}

/// An answer of status 200 with the headers of Tencent's documented samples.
fn json(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SERVER, HeaderValue::from_static("nginx/1.7.10"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// A text that is no answer of an API.
pub(super) fn page(status: StatusCode, kind: &'static str, text: String) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Dates a response by the sandbox's own clock, so that it agrees with the UserSigs that the same clock judges.
pub(super) fn date(response: &mut Response<AnswerBody>, now: std::time::SystemTime) {
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        response.headers_mut().insert(DATE, date);
    }
}

fn text(object: Map<String, Value>) -> String {
    Value::Object(object).to_string()
}

/// The same object with a long member before its last one, the code; at least as long as it is without.
fn large(mut object: Map<String, Value>, code_member: &str, bytes: usize) -> String {
    let code = object.remove(code_member).unwrap_or_default();
    let mut large = text(object);
    large.pop();
    large.push_str(",\"Padding\":\"");
    let end = format!("\",\"{code_member}\":{code}}}");
    let missing = bytes.min(LARGEST).saturating_sub(large.len() + end.len());
    large.reserve_exact(missing + end.len());
    large.extend(std::iter::repeat_n('x', missing));
    large.push_str(&end);
    large
}

fn gzipped(plain: &[u8]) -> Response<AnswerBody> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let packed = packed.write_all(plain).and_then(|()| packed.finish()).expect("a vector takes every byte");
    let mut response = json(AnswerBody::whole(packed));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn not_found_page(url: &str) -> String {
    let mut page = String::from("<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n");
    _ = write!(
        page,
        "<p>The requested URL {url} was not found on this server.</p>\r\n</body>\r\n</html>\r\n"
    );
    page
}

const BAD_GATEWAY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.7.10</center>\r\n</body>\r\n</html>\r\n";

/// The longest answer that [`Effect::Large`] makes.
const LARGEST: usize = 64 * 1024 * 1024;
