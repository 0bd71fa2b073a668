//! Masking a UserSig inside an answer, as the answer passes by.
//!
//! Something between here and Tencent may echo the URL of a call in its answer, and the UserSig with it. What comes
//! in are an answer's pieces; what goes out are the same bytes, but for asterisks in place of the UserSig, as many as
//! it had bytes. It is found in the form in which it was sent, and also with its own `*` percent-encoded. A piece in
//! which nothing is found goes out as it came, without a copy.

use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// Masks one UserSig in one answer.
pub struct Masker {
    usersig: Box<[u8]>,
    /// What of the UserSig stands before its first `*`, prepared for the search.
    head: Finder<'static>,
    /// The end of the last piece, if it may be the beginning of the UserSig.
    held: Bytes,
}

/// How a UserSig and the bytes at one place go together.
enum Match {
    /// It stands there, in so many bytes.
    Whole(usize),
    /// So far it does, and then the bytes end.
    Begun,
    /// It does not stand there.
    Not,
}

impl Masker {
    /// For answers in which this UserSig must not be seen.
    #[must_use]
    pub fn new(usersig: &str) -> Self {
        let usersig = usersig.as_bytes();
        let head = usersig.split(|&b| b == b'*').next().unwrap_or_default();
        Self { head: Finder::new(head).into_owned(), usersig: usersig.into(), held: Bytes::new() }
    }

    /// Takes the next piece and gives what can be passed on. Less than the UserSig's length is held back, with its
    /// `*` counted as three bytes.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.usersig.is_empty() {
            return piece;
        }
        let mut bytes = if self.held.is_empty() { piece } else { joined(&self.held, &piece) };
        let found = self.search(&bytes);
        self.held = bytes.split_off(found.end);
        masked(bytes, &found.whole)
    }

    /// Gives what was held back, now that the answer has ended.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let mut rest = BytesMut::new();
        // What was held began like the UserSig and did not end like it; only behind its first byte can one stand.
        while !self.held.is_empty() {
            let first = self.held.split_to(1);
            rest.extend_from_slice(&first);
            let behind = std::mem::take(&mut self.held);
            rest.extend_from_slice(&self.feed(behind));
        }
        rest.freeze()
    }

    /// Every place where the UserSig stands, from left to right, up to a place where it may have begun.
    fn search(&self, bytes: &[u8]) -> Found {
        let mut whole = Vec::new();
        let mut at = 0;
        while let Some(next) =
            self.head.find(&bytes[at..]).map(|next| at + next).filter(|&next| next < bytes.len())
        {
            match self.match_at(&bytes[next..]) {
                Match::Whole(len) => {
                    whole.push((next, len));
                    at = next + len;
                }
                Match::Begun => return Found { whole, end: next },
                Match::Not => at = next + 1,
            }
        }
        // The end of the piece may cut even the head.
        let from = at.max((bytes.len() + 1).saturating_sub(self.head.needle().len()));
        let end = (from..bytes.len()).find(|&place| self.head.needle().starts_with(&bytes[place..]));
        Found { whole, end: end.unwrap_or(bytes.len()) }
    }

    /// Whether the UserSig stands at the beginning of `bytes`.
    fn match_at(&self, bytes: &[u8]) -> Match {
        let mut rest = bytes;
        for &expected in &self.usersig {
            let forms: &[&[u8]] = if expected == b'*' { &[b"*", b"%2A", b"%2a"] } else { &[&[expected]] };
            match forms.iter().find_map(|form| rest.strip_prefix(*form)) {
                Some(behind) => rest = behind,
                None if forms.iter().any(|form| form.starts_with(rest)) => return Match::Begun,
                None => return Match::Not,
            }
        }
        Match::Whole(bytes.len() - rest.len())
    }
}

/// What a search found.
struct Found {
    /// Where the UserSig stands, and in how many bytes.
    whole: Vec<(usize, usize)>,
    /// Where it may begin without being complete, else the end.
    end: usize,
}

fn masked(bytes: Bytes, places: &[(usize, usize)]) -> Bytes {
    if places.is_empty() {
        return bytes;
    }
    let mut bytes = BytesMut::from(bytes);
    for &(at, len) in places {
        bytes[at..at + len].fill(b'*');
    }
    bytes.freeze()
}

fn joined(held: &[u8], piece: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(held.len() + piece.len());
    both.extend_from_slice(held);
    both.extend_from_slice(piece);
    both.freeze()
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USERSIG: &str = "eJwtzM0KgkAAxPF32XPY*rfTn-_C-*_";

    fn masked_in(usersig: &str, pieces: &[&[u8]]) -> String {
        let mut masker = Masker::new(usersig);
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&masker.feed(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&masker.finish());
        String::from_utf8(out).unwrap()
    }

    /// The whole at once, place by place.
    fn naively(usersig: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let mut behind = Some(rest);
            for &b in usersig {
                behind = behind.and_then(|behind| match b {
                    b'*' => [&b"*"[..], b"%2a", b"%2A"].iter().find_map(|form| behind.strip_prefix(*form)),
                    _ => behind.strip_prefix(&[b]),
                });
            }
            match behind {
                Some(behind) if !usersig.is_empty() => {
                    out.resize(out.len() + rest.len() - behind.len(), b'*');
                    rest = behind;
                }
                _ => {
                    out.push(first);
                    rest = &rest[1..];
                }
            }
        }
        out
    }

    #[test]
    fn each_form_is_masked_at_its_own_length() {
        for form in [USERSIG.to_string(), USERSIG.replace('*', "%2A"), USERSIG.replacen('*', "%2a", 1)] {
            let answer = format!("{{\"url\":\"/v4/a/b?usersig={form}&random=1\"}}");
            let expected = answer.replace(&form, &"*".repeat(form.len()));
            assert_eq!(masked_in(USERSIG, &[answer.as_bytes()]), expected);
            for cut in 0..=answer.len() {
                let (a, b) = answer.as_bytes().split_at(cut);
                assert_eq!(masked_in(USERSIG, &[a, b]), expected, "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = answer.as_bytes().chunks(1).collect();
            assert_eq!(masked_in(USERSIG, &bytes), expected);
        }
    }

    #[test]
    fn what_only_resembles_it_passes() {
        let almost =
            format!("{}X {} %2A {}", &USERSIG[..20], USERSIG.to_lowercase(), USERSIG.replace('*', "%2B"));
        assert_eq!(masked_in(USERSIG, &[almost.as_bytes()]), almost);
        assert_eq!(masked_in(USERSIG, &[&USERSIG.as_bytes()[..30]]), USERSIG[..30]);
        assert_eq!(masked_in("", &[b"ab", b"", b"c"]), "abc");
    }

    #[test]
    fn a_piece_without_it_is_not_copied() {
        let mut masker = Masker::new(USERSIG);
        let piece = Bytes::from("x".repeat(1000) + "eJwt");
        let start = piece.as_ptr();
        let passed = masker.feed(piece);
        assert_eq!((passed.as_ptr(), passed.len()), (start, 1000));
        assert_eq!(&masker.feed(Bytes::from_static(b"zM"))[..], b"");
        assert_eq!(&masker.feed(Bytes::from_static(b"!"))[..], b"eJwtzM!");
        assert_eq!(&masker.finish()[..], b"");
    }

    #[test]
    fn debug_shows_no_usersig() {
        let mut masker = Masker::new(USERSIG);
        masker.feed(Bytes::from_static(b"eJwt"));
        assert_eq!(format!("{masker:?}"), "Masker(redacted)");
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_naive_way_however_it_is_cut(
            usersig in "[ab*]{0,5}",
            answer in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "%2A", "%2a", "%", "2", "%2"]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let answer = answer.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(answer.len() + 1)).collect();
            cuts.extend([0, answer.len()]);
            cuts.sort_unstable();

            let mut masker = Masker::new(&usersig);
            let longest = usersig.replace('*', "%2A").len();
            let mut out = Vec::new();
            for cut in cuts.windows(2) {
                out.extend_from_slice(&masker.feed(Bytes::copy_from_slice(&answer[cut[0]..cut[1]])));
                prop_assert!(masker.held.len() <= longest.saturating_sub(1));
            }
            out.extend_from_slice(&masker.finish());
            let expected = naively(usersig.as_bytes(), &answer);
            prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected).unwrap());
        }
    }
}
