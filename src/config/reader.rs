//! Reads typed values out of the tree and collects what is wrong instead of stopping at it.
//!
//! A table's keys are a type that implements [`Keys`]; each of its fields is an [`Entry`]: a [`Field`] with a
//! [`Scalar`], a [`List`] of those, a table, [`Tables`] or a [`Named`] map. Whatever a table holds beyond the keys that
//! were asked for is an unknown key.

use std::collections::BTreeSet;

use super::document::{Node, Table, Value};
use super::findings::{Findings, Spot, join};
use super::problem::{Fault, Place};

/// A value of one word: a text, a number, a truth value, or what is written as one.
pub(super) trait Scalar: Sized {
    /// Reads the value; the error says what is wanted instead.
    fn read(value: &Value) -> Result<Self, String>;
}

/// The keys of one kind of table.
pub(super) trait Keys: Sized {
    fn read(table: &mut TableReader<'_>) -> Self;
}

/// What may stand at a key.
pub(super) trait Entry: Sized {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self;
}

/// A value with its spot.
#[derive(Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A value that need not be there.
#[derive(Debug)]
pub(super) enum Field<T> {
    Absent,
    /// It was there, and a problem has been told: no further ones should follow from it.
    Wrong,
    Given(At<T>),
}

/// A list of words.
#[derive(Debug)]
pub(super) struct List<T> {
    /// Those that are right; a problem was told of each other one.
    pub(super) good: Vec<At<T>>,
    /// How many are written.
    pub(super) written: usize,
}

/// A list of tables, as `[[app]]` is.
#[derive(Debug)]
pub(super) struct Tables<T>(pub(super) Vec<At<T>>);

/// A table whose keys are names, as `[ceiling.api]` is.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(String, At<T>)>);

/// Reads the whole tree.
pub(super) fn read<T: Keys>(root: &Table, findings: &mut Findings) -> T {
    read_table(Some(root), Spot { key: String::new(), place: Place::File }, findings)
}

fn read_table<T: Keys>(table: Option<&Table>, spot: Spot, findings: &mut Findings) -> T {
    let mut reader = TableReader { table, spot, findings, asked: BTreeSet::new() };
    let keys = T::read(&mut reader);
    reader.report_the_rest();
    keys
}

/// Hands out one table's values by key.
pub(super) struct TableReader<'a> {
    /// `None` when the table is absent: every key is then, too.
    table: Option<&'a Table>,
    spot: Spot,
    findings: &'a mut Findings,
    asked: BTreeSet<&'static str>,
}

// === impl TableReader ===

impl TableReader<'_> {
    /// Reads what stands at `key`.
    pub(super) fn take<E: Entry>(&mut self, key: &'static str) -> E {
        self.asked.insert(key);
        let node = self.table.and_then(|table| table.get(key));
        let place = node.map_or_else(|| self.spot.place.clone(), |node| node.place.clone());
        let spot = Spot { key: join(&self.spot.key, key), place };
        self.findings.known(&spot.key);
        E::read(node.map(|node| &node.value), spot, self.findings)
    }

    fn report_the_rest(self) {
        for (key, node) in self.table.into_iter().flatten() {
            if !self.asked.contains(key.as_str()) {
                self.findings.unknown(&self.spot.key, key, &node.place);
            }
        }
    }
}

// === impl Field, List, Tables, Named ===

impl<T> Field<T> {
    pub(super) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Wrong => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: Clone> Field<T> {
    /// The value, or `default` where none or a wrong one is given.
    pub(super) fn or(&self, default: T) -> T {
        self.given().map_or(default, |at| at.value.clone())
    }
}

impl<T: Scalar> Entry for Field<T> {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self {
        let Some(value) = value else { return Self::Absent };
        match T::read(value) {
            Ok(value) => Self::Given(At { value, spot }),
            Err(wanted) => {
                findings.problem(&spot, Fault::found(value.describe(), wanted));
                Self::Wrong
            }
        }
    }
}

impl<T: Scalar> Entry for Field<List<T>> {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self {
        let Some(value) = value else { return Self::Absent };
        let Some(nodes) = elements(value, &spot, "a list", findings) else { return Self::Wrong };
        let written = nodes.len();
        let read = |(spot, value)| match Field::read(Some(value), spot, findings) {
            Field::Given(at) => Some(at),
            Field::Absent | Field::Wrong => None,
        };
        let good = nodes.into_iter().filter_map(read).collect();
        Self::Given(At { value: List { good, written }, spot })
    }
}

impl<T: Keys> Entry for Field<Tables<T>> {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self {
        let wanted = format!("a list of tables, each written [[{}]]", spot.key);
        let Some(value) = value else { return Self::Absent };
        let Some(nodes) = elements(value, &spot, &wanted, findings) else { return Self::Wrong };
        let mut tables = Vec::new();
        for (spot, value) in nodes {
            let Some(table) = table_of(value, &spot, findings) else { return Self::Wrong };
            tables.push(At { value: read_table(Some(table), spot.clone(), findings), spot });
        }
        Self::Given(At { value: Tables(tables), spot })
    }
}

/// A table that reads the same whether it is absent or empty.
impl<T: Keys> Entry for T {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self {
        let table = value.and_then(|value| table_of(value, &spot, findings));
        read_table(table, spot, findings)
    }
}

/// A table whose presence means something.
impl<T: Keys> Entry for Option<At<T>> {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self {
        let table = table_of(value?, &spot, findings)?;
        Some(At { value: read_table(Some(table), spot.clone(), findings), spot })
    }
}

impl<T: Scalar> Entry for Named<T> {
    fn read(value: Option<&Value>, spot: Spot, findings: &mut Findings) -> Self {
        let table = value.and_then(|value| table_of(value, &spot, findings));
        let mut named = Vec::new();
        for (name, node) in table.into_iter().flatten() {
            let spot = Spot { key: join(&spot.key, name), place: node.place.clone() };
            if matches!(node.place, Place::Variable(_)) {
                findings.problem(
                    &spot,
                    Fault::Remark("the environment cannot override what has a quoted key".into()),
                );
            } else if let Field::Given(at) = Field::read(Some(&node.value), spot, findings) {
                named.push((name.clone(), at));
            }
        }
        Self(named)
    }
}

/// The elements of a list, each with its spot; `None`, and a problem told, when it is none.
fn elements<'a>(
    value: &'a Value,
    spot: &Spot,
    wanted: &str,
    findings: &mut Findings,
) -> Option<Vec<(Spot, &'a Value)>> {
    if let Value::List(nodes) = value {
        let element = |(index, node): (usize, &'a Node)| {
            (Spot { key: format!("{}[{index}]", spot.key), place: node.place.clone() }, &node.value)
        };
        return Some(nodes.iter().enumerate().map(element).collect());
    }
    let fault = match spot.place {
        Place::Variable(_) => Fault::Remark("the environment cannot override a list".into()),
        Place::File | Place::Line(_) => Fault::found(value.describe(), wanted),
    };
    findings.problem(spot, fault);
    None
}

fn table_of<'a>(value: &'a Value, spot: &Spot, findings: &mut Findings) -> Option<&'a Table> {
    if let Value::Table(table) = value {
        return Some(table);
    }
    findings.problem(spot, Fault::found(value.describe(), "a table"));
    None
}
