//! Rust source as tokens: as much of the language as it takes to read imports without being fooled by comments,
//! texts, characters and lifetimes.

/// One word or sign; a text or character literal is the token `""`, whatever it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
}

/// The tokens of `source`, comments left out.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while !rest.is_empty() {
        let (text, length) = next(rest);
        if let Some(text) = text {
            found.push(Token { text, line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The token at the start of `rest`, if one starts there, and how far it reaches in bytes.
fn next(rest: &str) -> (Option<&str>, usize) {
    if rest.starts_with("//") {
        return (None, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (None, block_comment(rest));
    }
    if let Some(length) = text_literal(rest).or_else(|| character_literal(rest)) {
        return (Some("\"\""), length);
    }
    let word = word_length(rest.strip_prefix("r#").unwrap_or(rest));
    if word > 0 {
        let start = if rest.starts_with("r#") { 2 } else { 0 };
        return (Some(&rest[start..start + word]), start + word);
    }
    if rest.starts_with("::") {
        return (Some("::"), 2);
    }
    let sign = rest.chars().next().map_or(0, char::len_utf8);
    (Some(&rest[..sign]).filter(|sign| !sign.trim().is_empty()), sign)
}

/// The length of a comment in `/*` and `*/`, which may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a text in quotes, raw or not, with its prefix.
fn text_literal(rest: &str) -> Option<usize> {
    let prefix =
        ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| rest.starts_with(prefix)).unwrap_or("");
    let raw = prefix.ends_with('r');
    let body = &rest[prefix.len()..];
    let hashes = if raw { body.bytes().take_while(|&b| b == b'#').count() } else { 0 };
    let inside = body[hashes..].strip_prefix('"')?;
    let opened = prefix.len() + hashes + 1;
    let length = if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        inside.find(&end).map_or(inside.len(), |at| at + end.len())
    } else {
        end_of_escaped(inside, '"')
    };
    Some(opened + length)
}

/// The length of a character in quotes; `None` for a lifetime.
fn character_literal(rest: &str) -> Option<usize> {
    let prefix = usize::from(rest.starts_with("b'"));
    let inside = rest[prefix..].strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let is_character = first == '\\' || inside[first.len_utf8()..].starts_with('\'');
    is_character.then(|| prefix + 1 + end_of_escaped(inside, '\''))
}

/// Up to and with the first `quote` that no backslash escapes.
fn end_of_escaped(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    inside.len()
}

fn word_length(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

#[test]
fn what_looks_like_code_in_comments_and_texts_is_none() {
    let source = r###"
a // use crate::b;
/* c /* d */ "e */ f::g "h \" i" r#"j " k"# 'l' '\'' 'm: b'n' r#type b"o" é
"###;
    let texts: Vec<_> = tokens(source).iter().map(|token| token.text).collect();
    assert_eq!(
        texts,
        ["a", "f", "::", "g", "\"\"", "\"\"", "\"\"", "\"\"", "'", "m", ":", "\"\"", "type", "\"\"", "é"]
    );
}

#[test]
fn tokens_know_their_line() {
    let lines: Vec<_> = tokens("a\n/*\n*/ b\n\"\n\" c").iter().map(|token| token.line).collect();
    assert_eq!(lines, [1, 3, 4, 5]);
}
