//! Reading an answer as it arrives: is it JSON, and what does its outermost object say.
//!
//! Only members of the outermost object count: Tencent's answers hold whole objects of other people's making further
//! in. A member's name counts however its letters are escaped. Where a name stands twice the last one counts, as with
//! the parsers that callers use, so that gateway and caller read the same code.
//!
//! What counts as JSON is RFC 8259 to the letter, so a byte order mark is refused, as are `NaN` and a comma at the
//! end. Compared with serde_json it takes a little more: numbers of any size, and half a surrogate pair in an escape, both
//! of which the grammar allows; and 128 levels of nesting, where serde_json takes 127.

use super::json::{Broken, Grammar, Kind, Members, Piece};
use super::utf8::Utf8;
use super::{Fault, Reading, TencentRequestId};
use crate::model::api::Family;
use crate::model::error_code::ErrorCode;

/// Reads one answer, piece by piece, in constant memory.
#[derive(Debug)]
pub struct Scanner {
    utf8: Utf8,
    grammar: Grammar,
    answer: Answer,
    /// How many bytes came before the piece at hand.
    seen: usize,
    fault: Option<Fault>,
}

impl Scanner {
    /// For an answer of this family.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self {
            utf8: Utf8::default(),
            grammar: Grammar::new(),
            answer: Answer::new(family),
            seen: 0,
            fault: None,
        }
    }

    /// Reads the next piece of the answer. Once something is wrong, the rest is passed over.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.fault.is_none() {
            self.fault = self.read(piece).err();
            self.seen += piece.len();
        }
    }

    /// What the answer says, now that it has ended.
    ///
    /// # Errors
    /// When it is no complete JSON object with an error code.
    pub fn finish(&mut self) -> Result<Reading, Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.grammar.is_blank() {
            return Err(Fault::Empty);
        }
        if !self.grammar.is_complete() {
            return Err(Fault::Truncated { after: self.seen });
        }
        if !self.grammar.is_object() {
            return Err(Fault::NotAnObject);
        }
        match self.answer.error_code {
            None => Err(Fault::NoErrorCode { wanted: self.answer.names.error_code }),
            Some(None) => Err(Fault::BadErrorCode { wanted: self.answer.names.error_code }),
            Some(Some(error_code)) => Ok(Reading { error_code, request_id: self.answer.request_id.take() }),
        }
    }

    fn read(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let sound = self.utf8.push(piece);
        let end = sound.as_ref().map_or_else(|unsound| unsound.after, |()| piece.len());
        // What stands before the unsound byte may be wrong in its own way, and then that comes first.
        self.grammar.push(&piece[..end], &mut self.answer).map_err(|broken| match broken {
            Broken::At(at) if piece[at] == b'<' && self.grammar.is_blank() => Fault::Markup,
            Broken::At(at) => Fault::NotJson { at: self.seen + at },
            Broken::TooDeep(at) => Fault::TooDeep { at: self.seen + at },
        })?;
        sound.map_err(|unsound| Fault::NotJson { at: self.seen + unsound.after - unsound.held })
    }
}

/// What is known so far of the outermost object's members.
#[derive(Debug)]
struct Answer {
    names: Names,
    text: Text,
    wanted: Wanted,
    /// The last one, and `None` inside where it is no whole number.
    error_code: Option<Option<ErrorCode>>,
    request_id: Option<TencentRequestId>,
}

/// How a family spells the members.
#[derive(Debug)]
struct Names {
    error_code: &'static str,
    request_id: &'static str,
}

/// Which member's value is at hand.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    ErrorCode,
    RequestId,
}

// === impl Answer ===

impl Answer {
    fn new(family: Family) -> Self {
        let names = match family {
            Family::V4 => Names { error_code: "ErrorCode", request_id: "RequestId" },
            Family::V1 => Names { error_code: "errorCode", request_id: "requestId" },
        };
        Self { names, text: Text::new(), wanted: Wanted::ErrorCode, error_code: None, request_id: None }
    }
}

impl Members for Answer {
    fn name_begins(&mut self) {
        self.text.clear();
    }

    fn name(&mut self, piece: Piece<'_>) {
        self.text.push(piece);
    }

    fn value_begins(&mut self, kind: Kind) -> bool {
        let readable = if self.text.is(self.names.error_code) {
            self.wanted = Wanted::ErrorCode;
            self.error_code = Some(None);
            kind != Kind::Other
        } else if self.text.is(self.names.request_id) {
            self.wanted = Wanted::RequestId;
            self.request_id = None;
            kind == Kind::Text
        } else {
            false
        };
        self.text.clear();
        readable
    }

    fn value(&mut self, piece: Piece<'_>) {
        self.text.push(piece);
    }

    fn value_ends(&mut self) {
        let text = self.text.as_str();
        match self.wanted {
            Wanted::ErrorCode => self.error_code = Some(text.and_then(integer).map(ErrorCode)),
            Wanted::RequestId => self.request_id = text.and_then(TencentRequestId::new),
        }
    }
}

/// A whole number of 64 bits, written out: one table has the code as a string, and every sample as a number.
fn integer(text: &str) -> Option<i64> {
    // `parse` would take a plus sign too.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// A short text, gathered from pieces. Longer ones, and those with characters beyond ASCII, are no text that is
/// looked for here.
#[derive(Debug)]
struct Text {
    bytes: [u8; TencentRequestId::MOST],
    len: usize,
    unfit: bool,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; TencentRequestId::MOST], len: 0, unfit: false }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.unfit = false;
    }

    fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Plain(bytes) => self.extend(bytes),
            Piece::Unit(unit) => match u8::try_from(unit) {
                Ok(byte) => self.extend(&[byte]),
                Err(_) => self.unfit = true,
            },
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if bytes.is_ascii() => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.unfit = true,
        }
    }

    fn is(&self, text: &str) -> bool {
        !self.unfit && self.bytes[..self.len] == *text.as_bytes()
    }

    fn as_str(&self) -> Option<&str> {
        if self.unfit { None } else { std::str::from_utf8(&self.bytes[..self.len]).ok() }
    }
}
