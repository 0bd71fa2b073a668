//! What a source file names of its own crate: by `use`, and by paths that start with `crate`, `super` or `self`.
//!
//! Items under `#[cfg(test)]` are left out, whole: tests may import anything.

use std::ops::RangeInclusive;

use super::tokens::{Token, tokens};

/// The way to a module or item from the crate's root: `["gateway", "caller", "Caller"]`.
pub(super) type Path = Vec<String>;

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) imports: Vec<Import>,
    /// The lines of items under `#[cfg(test)]`.
    pub(super) test_lines: Vec<RangeInclusive<usize>>,
    /// Modules in files of their own that exist for tests only.
    pub(super) test_modules: Vec<Path>,
}

/// One mention of something in the crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    /// The module that mentions it.
    pub(super) from: Path,
    pub(super) to: Path,
}

/// Reads the file that is `module`.
pub(super) fn read(module: &[String], source: &str) -> Contents {
    let mut reader = Reader {
        tokens: tokens(source),
        at: 0,
        module: module.to_vec(),
        inline: Vec::new(),
        depth: 0,
        contents: Contents::default(),
    };
    while reader.at < reader.tokens.len() {
        reader.step();
    }
    reader.contents
}

/// Where a path has led so far.
#[derive(Debug, Clone)]
enum Way {
    Start,
    /// To another crate, or to something that is in scope already.
    Outside,
    Inside(Path),
}

impl Way {
    /// One name further, in `module`.
    fn then(self, name: &str, module: &[String]) -> Self {
        let mut path = match (self, name) {
            (Self::Start, "crate" | "usersig_gateway") => return Self::Inside(Vec::new()),
            (Self::Start, "self" | "super") => module.to_vec(),
            (Self::Start | Self::Outside, _) => return Self::Outside,
            (Self::Inside(path), _) => path,
        };
        match name {
            "super" => _ = path.pop(),
            // `a::{self}` is `a`.
            "self" => {}
            name => path.push(name.to_owned()),
        }
        Self::Inside(path)
    }
}

struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    /// The module at this point, those written inside the file included.
    module: Path,
    /// How many braces were open where each module inside the file began.
    inline: Vec<usize>,
    depth: usize,
    contents: Contents,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.sees(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            self.skip_test_item();
        } else if self.sees(&["use"]) {
            self.at += 1;
            self.use_tree(Way::Start);
        } else if self.sees(&["mod"]) && self.text(2) == "{" {
            self.module.push(self.text(1).to_owned());
            self.inline.push(self.depth);
            self.depth += 1;
            self.at += 3;
        } else if self.sees(&["pub", "(", "in"]) {
            // A visibility names a module above without using anything of it.
            self.at += 3;
            self.names(Way::Start);
        } else if self.starts_path() {
            let way = self.names(Way::Start);
            self.mention(way);
        } else {
            match self.text(0) {
                "{" => self.depth += 1,
                "}" => self.close(),
                _ => {}
            }
            self.at += 1;
        }
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.inline.last() == Some(&self.depth) {
            self.inline.pop();
            self.module.pop();
        }
    }

    /// Whether a path into the crate starts here; the words in front rule out a path that goes on.
    fn starts_path(&self) -> bool {
        let head = matches!(self.text(0), "crate" | "super" | "self" | "usersig_gateway");
        head && self.text(1) == "::" && (self.at == 0 || self.tokens[self.at - 1].text != "::")
    }

    /// Reads `a::b::c` as far as single names go, from where `way` has led so far.
    fn names(&mut self, mut way: Way) -> Way {
        while is_name(self.text(0)) {
            way = way.then(self.text(0), &self.module);
            self.at += 1;
            if self.text(0) != "::" {
                break;
            }
            self.at += 1;
        }
        way
    }

    /// Reads one branch of a `use`: names, and behind them `{…}`, `*`, `as name`, or nothing.
    fn use_tree(&mut self, trunk: Way) {
        let way = self.names(trunk);
        match self.text(0) {
            "{" => {
                self.at += 1;
                while !matches!(self.text(0), "}" | "") {
                    self.use_tree(way.clone());
                    // Past the comma, or whatever a macro writes there.
                    self.at += usize::from(self.text(0) != "}");
                }
                self.at += 1;
            }
            "*" => {
                self.mention(way.then("*", &self.module));
                self.at += 1;
            }
            "as" => {
                self.mention(way);
                self.at += 2;
            }
            _ => self.mention(way),
        }
    }

    fn mention(&mut self, way: Way) {
        if let Way::Inside(to) = way {
            // The token before ends the name.
            let line = self.tokens[self.at - 1].line;
            self.contents.imports.push(Import { line, from: self.module.clone(), to });
        }
    }

    fn skip_test_item(&mut self) {
        let first_line = self.tokens[self.at].line;
        while self.sees(&["#", "["]) {
            self.skip_brackets();
        }
        if self.sees(&["pub"]) {
            self.at += 1;
            if self.text(0) == "(" {
                self.skip_brackets();
            }
        }
        if self.sees(&["mod"]) && self.text(2) == ";" {
            let mut module = self.module.clone();
            module.push(self.text(1).to_owned());
            self.contents.test_modules.push(module);
        }
        let is_use = self.sees(&["use"]);
        let is_item = ITEMS.contains(&self.text(0));
        loop {
            match self.text(0) {
                ";" => {
                    self.at += 1;
                    break;
                }
                "," if !is_item => {
                    self.at += 1;
                    break;
                }
                "}" | "" => break,
                "{" if !is_use => {
                    self.skip_brackets();
                    break;
                }
                "(" | "[" | "{" => self.skip_brackets(),
                _ => self.at += 1,
            }
        }
        let last_line = self.tokens[self.at.min(self.tokens.len()) - 1].line;
        self.contents.test_lines.push(first_line..=last_line);
    }

    /// Goes past a bracket that opens here (or behind a `#`) and the one that closes it.
    fn skip_brackets(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && self.tokens[self.at - 1].text != "#" {
                return;
            }
        }
    }

    fn sees(&self, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(offset, &text)| self.text(offset) == text)
    }

    /// The token so far ahead; empty behind the end.
    fn text(&self, offset: usize) -> &str {
        self.tokens.get(self.at + offset).map_or("", |token| token.text)
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text != "as"
}

const ITEMS: [&str; 13] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "use",
];

mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split("::").map(str::to_owned).collect()
    }

    fn found(source: &str) -> Vec<String> {
        let contents = read(&path("gateway::target::apps"), source);
        contents.imports.iter().map(|import| import.to.join("::")).collect()
    }

    #[test]
    fn every_form_of_use_is_read() {
        for (source, expected) in [
            ("use crate::model::api::ApiName;", vec!["model::api::ApiName"]),
            ("pub(crate) use crate::a as b;", vec!["a"]),
            ("use crate::{a, b::{self, c::*}, d::e as f,};", vec!["a", "b", "b::c::*", "d::e"]),
            ("use {crate::a, std::fmt, super::b};", vec!["a", "gateway::target::b"]),
            ("use super::super::policy;", vec!["gateway::policy"]),
            ("use super::{App, self};", vec!["gateway::target::App", "gateway::target"]),
            ("use self::inner::X;", vec!["gateway::target::apps::inner::X"]),
            ("use std::{fmt, io::{self, Read}}; use http::Uri;", vec![]),
            ("use crate::*;", vec!["*"]),
        ] {
            assert_eq!(found(source), expected, "{source}");
        }
    }

    #[test]
    fn paths_in_the_code_are_read() {
        for (source, expected) in [
            ("fn a(b: crate::c::D) -> super::E<crate::f::G> {}", vec!["c::D", "gateway::target::E", "f::G"]),
            ("let x = crate::a::b::<C>(self::d());", vec!["a::b", "gateway::target::apps::d"]),
            ("macro_rules! m { () => { $crate::a::b!() } }", vec!["a::b"]),
            ("pub(in crate::gateway) fn a() {}", vec![]),
            ("pub(crate) fn a(&self) { self.b(); Self::c() }", vec![]),
            ("// crate::a::b\nlet text = \"crate::a::b\";", vec![]),
            (
                "mod inner { fn a() { super::super::b() } } use super::c;",
                vec!["gateway::target::b", "gateway::target::c"],
            ),
        ] {
            assert_eq!(found(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_for_tests_is_left_out() {
        let source = "
use crate::a;
#[cfg(test)]
#[allow(dead_code)]
pub(crate) mod tests {
    use crate::b;
}
#[cfg(test)]
use crate::{c, d};
struct S { #[cfg(test)] e: crate::e::E, f: crate::f::F }
#[cfg(test)] impl<A, B> S { fn g() { crate::g::h() } }
#[cfg(test)]
mod far;
use crate::z;
";
        assert_eq!(found(source), ["a", "f::F", "z"]);
        let contents = read(&path("net"), source);
        assert_eq!(contents.test_modules, [path("net::far")]);
        assert_eq!(contents.test_lines, [3..=7, 8..=9, 10..=10, 11..=11, 12..=13]);
    }

    #[test]
    fn an_import_knows_its_line_and_module() {
        let contents = read(&path("net"), "mod inner {\n use\n crate::a;\n}\nuse crate::b;");
        let places: Vec<_> = contents.imports.iter().map(|i| (i.line, i.from.join("::"))).collect();
        assert_eq!(places, [(3, "net::inner".to_owned()), (5, "net".to_owned())]);
    }
}
