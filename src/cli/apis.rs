//! `apis`: lists the catalogue, for people as a table, for programs as JSON.

use std::io::{self, IsTerminal, Write};

use super::Failure;
use crate::model::api::{ApiName, Catalogue, Entry, RepeatSafety, catalogue};

/// List the catalogue of APIs: path, ceiling, repeat safety
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: usersig-gateway apis | grep gift")]
pub(super) struct Args {
    /// Everything that is known, as one JSON array
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let text = if args.json { json(catalogue())? } else { table(catalogue(), terminal_width()) };
    match out.write_all(text.as_bytes()) {
        // Whoever reads has seen enough: `apis | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn json(catalogue: &Catalogue) -> Result<String, Failure> {
    let entries: Vec<&Entry> = catalogue.entries().map(|(_, entry)| entry).collect();
    let text = serde_json::to_string_pretty(&entries).map_err(|error| Failure::new(error.to_string()))?;
    Ok(text + "\n")
}

/// One line an API, in columns; only the last one is cut, where a line would be longer than `width`.
fn table(catalogue: &Catalogue, width: Option<usize>) -> String {
    let heading = ["API", "CALLS/S", "REPEAT", "PRODUCT", "SUMMARY"].map(String::from);
    let rows: Vec<_> =
        std::iter::once(heading).chain(catalogue.entries().map(|(name, entry)| row(name, entry))).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [name_width, ceiling_width, repeat_width, product_width] = [0, 1, 2, 3].map(widest);

    let mut text = String::new();
    for [name, ceiling, repeat, product, summary] in &rows {
        let line = format!(
            "{name:name_width$}  {ceiling:>ceiling_width$}  {repeat:repeat_width$}  {product:product_width$}  {summary}"
        );
        text += &cut(&line, width);
        text.push('\n');
    }
    text + FOOTNOTE
}

fn row(name: &ApiName, entry: &Entry) -> [String; 5] {
    let ceiling = match (entry.max_per_second, entry.assumed_per_second) {
        (Some(documented), _) => documented.to_string(),
        (None, Some(assumed)) => format!("~{assumed}"),
        (None, None) => "-".to_owned(),
    };
    let repeat = match entry.kind {
        RepeatSafety::Read => "read",
        RepeatSafety::IdempotentWrite => "idempotent",
        RepeatSafety::Write => "write",
    };
    [name.to_string(), ceiling, repeat.to_owned(), entry.product.clone(), entry.summary.clone()]
}

/// The line in at most `width` characters; one that was cut ends in `…`.
fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
            cut.truncate(cut.trim_end().len());
            cut + "…"
        }
        _ => line.to_owned(),
    }
}

/// The columns of the terminal on standard output; `None` when it is none.
fn terminal_width() -> Option<usize> {
    let (terminal_size::Width(columns), _) =
        io::stdout().is_terminal().then(terminal_size::terminal_size).flatten()?;
    Some(usize::from(columns))
}

const FOOTNOTE: &str = "
CALLS/S  the ceiling for each SDKAppID; ~ marks a cautious guess, where no page of Tencent's states it
REPEAT   whether a call may be sent again when nobody knows how it ended: read and idempotent may, write never
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assumed_ceilings_are_marked() {
        let text = table(catalogue(), None);
        for (name, entry) in catalogue().entries() {
            let line = text.lines().find(|line| line.split(' ').next() == Some(name.as_str())).unwrap();
            let ceiling = line.split_whitespace().nth(1).unwrap();
            match entry.max_per_second {
                Some(documented) => assert_eq!(ceiling, documented.to_string(), "{name}"),
                None => assert_eq!(ceiling, format!("~{}", entry.assumed_per_second.unwrap()), "{name}"),
            }
            assert!(line.ends_with(&entry.summary), "{name}");
        }
    }

    #[test]
    fn columns_begin_where_their_headings_do_and_ceilings_end_there() {
        let text = table(catalogue(), None);
        let (heading, rows) = text.split_once('\n').unwrap();
        let column = |name: &str| heading.find(name).unwrap();
        let ceilings_end = column("CALLS/S") + "CALLS/S".len();
        let lines: Vec<&str> = rows.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), catalogue().entries().count());
        for (line, (name, entry)) in lines.iter().zip(catalogue().entries()) {
            assert!(line.is_ascii(), "{name}: a byte is a column");
            let is_gap = |at: usize| line[at - 2..at].trim().is_empty() && !line[at..=at].trim().is_empty();
            for heading in ["REPEAT", "PRODUCT", "SUMMARY"] {
                assert!(is_gap(column(heading)), "{heading} of {name}: {line}");
            }
            assert_eq!(&line[column("SUMMARY")..], entry.summary);
            let ceiling = line[..ceilings_end].split_whitespace().last().unwrap();
            assert!(line[..ceilings_end].ends_with(ceiling), "{name}: {line}");
            assert_eq!(&line[ceilings_end..ceilings_end + 2], "  ", "{name}: {line}");
        }
    }

    #[test]
    fn a_line_is_cut_to_the_terminal() {
        let rows = |width| -> Vec<String> {
            table(catalogue(), width).lines().take(174).map(String::from).collect()
        };
        let (whole, cut) = (rows(None), rows(Some(90)));
        assert!(cut.iter().all(|line| line.chars().count() <= 90));
        for (whole, cut) in whole.iter().zip(&cut) {
            match cut.strip_suffix('…') {
                Some(start) => assert!(whole.starts_with(start) && whole.chars().count() > 90),
                None => assert_eq!(whole, cut),
            }
        }
        assert!(
            cut.iter().any(|line| line.ends_with('…')),
            "some summaries are longer than 90 columns allow"
        );
    }

    #[test]
    fn the_narrowest_terminal_is_survived() {
        assert_eq!((cut("abc", Some(0)).as_str(), cut("abc", Some(2)).as_str()), ("…", "a…"));
        assert_eq!((cut("abc", Some(3)).as_str(), cut("é…", Some(2)).as_str()), ("abc", "é…"));
    }
}
