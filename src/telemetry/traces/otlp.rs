//! OTLP's JSON: what a collector is sent (OpenTelemetry Protocol specification 1, "JSON Protobuf Encoding": ids in
//! hexadecimal, 64-bit numbers as texts, enums as numbers).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Kind, Span, Value};

/// The media type of [`request`]'s bytes.
pub const CONTENT_TYPE: &str = "application/json";

/// The body of an `ExportTraceServiceRequest` with these spans, of a process that runs `version`.
#[must_use]
pub fn request<'a>(spans: impl Iterator<Item = &'a Span>, version: &'static str) -> Vec<u8> {
    let resource = [
        Attribute("service.name", &Value::Word("usersig-gateway")),
        Attribute("service.version", &Value::Word(version)),
    ];
    let spans: Vec<OneSpan<'_>> = spans.map(OneSpan).collect();
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: &resource },
            scope_spans: [ScopeSpans { scope: Scope { name: "usersig-gateway", version }, spans: &spans }],
        }],
    };
    serde_json::to_vec(&request).expect("texts and numbers are JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: &'a [Attribute<'a>],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope<'a>,
    spans: &'a [OneSpan<'a>],
}

#[derive(Serialize)]
struct Scope<'a> {
    name: &'a str,
    version: &'a str,
}

struct OneSpan<'a>(&'a Span);

struct Attribute<'a>(&'a str, &'a Value);

struct AnyValue<'a>(&'a Value);

impl Serialize for OneSpan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("traceId", &span.trace.to_string())?;
        map.serialize_entry("spanId", &span.id.to_string())?;
        if let Some(parent) = span.parent {
            map.serialize_entry("parentSpanId", &parent.to_string())?;
        }
        map.serialize_entry("name", &*span.name)?;
        map.serialize_entry("kind", &number_of(span.kind))?;
        map.serialize_entry("startTimeUnixNano", &nanoseconds(span.began))?;
        map.serialize_entry("endTimeUnixNano", &nanoseconds(span.ended))?;
        let attributes: Vec<_> = span.attributes.iter().map(|(key, value)| Attribute(key, value)).collect();
        map.serialize_entry("attributes", &attributes)?;
        if span.failed {
            map.serialize_entry("status", &Status { code: STATUS_CODE_ERROR })?;
        }
        map.end()
    }
}

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", self.0)?;
        map.serialize_entry("value", &AnyValue(self.1))?;
        map.end()
    }
}

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            Value::Text(text) => map.serialize_entry("stringValue", &**text)?,
            Value::Word(word) => map.serialize_entry("stringValue", word)?,
            Value::Number(number) => map.serialize_entry("intValue", &number.to_string())?,
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

/// `Span.SpanKind`.
fn number_of(kind: Kind) -> u8 {
    match kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    }
}

fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

/// `Status.StatusCode`.
const STATUS_CODE_ERROR: u8 = 2;
