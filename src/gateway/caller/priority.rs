//! How urgent a call is: the `u` of a `priority` header (RFC 9218).
//!
//! The header is a dictionary of RFC 9651, of which only `u` means anything here. The rest is still read to its end,
//! since a `u=1` inside a string is none, and since a header that is malformed anywhere says nothing at all.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How urgent a call is among its caller's own: 0 the most, 7 the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// From 0, the most urgent, to 7.
    #[must_use]
    pub fn urgency(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// 3, as RFC 9218, section 4.1 has it.
    fn default() -> Self {
        Self(3)
    }
}

/// The header is no dictionary, or its `u` no whole number from 0 to 7.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The urgency that a line of the header gives, if it gives one. The last `u` counts (RFC 9651, section 4.2.2).
pub(super) fn urgency(line: &str) -> Result<Option<Priority>, Malformed> {
    let mut text = Cursor(line.trim_matches(' ').as_bytes());
    let mut urgency = None;
    while !text.0.is_empty() {
        let key = text.key()?;
        let value = if text.take(b'=') { text.member()? } else { Value::Other };
        text.parameters()?;
        if key == b"u" {
            urgency = Some(value);
        }
        text.skip(b" \t");
        if text.0.is_empty() {
            break;
        }
        text.expect(b',')?;
        text.skip(b" \t");
        if text.0.is_empty() {
            return Err(Malformed); // a comma at the end
        }
    }
    match urgency {
        None => Ok(None),
        Some(Value::Integer(urgency)) => match u8::try_from(urgency) {
            Ok(urgency @ 0..=7) => Ok(Some(Priority(urgency))),
            _ => Err(Malformed),
        },
        Some(Value::Other) => Err(Malformed),
    }
}

/// A member's value, as far as it matters.
enum Value {
    Integer(i64),
    Other,
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn key(&mut self) -> Result<&'a [u8], Malformed> {
        match self.0.first() {
            Some(b'a'..=b'z' | b'*') => {
                Ok(self.run(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')))
            }
            _ => Err(Malformed),
        }
    }

    /// An item, or an inner list.
    fn member(&mut self) -> Result<Value, Malformed> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Ok(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return Err(Malformed);
            }
        }
    }

    fn parameters(&mut self) -> Result<(), Malformed> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Ok(())
    }

    fn bare_item(&mut self) -> Result<Value, Malformed> {
        match *self.0.first().ok_or(Malformed)? {
            b'-' | b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'*' => {
                self.run(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b));
                Ok(Value::Other)
            }
            b'"' => self.string(),
            b':' => self.bytes(),
            b'%' => self.display_string(),
            b'?' => {
                self.expect(b'?')?;
                if self.take(b'0') || self.take(b'1') { Ok(Value::Other) } else { Err(Malformed) }
            }
            b'@' => {
                self.expect(b'@')?;
                match self.number()? {
                    Value::Integer(_) => Ok(Value::Other),
                    Value::Other => Err(Malformed),
                }
            }
            _ => Err(Malformed),
        }
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3.
    fn number(&mut self) -> Result<Value, Malformed> {
        let negative = self.take(b'-');
        let digits = self.run(|b| b.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.run(|b| b.is_ascii_digit());
            let fits = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return if fits { Ok(Value::Other) } else { Err(Malformed) };
        }
        if !(1..=15).contains(&digits.len()) {
            return Err(Malformed);
        }
        let number = digits.iter().fold(0, |number, digit| 10 * number + i64::from(digit - b'0'));
        Ok(Value::Integer(if negative { -number } else { number }))
    }

    fn string(&mut self) -> Result<Value, Malformed> {
        self.expect(b'"')?;
        loop {
            self.run(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
            if self.take(b'"') {
                return Ok(Value::Other);
            }
            self.expect(b'\\')?;
            if !self.take(b'"') && !self.take(b'\\') {
                return Err(Malformed);
            }
        }
    }

    fn bytes(&mut self) -> Result<Value, Malformed> {
        self.expect(b':')?;
        let base64 = self.run(|b| b != b':');
        self.expect(b':')?;
        BASE64.decode(base64).map(|_| Value::Other).map_err(|_| Malformed)
    }

    /// UTF-8, percent-encoded with small letters.
    fn display_string(&mut self) -> Result<Value, Malformed> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            text.extend(self.run(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'%'));
            if self.take(b'"') {
                return std::str::from_utf8(&text).map(|_| Value::Other).map_err(|_| Malformed);
            }
            self.expect(b'%')?;
            text.push(16 * self.hex_digit()? + self.hex_digit()?);
        }
    }

    fn hex_digit(&mut self) -> Result<u8, Malformed> {
        let (&digit, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(Malformed),
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&b| !belongs(b)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    fn skip(&mut self, blanks: &[u8]) {
        self.run(|b| blanks.contains(&b));
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) { Ok(()) } else { Err(Malformed) }
    }
}

/// As forgiving as RFC 9651, section 4.2.7, asks for: padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urgency_is_found_among_other_members() {
        for (line, expected) in [
            ("u=0", 0),
            ("u=7", 7),
            ("u=1, i", 1),
            ("i, u=5", 5),
            ("i=?0,\tu=2", 2),
            ("  u=4  ", 4),
            ("u=1;x=2;y", 1),
            ("u=1, u=6", 6),
            ("x=\"a, u=1\\\"\", u=2", 2),
            ("x=(1 \"u=0\";p 2.5), *k=tok:/en, b=:aGk=:, d=@17, u=03", 3),
            ("x=%\"u=1, f%c3%bc%22\", u=2", 2),
            ("x=:aG:, y=::, z=:aH==:, u=2", 2),
        ] {
            assert_eq!(urgency(line), Ok(Some(Priority(expected))), "{line}");
        }
    }

    #[test]
    fn without_an_urgency_there_is_none() {
        for line in ["", " ", "i", "x=1", "ux=1", "x=\"u=1\"", "i;u=1"] {
            assert_eq!(urgency(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn a_malformed_header_says_nothing() {
        for line in [
            "u",
            "u=",
            "u=8",
            "u=-1",
            "u=1.0",
            "u=a",
            "u=\"1\"",
            "u=?1",
            "u=(1)",
            "u=99999999999999999999",
            "u=1,",
            ",u=1",
            "u=1 i",
            "U=1",
            "u =1",
            "u=1;",
            "u=1, x=\"",
            "u=1, x=\"\\a\"",
            "x=(1, u=1",
            "u=1, é",
            "3",
            "u=1, x=@1.5",
            "u=1, x=1.",
            "u=1, x=:a",
            "u=1, x=:a:",
            "u=1, x=:=aG:",
            "u=1, x=%",
            "u=1, x=%\"f%C3%BC\"",
            "u=1, x=%\"f%c3\"",
            "u=1, x=%\"f%c\"",
            "u=1, x=%\"f",
            "u=1, x=%\"\t\"",
            "u=1, x=(1\"a\")",
        ] {
            assert_eq!(urgency(line), Err(Malformed), "{line}");
        }
        assert_eq!(Priority::default().urgency(), 3);
    }
}
