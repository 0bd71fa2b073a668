//! What was measured, what it is held against, and what follows.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Instructions for each path, and by what they were made and counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Compiler, C library, Valgrind, and the architecture with the processor's features that Valgrind lets through.
    pub(crate) made_by: [String; 4],
    pub(crate) paths: Vec<(String, u64)>,
}

impl Baseline {
    /// The committed one, if there is one.
    pub(crate) fn read() -> Option<Self> {
        let text = std::fs::read_to_string(file()).ok()?;
        let table: toml::Table = toml::from_str(&text).expect("the baseline is TOML");
        let made_by = table["made_by"].as_array().expect("a list");
        let made_by: Vec<String> =
            made_by.iter().map(|tool| tool.as_str().expect("a text").to_owned()).collect();
        let number = |(path, count): (&String, &toml::Value)| {
            let count = count.as_integer().and_then(|count| u64::try_from(count).ok());
            (path.clone(), count.expect("a positive number"))
        };
        let paths = table["paths"].as_table().expect("a table").iter().map(number).collect();
        Some(Self { made_by: made_by.try_into().expect("four tools"), paths })
    }

    pub(crate) fn write(&self) {
        std::fs::write(file(), self.to_string()).expect("the baseline can be written");
    }
}

/// As TOML.
impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made_by, paths } = self;
        writeln!(f, "# Written with `-- --accept`; see benches/instructions.rs.")?;
        writeln!(f, "made_by = {made_by:#?}\n\n[paths]")?;
        paths.iter().try_for_each(|(path, count)| writeln!(f, "{path} = {count}"))
    }
}

/// How a measurement compares.
pub(crate) struct Judgement {
    told: String,
    good: bool,
}

impl Judgement {
    pub(crate) fn of(baseline: &Baseline, now: &Baseline) -> Self {
        let mut told = String::new();
        let mut grown = Vec::new();
        let same_tools = baseline.made_by == now.made_by;
        let most = if same_tools { MOST_GROWTH } else { MOST_GROWTH_ELSEWHERE };
        _ = writeln!(told, "path                      baseline        now");
        for (path, count) in &now.paths {
            let known = baseline.paths.iter().find(|(known, _)| known == path);
            let Some((_, known)) = known else {
                grown.push(format!("{path} has no baseline"));
                continue;
            };
            let growth = *count as f64 / *known as f64 - 1.0;
            _ = writeln!(told, "{path:24} {known:9}  {count:9}  {:+.1} %", growth * 100.0);
            if growth > most {
                grown.push(format!("{path} takes {:.1} % more", growth * 100.0));
            } else if growth < -most {
                _ = writeln!(told, "{path} became shorter: accept it, so that it stays so");
            }
        }
        if !same_tools {
            let percent = most * 100.0;
            _ = writeln!(told, "OTHER TOOLS than the baseline's, so only growth over {percent:.0} % fails:");
            for (then, now) in baseline.made_by.iter().zip(&now.made_by).filter(|(then, now)| then != now) {
                _ = writeln!(told, "  baseline: {then}; now: {now}");
            }
        }
        for path in &grown {
            _ = writeln!(told, "FAILED: {path} (allowed: {:.0} %)", most * 100.0);
        }
        if !grown.is_empty() {
            told.push_str("where that is meant, run the same with `-- --accept` and commit the baseline");
        }
        Self { told, good: grown.is_empty() }
    }

    pub(crate) fn without_baseline(now: &Baseline) -> Self {
        let told = format!("NOT JUDGED: there is no {}, so this is only told:\n{now}", file().display());
        Self { told, good: true }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

/// One for each architecture and build: their instructions are not the same.
fn file() -> PathBuf {
    let build = if cfg!(debug_assertions) { "tests" } else { "optimised" };
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions"));
    folder.join(format!("{}-{build}.toml", std::env::consts::ARCH))
}

const MOST_GROWTH: f64 = 0.05;
const MOST_GROWTH_ELSEWHERE: f64 = 0.15;
