//! One call's way: head read, stamped, checked; body read; carried out; answered, or spoilt as a fault asks.
//!
//! Everything up to carrying out runs in a task of its own. A server does not notice that its caller hung up, so a
//! call that was sent whole is counted and carried out whether anybody waits for the answer or not.
//!
//! The order in which faults of a call are named is the documentation's: path, body, parameters, UserSig,
//! administrator, then the ceilings. Parameters and ceilings are decided when the head is read, so a call whose body
//! turns out bad has used its place.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::answer::{self, Occasion};
use super::auth::{self, Caller, Query};
use super::body::{self, AnswerBody};
use super::codes;
use super::core::Core;
use super::faults::{Delay, Effect, Fault};
use super::ledger::Arrival;
use super::report::{Call, Verdict};
use super::serve::Connection;
use super::shape::{Answer, Refusal, Shape};
use super::socket::End;
use crate::model::api::{ApiName, Family};
use crate::model::error_code::ErrorCode;

/// Takes one request to its response, or its connection to its end.
pub(super) async fn handle(
    core: Arc<Core>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let (parts, body) = request.into_parts();
    let head = Head::read(parts, &connection);
    if head.call.method != Method::POST {
        return not_post(&core, head);
    }
    let fault = core.faults.take(head.call.api.as_ref());
    let (shape, version) = (head.shape(), head.call.version);
    let Head { call, query, url } = head;
    let entry = match fault.transit {
        Delay::NONE => Entry::Arrived(core.ledger.arrive(call)),
        slow => Entry::Underway(slow, Box::new(call)),
    };
    let request = Taken { entry, query, body, fault: fault.clone() };
    let done = match carry_out_apart(&core, &connection, request).await {
        Done::Answer(answer) => answer,
        Done::TooLong => {
            let text = body::BadBody::TooLong.to_string();
            return answer::page(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", text);
        }
        Done::Nothing => std::future::pending().await,
    };
    match fault.effect {
        Effect::ResetAfterReading => connection.end(End::Reset).await,
        Effect::Stall => std::future::pending().await,
        _ => core.wait(fault.before_answer).await,
    }
    let request_id = core.request_id();
    let occasion = Occasion { shape, request_id, url: &url, version, fate: &connection.fate };
    answer::respond(done, &fault.effect, occasion)
}

/// A request whose head was read.
struct Taken {
    entry: Entry,
    query: Query,
    body: Incoming,
    fault: Fault,
}

/// Whether a call is in the books. Normally it is as soon as its head is read, before any other task has its turn.
enum Entry {
    Arrived(Arrival),
    /// A slow network is played: it arrives after this delay.
    Underway(Delay, Box<Call>),
}

/// What became of a call.
enum Done {
    Answer(Answer),
    TooLong,
    /// The body broke off, the connection is being reset, or the sandbox stops: there is nobody to answer.
    Nothing,
}

/// Carries the call out in a task that goes on when the caller hangs up. So many run at once; more wait their turn.
async fn carry_out_apart(core: &Arc<Core>, connection: &Arc<Connection>, request: Taken) -> Done {
    let Ok(permit) = Arc::clone(&core.calls).acquire_owned().await else { return Done::Nothing };
    let (tell, told) = oneshot::channel();
    let (own_core, connection) = (Arc::clone(core), Arc::clone(connection));
    core.tasks.spawn(async move {
        let done = carry_out(&own_core, &connection, request).await;
        drop(permit);
        // The caller may be gone: then nobody wants to know.
        _ = tell.send(done);
    });
    told.await.unwrap_or(Done::Nothing)
}

async fn carry_out(core: &Core, connection: &Connection, request: Taken) -> Done {
    let Taken { entry, query, body, fault } = request;
    let arrival = match entry {
        Entry::Arrived(arrival) => arrival,
        Entry::Underway(delay, call) => {
            core.wait(delay).await;
            core.ledger.arrive(*call)
        }
    };
    let caller = auth::check(&query, &core.apps(), core.clock.unix_seconds());
    let caller = caller.and_then(|caller| core.ledger.admit(&arrival).map(|()| caller));
    if fault.effect == Effect::ResetBeforeReading {
        connection.fate.end(End::Reset);
        return Done::Nothing;
    }
    core.wait(fault.before_body).await;
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(body::BadBody::TooLong) => return Done::TooLong,
        Err(body::BadBody::BrokeOff(_)) => return Done::Nothing,
    };
    let judged = judge(&arrival, caller, &body);
    let verdict =
        judged.as_ref().map_or_else(|refusal| Verdict::Refused(refusal.code), |_| Verdict::Accepted);
    let answer = match (&fault.effect, judged) {
        (Effect::Answer(code), _) => Refusal::new(*code, "a fault that was asked for").into(),
        (_, Ok(accepted)) => core.world().execute(&accepted.caller, &accepted.api, &accepted.body),
        (_, Err(refusal)) => refusal.into(),
    };
    core.ledger.complete(&arrival, body, verdict, code_seen(&fault.effect, answer.code));
    Done::Answer(answer)
}

/// A call that passed every check.
struct Accepted {
    api: ApiName,
    caller: Caller,
    body: Map<String, Value>,
}

fn judge(arrival: &Arrival, caller: Result<Caller, Refusal>, body: &Bytes) -> Result<Accepted, Refusal> {
    let api =
        arrival.api.clone().ok_or_else(|| Refusal::new(codes::NO_SUCH_API, "the path names no known API"))?;
    if body.is_empty() {
        return Err(Refusal::new(codes::BAD_JSON, "the body is empty; {} is the least"));
    }
    let body = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(codes::BAD_JSON, format!("the body is no JSON object: {error}")))?;
    Ok(Accepted { api, caller: caller?, body })
}

/// The code that the caller gets to see, if the effect leaves one.
fn code_seen(effect: &Effect, code: ErrorCode) -> Option<ErrorCode> {
    let hidden = matches!(
        effect,
        Effect::ResetAfterReading
            | Effect::Stall
            | Effect::Truncate
            | Effect::NotJson
            | Effect::Empty
            | Effect::BadGateway
            | Effect::EchoUrlInHtml
    );
    (!hidden).then_some(code)
}

/// Tencent documents POST only, and no code for the rest: a web server's own 405.
fn not_post(core: &Core, head: Head) -> Response<AnswerBody> {
    let arrival = core.ledger.arrive(head.call);
    core.ledger.complete(&arrival, Bytes::new(), Verdict::NotPost, None);
    let text = "calls are sent by POST\n".to_owned();
    let mut response = answer::page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", text);
    response.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("POST"));
    response
}

/// A request's head, taken apart.
struct Head {
    /// What will stand in the log.
    call: Call,
    query: Query,
    url: String,
}

impl Head {
    fn read(parts: request::Parts, connection: &Connection) -> Self {
        let request::Parts { method, uri, version, headers, .. } = parts;
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or_default();
        let after = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let url = format!("{}://{authority}{after}", connection.scheme);
        let query = Query::parse(uri.query().unwrap_or_default());
        let call = Call {
            number: 0,
            arrived: tokio::time::Instant::now(),
            connection: connection.number,
            version,
            method,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            headers,
            body: Bytes::new(),
            parameters: query.parameters(),
            sdkappid: query.sdkappid(),
            api: api_at(uri.path()),
            verdict: Verdict::Unread,
            answered: None,
        };
        Self { call, query, url }
    }

    fn shape(&self) -> Shape {
        self.call.api.as_ref().map_or(Shape::Chat, Shape::of)
    }
}

/// The API that a path names: `/v4/{service}/{command}` or `/v1/{service}/{command}`, and nothing else.
fn api_at(path: &str) -> Option<ApiName> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let (family, service, command) = match parts[..] {
        ["v4", service, command] => (Family::V4, service, command),
        ["v1", service, command] => (Family::V1, service, command),
        _ => return None,
    };
    ApiName::new(family, service, command).ok()
}
