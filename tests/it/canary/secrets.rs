//! What must not be seen, in every form in which it might be.

use std::collections::HashMap;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use flate2::read::ZlibDecoder;

/// So many bytes of a secret in a row are a leak.
const PIECE: usize = 8;

/// Known secrets, cut into pieces.
pub(crate) struct Secrets {
    /// By its beginning: each piece in one of its forms, and whose it is.
    pieces: HashMap<[u8; PIECE], Vec<(Vec<u8>, &'static str)>>,
    /// Whether a beginning may be that of a piece, by a few of its bits: a long text is searched in no time.
    may_begin: Vec<bool>,
}

impl Secrets {
    /// None are known.
    pub(crate) fn none() -> Self {
        Self { pieces: HashMap::new(), may_begin: vec![false; 1 << 16] }
    }

    /// None of this may be seen.
    pub(crate) fn add(&mut self, name: &'static str, secret: &str) {
        assert!(secret.len() >= PIECE, "{name} has no piece");
        for piece in secret.as_bytes().windows(PIECE) {
            for form in forms(piece) {
                let beginning = *form.first_chunk().unwrap();
                self.may_begin[bits(beginning)] = true;
                self.pieces.entry(beginning).or_default().push((form, name));
            }
        }
    }

    /// Neither this UserSig nor the signature in it may be seen.
    pub(crate) fn add_usersig(&mut self, usersig: &str) {
        self.add("a UserSig", usersig);
        self.add("the signature in a UserSig", &signature(usersig));
    }

    /// Whose piece stands in `text` first, and where.
    pub(crate) fn seen_in(&self, text: &[u8]) -> Option<(&'static str, usize)> {
        text.windows(PIECE).enumerate().find_map(|(at, window)| {
            let beginning = *window.first_chunk().unwrap();
            let pieces = self.may_begin[bits(beginning)].then(|| self.pieces.get(&beginning)).flatten()?;
            let (_, name) = pieces.iter().find(|(form, _)| text[at..].starts_with(form))?;
            Some((*name, at))
        })
    }

    /// Panics when a piece stands in `text`. The message quotes what is around it: all secrets here are made up.
    pub(crate) fn not_in(&self, what: &str, text: &[u8]) {
        if let Some((name, at)) = self.seen_in(text) {
            let around = &text[at.saturating_sub(200)..text.len().min(at + 50)];
            panic!("{name} is seen in {what}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

fn bits(beginning: [u8; PIECE]) -> usize {
    (u64::from_le_bytes(beginning).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
}

/// A piece as it may be written: plain, percent-encoded, in JSON's escapes, in hexadecimal digits, in base64 wherever it
/// begins, and as a list of numbers, as `Debug` writes bytes.
fn forms(piece: &[u8]) -> Vec<Vec<u8>> {
    let plain = String::from_utf8(piece.to_vec()).unwrap();
    let numbers = piece.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut forms = vec![
        plain.clone(),
        plain.replace('*', "%2A"),
        plain.replace('*', "%2a"),
        plain.replace('*', "\\u002a"),
        piece.iter().map(|byte| format!("{byte:02x}")).collect(),
        piece.iter().map(|byte| format!("{byte:02X}")).collect(),
        numbers.clone(),
        numbers.replace(", ", ","),
    ];
    for before in 0..3 {
        let padded = [&b"xx"[..before], piece].concat();
        // The digits at both ends also depend on what stands beside the piece.
        let (first, digits) = ((before * 4).div_ceil(3), padded.len() * 4 / 3);
        for engine in [STANDARD, URL_SAFE] {
            forms.push(engine.encode(&padded)[first..digits].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// The HMAC in a UserSig, in base64.
fn signature(usersig: &str) -> String {
    let deflated = STANDARD.decode(usersig.replace('*', "+").replace('-', "/").replace('_', "=")).unwrap();
    let mut json = String::new();
    ZlibDecoder::new(&deflated[..]).read_to_string(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["TLS.sig"].as_str().unwrap().to_owned()
}

#[test]
fn eight_bytes_of_a_secret_are_seen_in_every_form() {
    const SECRET: &str = "eJwtzM0KgkAUhuF7mX*YY-c_tail";
    let mut secrets = Secrets::none();
    secrets.add("it", SECRET);
    let seen = |text: &str| secrets.seen_in(text.as_bytes()).is_some();
    for from in 0..=SECRET.len() - PIECE {
        let piece = &SECRET[from..from + PIECE];
        let hex: String = piece.bytes().map(|byte| format!("{byte:02x}")).collect();
        for text in [
            format!("a line with {piece} in it"),
            format!("/v4/a/b?usersig={}&x", piece.replace('*', "%2A")),
            format!("{:?}", piece.as_bytes()),
            serde_json::to_string(piece.as_bytes()).unwrap(),
            format!("0x{hex}"),
            hex.to_uppercase(),
        ] {
            assert!(seen(&text), "{text}");
        }
        for before in ["", "a", "ab", "abc"] {
            let text = STANDARD.encode(format!("{before}{piece}some more"));
            assert!(seen(&text), "{text}");
        }
        assert!(!seen(&piece[1..]), "seven bytes are no piece");
    }
    assert!(!seen("a line without any of it: eJwtzM0 gkAUhuF"));
}
