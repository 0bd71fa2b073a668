//! The two kinds of JSON token that have a grammar of their own: numbers and words.

/// What of a number was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    /// A zero in front, behind which no digit may stand.
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// What the next byte means to a number.
pub(super) enum Step {
    /// It belongs to it.
    On(Number),
    /// It stands behind it.
    Ended,
    /// It cannot stand here, since the number is not complete.
    Broken,
}

impl Number {
    /// A number that begins with this byte.
    #[inline]
    pub(super) fn first(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Integer),
            _ => None,
        }
    }

    /// RFC 8259, section 6.
    #[inline]
    pub(super) fn step(self, byte: u8) -> Step {
        use Number::{E, Exponent, Fraction, Integer, Minus, Point, Sign, Zero};
        Step::On(match (self, byte) {
            (Integer, b'0'..=b'9') | (Minus, b'1'..=b'9') => Integer,
            (Minus, b'0') => Zero,
            (Zero | Integer, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Integer | Fraction, b'e' | b'E') => E,
            (E, b'+' | b'-') => Sign,
            (E | Sign | Exponent, b'0'..=b'9') => Exponent,
            _ if self.is_complete() => return Step::Ended,
            _ => return Step::Broken,
        })
    }

    /// Whether it may end here.
    #[inline]
    pub(super) fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}

/// A value that is a word, begun: what is to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    spelt: Spelt,
    to_come: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelt {
    True,
    False,
    Null,
}

impl Word {
    /// The word that begins with this byte.
    #[inline]
    pub(super) fn first(byte: u8) -> Option<Self> {
        match byte {
            b't' => Some(Self { spelt: Spelt::True, to_come: 3 }),
            b'f' => Some(Self { spelt: Spelt::False, to_come: 4 }),
            b'n' => Some(Self { spelt: Spelt::Null, to_come: 3 }),
            _ => None,
        }
    }

    /// What must follow.
    #[inline]
    pub(super) fn rest(self) -> &'static [u8] {
        let spelt: &[u8] = match self.spelt {
            Spelt::True => b"true",
            Spelt::False => b"false",
            Spelt::Null => b"null",
        };
        &spelt[spelt.len() - usize::from(self.to_come)..]
    }

    /// The word when its next byte has come. There must be one to come.
    pub(super) fn on(self) -> Self {
        Self { to_come: self.to_come - 1, ..self }
    }
}
