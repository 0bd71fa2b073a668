//! What an answer's headers say, as far as somebody reads it.

use http::{HeaderMap, HeaderValue, header};

/// What an answer's headers say, as far as somebody reads it; of several lines of one name the first. A map of them would
/// have to be hashed into and out of: 1,300 instructions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// The `content-type`.
    pub content_type: Option<HeaderValue>,
    /// The `content-encoding`.
    pub content_encoding: Option<HeaderValue>,
    /// The `content-length`, in bytes.
    pub content_length: Option<u64>,
    /// The `date`.
    pub date: Option<HeaderValue>,
}

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let length = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        Self {
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
            content_encoding: headers.get(header::CONTENT_ENCODING).cloned(),
            content_length: length(),
            date: headers.get(header::DATE).cloned(),
        }
    }
}
