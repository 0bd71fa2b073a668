//! Tables whose keys are APIs, as `[ceiling.api]` and `[retry.api]` are.

use std::collections::HashMap;

use crate::config::findings::Findings;
use crate::config::problem::{Fault, quote};
use crate::config::reader::{At, Named};
use crate::model::api::{ApiName, catalogue};

/// The values by API. Keys that name none, or one that another key names already, are told and left out.
pub(super) fn by_api<'f, T>(named: &'f Named<T>, findings: &mut Findings) -> HashMap<ApiName, &'f At<T>> {
    // Two texts may name one API, with and without "v4/".
    let mut values: HashMap<ApiName, &At<T>> = HashMap::new();
    for (text, at) in &named.0 {
        let Ok(name) = text.parse::<ApiName>() else {
            let wanted = "the name of an API, such as \"live_config/get_callback\"";
            findings.problem(&at.spot, Fault::found(quote(text), wanted));
            continue;
        };
        if let Some(first) = values.get(&name) {
            findings.problem(&at.spot, Fault::Remark(format!("the same API as {}", first.spot)));
            continue;
        }
        if catalogue().find(&name).is_none() {
            let nearest = catalogue().nearest(name.as_str());
            let hint = nearest.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
            findings.warning(&at.spot, format!("the catalogue does not know this API{hint}"));
        }
        values.insert(name, at);
    }
    values
}
