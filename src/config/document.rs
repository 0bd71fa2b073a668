//! The file as a tree of values, each with its place, before anybody asks what the keys mean.
//!
//! Overrides from the environment are laid over the tree, so that the reader meets one kind of value only. An override
//! stays a text until the reader knows which type its key has.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::problem::{Fault, Place, quote};

/// A value as it was written.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
    /// A text from the environment, of whatever type its key has.
    Override(String),
}

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A table, by key.
pub(super) type Table = BTreeMap<String, Node>;

/// Reads a TOML text. The problem of one that is no TOML has a line, and quotes nothing of it.
pub(super) fn parse(text: &str) -> Result<Table, (Place, Fault)> {
    let lines = Lines::of(text);
    let root = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(Place::File, |span| lines.place(span.start));
        // Not the error's own Display, which quotes the line: it may hold a secret.
        (place, Fault::NoToml(format!("this is no TOML: {}", error.message())))
    })?;
    lines.table(root.get_ref())
}

/// Lays the value of one environment variable over the value at `path`.
pub(super) fn overlay(root: &mut Table, path: &[String], variable: &str, value: &str) -> Result<(), Fault> {
    let place = Place::Variable(variable.into());
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut table = root;
    for part in parents {
        let new = || Node { place: place.clone(), value: Value::Table(Table::new()) };
        table = match &mut table.entry(part.clone()).or_insert_with(new).value {
            Value::Table(inner) => inner,
            Value::List(_) => {
                return Err(Fault::Remark("the environment cannot override what is in a list".into()));
            }
            other => return Err(Fault::found(other.describe(), "a table")),
        };
    }
    table.insert(last.clone(), Node { place, value: Value::Override(value.to_owned()) });
    Ok(())
}

// === impl Value ===

impl Value {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Override(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Override(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            // Exact up to 2^53; larger ones are beyond every bound here.
            Self::Integer(number) => Some(*number as f64),
            Self::Override(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Override(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// What was found, for a problem.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) | Self::Override(text) => quote(text),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Boolean(value) => value.to_string(),
            Self::Date => "a date or time".into(),
            Self::List(_) => "a list".into(),
            Self::Table(_) => "a table".into(),
        }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

// === impl Lines ===

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, b)| b == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect())
    }

    fn place(&self, offset: usize) -> Place {
        Place::Line(self.0.partition_point(|&start| start <= offset))
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Table, (Place, Fault)> {
        let nodes = table.iter().map(|(key, value)| {
            Ok((key.get_ref().to_string(), self.node(self.place(key.span().start), value)?))
        });
        nodes.collect()
    }

    fn list(&self, list: &DeArray<'_>) -> Result<Vec<Node>, (Place, Fault)> {
        list.iter().map(|value| self.node(self.place(value.span().start), value)).collect()
    }

    /// The value at `place`. The depth is bounded by the parser.
    fn node(&self, place: Place, value: &Spanned<DeValue<'_>>) -> Result<Node, (Place, Fault)> {
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => Value::Integer(to_i64(integer).ok_or_else(|| {
                (place.clone(), Fault::NoToml("this is no TOML: an integer has at most 64 bits".into()))
            })?),
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::List(self.list(list)?),
            DeValue::Table(table) => Value::Table(self.table(table)?),
        };
        Ok(Node { place, value })
    }
}

fn to_i64(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_line() {
        let table = parse("a = 1\n[b]\nc = [\n  'x',\n  'y',\n]\n[[d]]\n[[d]]\nf.g = 0x10\n").unwrap();
        assert_eq!(table["a"].place, Place::Line(1));
        assert_eq!(table["b"].place, Place::Line(2));
        let Value::Table(b) = &table["b"].value else { panic!("b is a table") };
        let Value::List(c) = &b["c"].value else { panic!("c is a list") };
        assert_eq!((&c[0].place, &c[1].place), (&Place::Line(4), &Place::Line(5)));
        let Value::List(d) = &table["d"].value else { panic!("d is a list") };
        assert_eq!((&d[0].place, &d[1].place), (&Place::Line(7), &Place::Line(8)));
        let Value::Table(second) = &d[1].value else { panic!("d[1] is a table") };
        let Value::Table(f) = &second["f"].value else { panic!("f is a table") };
        assert!(matches!(f["g"], Node { place: Place::Line(9), value: Value::Integer(16) }));
    }

    #[test]
    fn a_text_that_is_no_toml_has_its_line_and_is_not_quoted() {
        for (text, line) in [("a = 1\nb = FAKEKEY\n", 2), ("a = 1\na = 2", 2), ("x = \"\n", 1), ("[a", 1)] {
            let (place, fault) = parse(text).unwrap_err();
            assert_eq!(place, Place::Line(line), "{text}");
            assert!(!fault.to_string().contains("FAKEKEY"), "{fault}");
        }
        let (place, fault) = parse("\na = 99999999999999999999").unwrap_err();
        assert_eq!(
            (place, fault.to_string()),
            (Place::Line(2), "this is no TOML: an integer has at most 64 bits".into())
        );
    }
}
