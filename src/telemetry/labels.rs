//! Bounded sets of label values.
//!
//! Each distinct label value makes a series that lives as long as the process, in the gateway and in Prometheus. What
//! callers send must therefore not become a label unchecked: a [`Bounded`] set lets the first so many distinct
//! values keep their own name and calls every later one [`OTHER`].

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::hash_map::HashMap;

/// What stands in the place of every value beyond the cap. A value that reads so itself shares the label.
pub const OTHER: &str = "other";

/// What stands where a call was refused before its app, API or caller was known. To Prometheus, an empty label is no
/// label.
pub const UNKNOWN: &str = "";

/// The most distinct callers that were not reserved and keep their own label.
pub const CALLERS: usize = 100;

/// The most distinct ErrorCodes that were not reserved and keep their own label.
pub const ERROR_CODES: usize = 200;

/// The most distinct apps that keep their own label.
pub const APPS: usize = 1_000;

/// The most distinct APIs of one app outside the catalogue that keep their own label.
pub const APIS: usize = 1_000;

/// A set of label values that stops growing.
///
/// ```
/// use usersig_gateway::telemetry::labels::Bounded;
///
/// let callers = Bounded::new(1).reserving(["gifts"]);
/// for caller in ["chat", "gifts", "billing", "chat"] {
///     callers.label(caller);
/// }
/// assert_eq!(&*callers.text(callers.label("chat")), "chat");
/// assert_eq!(&*callers.text(callers.label("gifts")), "gifts");
/// assert_eq!(&*callers.text(callers.label("billing")), "other");
/// ```
#[derive(Debug)]
pub struct Bounded {
    cap: usize,
    // Read on every call and written at most `cap` times, so writers copy the whole and readers never wait.
    known: ArcSwap<Known>,
}

/// One value of the [`Bounded`] set that gave it. To any other set it means nothing in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(u32);

#[derive(Debug, Clone)]
struct Known {
    texts: Vec<Arc<str>>,
    labels: HashMap<Arc<str>, Label>,
    /// How many of them count towards the cap.
    counted: usize,
}

/// Whether a new value takes one of the places below the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Yes,
    No,
}

// === impl Bounded ===

impl Bounded {
    /// An empty set, in which the first `cap` distinct values will keep their own label.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        let mut known = Known { texts: Vec::new(), labels: HashMap::default(), counted: 0 };
        let other = known.add(OTHER);
        debug_assert_eq!(other, Label::OTHER, "the first label");
        Self { cap, known: ArcSwap::from_pointee(known) }
    }

    /// The same set with values that keep their own label always, and do not count towards the cap.
    #[must_use]
    pub fn reserving<'a>(self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known = Known::clone(&self.known.load());
        for value in values {
            if !known.labels.contains_key(value) {
                known.add(value);
            }
        }
        self.known.store(Arc::new(known));
        self
    }

    /// The label of `value`: its own, if it is known or there is room, else that of [`OTHER`].
    pub fn label(&self, value: &str) -> Label {
        let known = self.known.load();
        match known.labels.get(value) {
            Some(&label) => label,
            None if known.counted >= self.cap => Label::OTHER,
            None => self.learn(value, Counts::Yes),
        }
    }

    /// The label of a value that keeps its own always, as if it had been reserved from the start. What callers send
    /// must not come here.
    pub fn reserve(&self, value: &str) -> Label {
        let known = self.known.load().labels.get(value).copied();
        known.unwrap_or_else(|| self.learn(value, Counts::No))
    }

    /// The text of a label that this set gave.
    #[must_use]
    pub fn text(&self, label: Label) -> Arc<str> {
        let known = self.known.load();
        let index = usize::try_from(label.0).unwrap_or(usize::MAX);
        known.texts.get(index).map_or_else(|| OTHER.into(), Arc::clone)
    }

    fn learn(&self, value: &str, counts: Counts) -> Label {
        let mut given = Label::OTHER;
        // Runs again when another thread was quicker, hence the second look.
        self.known.rcu(|known| {
            if let Some(&label) = known.labels.get(value) {
                given = label;
                return Arc::clone(known);
            }
            if counts == Counts::Yes && known.counted >= self.cap {
                given = Label::OTHER;
                return Arc::clone(known);
            }
            let mut grown = Known::clone(known);
            given = grown.add(value);
            grown.counted += usize::from(counts == Counts::Yes);
            Arc::new(grown)
        });
        given
    }
}

// === impl Label ===

impl Label {
    /// The label of every value beyond the cap, in every set.
    pub const OTHER: Self = Self(0);
}

// === impl Known ===

impl Known {
    fn add(&mut self, value: &str) -> Label {
        let label = Label(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = value.into();
        self.texts.push(Arc::clone(&text));
        self.labels.insert(text, label);
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(set: &Bounded, value: &str) -> String {
        set.text(set.label(value)).to_string()
    }

    #[test]
    fn values_up_to_the_cap_keep_their_name_and_later_ones_do_not() {
        let set = Bounded::new(2);
        assert_eq!(text(&set, "a"), "a");
        assert_eq!(text(&set, "b"), "b");
        assert_eq!(text(&set, "c"), OTHER);
        assert_eq!(text(&set, "a"), "a");
        assert_eq!(set.label("c"), set.label("d"));
        assert_eq!(set.known.load().texts.len(), 3);
    }

    #[test]
    fn a_cap_of_zero_knows_only_what_was_reserved() {
        let set = Bounded::new(0).reserving(["a", "a", UNKNOWN]);
        assert_eq!((text(&set, "a").as_str(), text(&set, "b").as_str()), ("a", OTHER));
        assert_eq!(text(&set, UNKNOWN), UNKNOWN);
    }

    #[test]
    fn reserved_values_take_no_room() {
        let set = Bounded::new(1).reserving(["known"]);
        assert_eq!(text(&set, "known"), "known");
        assert_eq!(text(&set, "first"), "first");
        assert_eq!(text(&set, "second"), OTHER);
    }

    #[test]
    fn a_value_that_is_reserved_late_keeps_its_own_and_takes_no_room() {
        let set = Bounded::new(1);
        set.label("first");
        assert_eq!(text(&set, "late"), OTHER);
        let late = set.reserve("late");
        assert_eq!((&*set.text(late), set.label("late"), set.reserve("late")), ("late", late, late));
        assert_eq!(text(&set, "second"), OTHER);
    }

    #[test]
    fn the_word_other_is_no_value_of_its_own() {
        let set = Bounded::new(1);
        assert_eq!(set.label(OTHER), Label::OTHER);
        assert_eq!(text(&set, "first"), "first");
    }

    #[test]
    fn a_label_of_another_set_does_no_harm() {
        let large = Bounded::new(9);
        large.label("a");
        assert_eq!(&*Bounded::new(9).text(large.label("b")), OTHER);
    }

    #[test]
    fn many_threads_together_stay_under_the_cap_and_agree() {
        let set = Bounded::new(50);
        let rounds: Vec<Vec<Label>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..200).map(|n| set.label(&n.to_string())).collect()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(set.known.load().texts.len(), 51);
        for n in 0..200 {
            // Whoever got a name of its own got it once: the label still leads to that very text.
            for label in rounds.iter().map(|round| round[n]).filter(|&label| label != Label::OTHER) {
                assert_eq!(*set.text(label), n.to_string());
            }
        }
    }
}
