//! The store's commands as the scripts read them, and their answers as Redis gives them.

use std::sync::Arc;

use super::protocol::{
    LEASE, Lend, Lent, Loan, MISSING_AFTER, Meet, Member, Membership, Met, Opening, StoreError, micros,
};

/// A reply of a script: whole numbers and texts in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Number(i64),
    Text(Arc<str>),
}

/// The arguments of `meet.lua`.
pub(super) fn meet(ask: &Meet) -> Vec<String> {
    let Opening { run, expected, name, terms } = &ask.opening;
    let flag = |is_so| String::from(if is_so { "1" } else { "0" });
    let mut words = vec![
        run.to_string(),
        ask.nonce.clone(),
        expected.to_string(),
        micros(terms.late()).to_string(),
        micros(terms.quiet()).to_string(),
        name.to_string(),
        ask.incarnation.to_string(),
        terms.max_replicas.to_string(),
        micros(MISSING_AFTER).to_string(),
        micros(terms.absent_for).to_string(),
        ask.epoch.to_string(),
        ask.step.to_string(),
        ask.slot.to_string(),
        flag(ask.is_member),
        flag(ask.spent),
        flag(ask.leaves),
        ask.version.to_string(),
        ask.shift.map(|shift| shift.to_string()).unwrap_or_default(),
    ];
    for member in &ask.known {
        words.extend([member.name.to_string(), member.incarnation.to_string(), member.slot.to_string()]);
    }
    words
}

/// The arguments of `lend.lua`.
pub(super) fn lend(ask: &Lend) -> Vec<String> {
    let Opening { run, expected, name, terms } = &ask.opening;
    let mut words = vec![
        run.to_string(),
        ask.epoch.to_string(),
        expected.to_string(),
        micros(terms.late()).to_string(),
        micros(terms.quiet()).to_string(),
        name.to_string(),
        terms.max_replicas.to_string(),
        micros(MISSING_AFTER).to_string(),
        micros(terms.absent_for).to_string(),
        micros(LEASE).to_string(),
        micros(terms.transit_max).to_string(),
        ask.nonce.clone(),
        ask.ceilings.len().to_string(),
    ];
    for wish in &ask.ceilings {
        words.extend([wish.id.to_string(), wish.want.to_string(), wish.weight.to_string()]);
        words.push(String::from(if wish.registers { "1" } else { "0" }));
        words.push(wish.periods.len().to_string());
        for period in &wish.periods {
            words.extend([period.limit.to_string(), micros(period.period).to_string()]);
        }
        words.push(wish.reports.len().to_string());
        for report in &wish.reports {
            words.push(report.kind.letter().into());
            words.extend([report.base.to_string(), report.count.to_string(), report.age.to_string()]);
        }
    }
    words
}

/// What `meet.lua` answers.
pub(super) fn met(words: Vec<Word>) -> Result<Met, StoreError> {
    let mut words = Words(words.into_iter());
    let (status, now) = (words.number()?, words.number()?);
    match status {
        1 => Ok(Met::Late { now }),
        2 => Ok(Met::Taken { now }),
        0 => {
            let (epoch, quiet, slot) = (words.text()?, words.number()?, words.number()?);
            let (shift, version) = (words.number()?, words.number()?);
            let mut members = Vec::new();
            while words.are_left() {
                members.push(Member {
                    name: words.text()?,
                    incarnation: words.text()?,
                    slot: words.number()?,
                    is_there: words.number()? == 1,
                });
            }
            Ok(Met::Member(Membership { now, epoch, quiet, slot, shift, version, members }))
        }
        _ => Err(unreadable()),
    }
}

/// What `lend.lua` answers.
pub(super) fn lent(words: Vec<Word>) -> Result<Lent, StoreError> {
    let mut words = Words(words.into_iter());
    let (status, now) = (words.number()?, words.number()?);
    match status {
        1 => Ok(Lent::Late { now }),
        3 => Ok(Lent::OtherEpoch { now }),
        0 => {
            let (born, quiet) = (words.text()?, words.number()?);
            let mut loans = Vec::new();
            while words.are_left() {
                let granted = u32::try_from(words.number()?).map_err(|_| unreadable())?;
                loans.push(Loan { granted, base: words.number()?, back: words.number()? });
            }
            Ok(Lent::Loans { now, born, quiet, loans })
        }
        _ => Err(unreadable()),
    }
}

struct Words(std::vec::IntoIter<Word>);

// === impl Words ===

impl Words {
    fn number(&mut self) -> Result<i64, StoreError> {
        match self.0.next() {
            Some(Word::Number(number)) => Ok(number),
            _ => Err(unreadable()),
        }
    }

    fn text(&mut self) -> Result<Arc<str>, StoreError> {
        match self.0.next() {
            Some(Word::Text(text)) => Ok(text),
            _ => Err(unreadable()),
        }
    }

    fn are_left(&self) -> bool {
        self.0.len() > 0
    }
}

fn unreadable() -> StoreError {
    StoreError::Refused("the script's answer is not what it should be".into())
}
