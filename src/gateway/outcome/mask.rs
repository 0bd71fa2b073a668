//! Masking a UserSig inside an answer, as the answer passes by.
//!
//! Something between here and Tencent may echo the URL of a call in its answer, and the UserSig with it. What comes
//! in are an answer's pieces; what goes out are the same bytes, but for asterisks in place of the UserSig, as many as
//! it had bytes. It is found in the form in which it was sent, and also with its own `*` percent-encoded. Its first
//! half alone is masked too, and as much as there is: servers cut what they quote, and a UserSig that lacks only its
//! end can be completed, since that is a checksum. A piece in which nothing is found goes out as it came, without a
//! copy.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Masks one UserSig in one answer. It holds it as whoever makes it does, so that no copy of it is made for that.
pub struct Masker<S> {
    usersig: S,
    /// So many bytes of it are searched for.
    beginning: usize,
    /// Where in them a byte stands that is rare in answers.
    rare: usize,
    /// The end of the last piece, if it may belong to the UserSig.
    held: Bytes,
}

impl<S: AsRef<str>> Masker<S> {
    /// For answers in which this UserSig must not be seen.
    #[must_use]
    pub fn new(usersig: S) -> Self {
        let bytes = usersig.as_ref().as_bytes();
        let longest = LONGEST_BEGINNING.min(enough(bytes));
        let beginning = bytes[..longest].iter().take_while(|&&b| b != b'*').count();
        let rare = bytes[..beginning].iter().position(u8::is_ascii_uppercase).unwrap_or(0);
        Self { usersig, beginning, rare, held: Bytes::new() }
    }

    /// Takes the next piece and gives what can be passed on. Less than the UserSig's length is held back, with its
    /// `*` counted as three bytes.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.usersig().is_empty() {
            return piece;
        }
        let bytes = if self.held.is_empty() { piece } else { joined(&self.held, &piece) };
        self.pass_on(bytes, false)
    }

    /// Gives what was held back, now that the answer has ended.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        self.pass_on(held, true)
    }

    fn pass_on(&mut self, mut bytes: Bytes, ended: bool) -> Bytes {
        let found = self.search(&bytes, ended);
        self.held = bytes.split_off(found.end);
        masked(bytes, &found.places)
    }

    /// Every place where the UserSig stands, from left to right. Unless the answer has `ended`, the search stops at a
    /// place where the bytes end before it is clear.
    fn search(&self, bytes: &[u8], ended: bool) -> Found {
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(next) =
            self.find(&bytes[at..]).map(|next| at + next).filter(|&next| next < bytes.len())
        {
            let found = self.match_at(&bytes[next..]);
            if found.open && !ended {
                return Found { places, end: next };
            }
            if found.characters >= enough(self.usersig()) {
                places.push((next, found.bytes));
                at = next + found.bytes;
            } else {
                at = next + 1;
            }
        }
        // The end of the piece may cut even the beginning.
        let beginning = self.beginning();
        let from = at.max((bytes.len() + 1).saturating_sub(beginning.len()));
        let begins = |place: usize| bytes[place] == beginning[0] && beginning.starts_with(&bytes[place..]);
        let cut = (from..bytes.len()).find(|&place| !ended && begins(place));
        Found { places, end: cut.unwrap_or(bytes.len()) }
    }

    /// Where the UserSig begins in `bytes`, if anywhere.
    ///
    /// A searcher for several bytes at once takes longer to be made, for each answer anew, than the search takes in most
    /// answers, in which the `J` of a UserSig's `eJ` hardly ever stands.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let beginning = self.beginning();
        let Some(rare) = beginning.get(self.rare) else { return Some(0) };
        memchr::memchr_iter(*rare, bytes.get(self.rare..)?).find(|&at| bytes[at..].starts_with(beginning))
    }

    fn beginning(&self) -> &[u8] {
        &self.usersig()[..self.beginning]
    }

    fn usersig(&self) -> &[u8] {
        self.usersig.as_ref().as_bytes()
    }

    /// How much of the UserSig stands at the beginning of `bytes`.
    fn match_at(&self, bytes: &[u8]) -> Match {
        let mut rest = bytes;
        let mut characters = 0;
        let mut open = false;
        for &expected in self.usersig() {
            let forms: &[&[u8]] = if expected == b'*' { &[b"*", b"%2A", b"%2a"] } else { &[&[expected]] };
            let Some(behind) = forms.iter().find_map(|form| rest.strip_prefix(*form)) else {
                open = forms.iter().any(|form| form.starts_with(rest));
                break;
            };
            rest = behind;
            characters += 1;
        }
        Match { characters, bytes: bytes.len() - rest.len(), open }
    }
}

/// How much of a UserSig stands at one place.
struct Match {
    /// So many of its characters,
    characters: usize,
    /// which take so many bytes.
    bytes: usize,
    /// Whether the bytes ended before it was clear how many.
    open: bool,
}

/// What a search found.
struct Found {
    /// Where the UserSig stands, and in how many bytes.
    places: Vec<(usize, usize)>,
    /// Where it may begin without being complete, else the end.
    end: usize,
}

/// From how many characters on a part of the UserSig is masked: half of them.
fn enough(usersig: &[u8]) -> usize {
    usersig.len().div_ceil(2)
}

/// A search for so many bytes finds little else, and looks no further than needed.
const LONGEST_BEGINNING: usize = 16;

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

impl<S> fmt::Debug for Masker<S> {
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
            let mut behind = rest;
            let matching = usersig.iter().take_while(|&&b| {
                let forms = if b == b'*' {
                    vec!["*", "%2a", "%2A"]
                } else {
                    vec![std::str::from_utf8(std::slice::from_ref(&b)).unwrap()]
                };
                let stripped = forms.iter().find_map(|form| behind.strip_prefix(form.as_bytes()));
                behind = stripped.unwrap_or(behind);
                stripped.is_some()
            });
            if matching.count() * 2 >= usersig.len().max(1) {
                out.resize(out.len() + rest.len() - behind.len(), b'*');
                rest = behind;
            } else {
                out.push(first);
                rest = &rest[1..];
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
    fn half_of_it_is_masked_and_less_passes() {
        let half = USERSIG.len().div_ceil(2);
        for shown in 0..USERSIG.len() {
            let part = &USERSIG[..shown];
            let expected = if shown < half { part.to_string() } else { "*".repeat(shown) };
            assert_eq!(masked_in(USERSIG, &[part.as_bytes()]), expected);
            assert_eq!(masked_in(USERSIG, &[format!("x{part}...").as_bytes()]), format!("x{expected}..."));
        }
    }

    #[test]
    fn what_only_resembles_it_passes() {
        let almost = format!("{}X {} %2A {}", &USERSIG[..14], USERSIG.to_lowercase(), &USERSIG[1..]);
        assert_eq!(masked_in(USERSIG, &[almost.as_bytes()]), almost);
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
