//! What a whole configuration becomes.

mod anything;
mod findings;
mod keys;
mod listening;

use super::*;

const APP: &str = "
[[app]]
name = 'live'
sdkappid = 20000001
identifier = 'administrator'
secret_key_env = 'LIVE_KEY'
";

fn parsed(text: &str, overrides: &[(&str, &str)]) -> Result<Loaded, String> {
    let key = [("LIVE_KEY", "FAKENEW\nFAKEOLD")];
    let environment = key.iter().chain(overrides).copied().collect();
    parse(text, "gateway.toml".as_ref(), &environment).map_err(|problems| problems.to_string())
}

/// The settings of `text` and one app.
fn settings(text: &str) -> Settings {
    parsed(&format!("{text}{APP}"), &[]).unwrap().settings
}

/// The warnings of `text` and one app.
fn warnings(text: &str) -> Vec<String> {
    let loaded = parsed(&format!("{text}{APP}"), &[]).unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}
