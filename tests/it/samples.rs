//! Prometheus' text, taken apart far enough to ask for values.

use std::collections::BTreeMap;

/// Every sample of one scrape.
#[derive(Debug)]
pub(crate) struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Takes a scrape's text apart. `usersig_gateway_` is taken off the names.
    pub(crate) fn read(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).map(Sample::read).collect())
    }

    /// The sum of all samples of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).fold(0.0, |sum, value| sum + value)
    }

    /// How many series of this name have these labels.
    pub(crate) fn series(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.of(name, labels).count()
    }

    /// All samples of this name, each as its labels' values in the order of `by`, and its value.
    pub(crate) fn table(&self, name: &str, by: &[&str]) -> Vec<(Vec<&str>, f64)> {
        let mut rows = Vec::new();
        for sample in self.of(name, &[]) {
            rows.push((by.iter().map(|label| sample.label(label)).collect(), sample.value));
        }
        rows.sort_by(|a: &(Vec<&str>, f64), b| a.0.cmp(&b.0));
        rows
    }

    fn of(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|(name, value)| sample.label(name) == *value)
        })
    }
}

impl Sample {
    /// A label's value. To Prometheus, one that is not there is empty.
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a value stands at the end");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let name = name.strip_prefix("usersig_gateway_").unwrap_or(name).to_owned();
        // No value in these tests holds a quote, so quotes end values.
        let mut parts = labels.trim_end_matches('}').split('"');
        let mut pairs = BTreeMap::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            pairs.insert(name.trim_matches([',', '=']).to_owned(), value.to_owned());
        }
        Self { name, labels: pairs, value: value.parse().expect("a number") }
    }
}
