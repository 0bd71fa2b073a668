//! The grammar of JSON (RFC 8259), pushed through byte by byte and piece by piece, in constant memory.
//!
//! It checks everything but UTF-8, and reports the members of the outermost object to a [`Members`]. It is written
//! for speed where bytes are many: inside strings it takes eight at a time.

use super::swar;
use super::token::{Number, Step, Word};

/// Takes note of the members of the outermost object. What lies deeper is checked and not reported.
pub(super) trait Members {
    /// A member's name begins.
    fn name_begins(&mut self);
    /// The next piece of the name.
    fn name(&mut self, piece: Piece<'_>);
    /// The name is complete and its value begins. Whether the value's pieces are wanted.
    fn value_begins(&mut self, kind: Kind) -> bool;
    /// The next piece of a value that is wanted.
    fn value(&mut self, piece: Piece<'_>);
    /// A value that is wanted is complete.
    fn value_ends(&mut self);
}

/// A piece of a name, of a text or of a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// Bytes that stand for themselves.
    Plain(&'a [u8]),
    /// What an escape stands for: a UTF-16 unit, maybe half of a pair.
    Unit(u16),
}

/// What kind of value begins. Only of the first two there are pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Other,
}

/// Where the grammar is broken, in bytes from the beginning of the piece that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// This byte cannot stand here.
    At(usize),
    /// This byte opens one container too many.
    TooDeep(usize),
}

/// How many containers may be open at once.
pub(super) const MAX_DEPTH: u8 = 128;

/// Where in a JSON text we are.
#[derive(Debug)]
pub(super) struct Grammar {
    state: State,
    /// The open containers, the innermost in the lowest bit: 1 is an object, 0 an array.
    open: u128,
    /// How many are open.
    depth: u8,
    /// Whether the string at hand is a name.
    in_name: bool,
    /// Whether what is at hand is reported.
    reported: bool,
    root_is_object: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// A value, or the end of the array that has just begun.
    FirstElement,
    /// A name, or the end of the object that has just begun.
    FirstName,
    /// A name must come.
    Name,
    /// A colon must come.
    Colon,
    /// A value is complete: a comma, the end of its container, or at the root nothing.
    After,
    /// Inside a string.
    Text,
    /// Behind a backslash.
    Escape,
    /// Inside `\uXXXX`: how many digits are to come, and what those so far say.
    Unicode {
        to_come: u8,
        unit: u16,
    },
    Number(Number),
    /// Inside `true`, `false` or `null`.
    Word(Word),
}

// === impl Grammar ===

impl Grammar {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value,
            open: 0,
            depth: 0,
            in_name: false,
            reported: false,
            root_is_object: false,
        }
    }

    /// Reads on.
    pub(super) fn push(&mut self, bytes: &[u8], members: &mut impl Members) -> Result<(), Broken> {
        let mut at = 0;
        while at < bytes.len() {
            at = match self.state {
                State::Text => self.text(bytes, at, members)?,
                State::Number(number) => self.number(number, bytes, at, members)?,
                State::Escape => self.escape(bytes[at], at, members)?,
                State::Unicode { to_come, unit } => self.unicode(to_come, unit, bytes[at], at, members)?,
                State::Word(word) => self.word(word, bytes, at)?,
                _ => self.structure(bytes, at, members)?,
            };
        }
        Ok(())
    }

    /// Whether nothing but white space was read.
    pub(super) fn is_blank(&self) -> bool {
        self.state == State::Value && self.depth == 0
    }

    /// Whether the text may end here.
    pub(super) fn is_complete(&self) -> bool {
        let value_is_complete = match self.state {
            State::After => true,
            State::Number(number) => number.is_complete(),
            _ => false,
        };
        self.depth == 0 && value_is_complete
    }

    /// Whether the outermost value is an object.
    pub(super) fn is_object(&self) -> bool {
        self.root_is_object
    }

    /// White space and what holds values together, up to the first byte of a string, a number or a word.
    #[inline]
    fn structure(&mut self, bytes: &[u8], from: usize, members: &mut impl Members) -> Result<usize, Broken> {
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            match (self.state, byte) {
                (_, b' ' | b'\n' | b'\r' | b'\t') => {}
                (State::After, b',') if self.in_object() => self.state = State::Name,
                (State::After, b',') if self.in_array() => self.state = State::Value,
                (State::Name | State::FirstName, b'"') => {
                    self.name_begins(members);
                    return Ok(at + 1);
                }
                (State::Colon, b':') => self.state = State::Value,
                (State::After | State::FirstName, b'}') if self.in_object() => self.close(),
                (State::After | State::FirstElement, b']') if self.in_array() => self.close(),
                (State::Value | State::FirstElement, b'{' | b'[') => self.open(byte == b'{', at, members)?,
                (State::Value | State::FirstElement, _) => {
                    self.value_begins(byte, members).ok_or(Broken::At(at))?;
                    return Ok(at + 1);
                }
                _ => return Err(Broken::At(at)),
            }
            at += 1;
        }
        Ok(at)
    }

    #[inline]
    fn name_begins(&mut self, members: &mut impl Members) {
        self.state = State::Text;
        self.in_name = true;
        self.reported = self.at_top();
        if self.reported {
            members.name_begins();
        }
    }

    /// The first byte of a value that is no container, unless it is none.
    #[inline]
    fn value_begins(&mut self, byte: u8, members: &mut impl Members) -> Option<()> {
        let (state, kind) = if byte == b'"' {
            (State::Text, Kind::Text)
        } else if let Some(number) = Number::first(byte) {
            (State::Number(number), Kind::Number)
        } else {
            (State::Word(Word::first(byte)?), Kind::Other)
        };
        self.state = state;
        self.in_name = false;
        self.reported = self.at_top() && members.value_begins(kind);
        if self.reported && kind == Kind::Number {
            members.value(Piece::Plain(&[byte]));
        }
        Some(())
    }

    /// The inside of a string, up to its end or to an escape.
    #[inline]
    fn text(&mut self, bytes: &[u8], from: usize, members: &mut impl Members) -> Result<usize, Broken> {
        let at = swar::find_special(bytes, from);
        if self.reported {
            self.report(Piece::Plain(&bytes[from..at]), members);
        }
        match bytes.get(at) {
            None => {}
            Some(b'"') if self.in_name => {
                // Nearly always the colon comes at once.
                let colon = bytes.get(at + 1) == Some(&b':');
                self.state = if colon { State::Value } else { State::Colon };
                return Ok(at + 1 + usize::from(colon));
            }
            Some(b'"') => {
                self.state = State::After;
                if self.reported {
                    members.value_ends();
                }
            }
            Some(b'\\') => self.state = State::Escape,
            Some(_) => return Err(Broken::At(at)), // a control character must be escaped
        }
        Ok(at + 1)
    }

    fn escape(&mut self, byte: u8, at: usize, members: &mut impl Members) -> Result<usize, Broken> {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.state = State::Unicode { to_come: 4, unit: 0 };
                return Ok(at + 1);
            }
            _ => return Err(Broken::At(at)),
        };
        self.state = State::Text;
        self.report(Piece::Unit(plain.into()), members);
        Ok(at + 1)
    }

    fn unicode(
        &mut self,
        to_come: u8,
        unit: u16,
        byte: u8,
        at: usize,
        members: &mut impl Members,
    ) -> Result<usize, Broken> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(Broken::At(at)),
        };
        let unit = unit << 4 | u16::from(digit);
        if to_come == 1 {
            self.state = State::Text;
            self.report(Piece::Unit(unit), members);
        } else {
            self.state = State::Unicode { to_come: to_come - 1, unit };
        }
        Ok(at + 1)
    }

    /// The rest of a number. What ends it is not part of it, and is read by `structure`.
    #[inline]
    fn number(
        &mut self,
        mut number: Number,
        bytes: &[u8],
        from: usize,
        members: &mut impl Members,
    ) -> Result<usize, Broken> {
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            match number.step(byte) {
                Step::On(next) => number = next,
                Step::Ended => {
                    self.state = State::After;
                    if self.reported {
                        members.value(Piece::Plain(&bytes[from..at]));
                        members.value_ends();
                    }
                    return Ok(at);
                }
                Step::Broken => return Err(Broken::At(at)),
            }
            at += 1;
        }
        self.state = State::Number(number);
        if self.reported {
            members.value(Piece::Plain(&bytes[from..]));
        }
        Ok(at)
    }

    /// The rest of a word, which nearly always is there in one piece.
    #[inline]
    fn word(&mut self, word: Word, bytes: &[u8], at: usize) -> Result<usize, Broken> {
        let rest = word.rest();
        if bytes[at..].starts_with(rest) {
            self.state = State::After;
            return Ok(at + rest.len());
        }
        if bytes[at] != rest[0] {
            return Err(Broken::At(at));
        }
        self.state = State::Word(word.on());
        Ok(at + 1)
    }

    fn report(&self, piece: Piece<'_>, members: &mut impl Members) {
        match (self.reported, self.in_name) {
            (false, _) => {}
            (true, true) => members.name(piece),
            (true, false) => members.value(piece),
        }
    }

    #[inline]
    fn open(&mut self, object: bool, at: usize, members: &mut impl Members) -> Result<(), Broken> {
        if self.depth == MAX_DEPTH {
            return Err(Broken::TooDeep(at));
        }
        if self.depth == 0 {
            self.root_is_object = object;
        }
        if self.at_top() {
            members.value_begins(Kind::Other);
        }
        self.depth += 1;
        self.open = self.open << 1 | u128::from(object);
        self.state = if object { State::FirstName } else { State::FirstElement };
        Ok(())
    }

    #[inline]
    fn close(&mut self) {
        self.depth -= 1;
        self.open >>= 1;
        self.state = State::After;
    }

    /// Whether the innermost container is an object. Where none is open, no bit is set.
    #[inline]
    fn in_object(&self) -> bool {
        self.open & 1 == 1
    }

    #[inline]
    fn in_array(&self) -> bool {
        self.depth > 0 && !self.in_object()
    }

    /// Whether we are directly inside the outermost object.
    #[inline]
    fn at_top(&self) -> bool {
        self.depth == 1 && self.in_object()
    }
}
