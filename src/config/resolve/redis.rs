//! `[ceiling.redis]`: the store of ceilings that several gateways share.

use std::time::Duration;

use super::{Context, written};
use crate::config::disk;
use crate::config::file::{CeilingTable, Redis};
use crate::config::findings::Spot;
use crate::config::problem::{Fault, quote};
use crate::config::reader::{At, Field};
use crate::config::settings::RedisSettings;
use crate::config::words::Timeout;
use crate::gateway::admission::shared::RedisAddress;
use crate::model::secret::Password;

/// The store; `None` when there is none, or a problem was told.
pub(super) fn resolve(ceiling: &CeilingTable, context: &mut Context<'_>) -> Option<RedisSettings> {
    let At { value: redis, spot } = ceiling.redis.as_ref()?;
    let url = context.required(&redis.url, spot, "url", "redis://HOST:PORT");
    let wanted = "the most gateways that share the ceilings, 1 to 1000";
    let max_replicas = context.required(&redis.max_replicas, spot, "max_replicas", wanted);
    let max_replicas = max_replicas.filter(|at| {
        let is_good = at.value.get() <= MOST_REPLICAS;
        if !is_good {
            context.findings.problem(&at.spot, Fault::found(at.value.to_string(), "1 to 1000"));
        }
        is_good
    });
    let timeout = redis.timeout.or(Timeout(TIMEOUT)).0;
    context.bounded(&redis.timeout, timeout, |timeout| timeout <= LONGEST_TIMEOUT, "at most \"100ms\"");
    let absent_for = redis.absent_for.or(ABSENT_FOR);
    let in_bounds = (SHORTEST_ABSENCE..=LONGEST_ABSENCE).contains(&absent_for);
    context.bounded(&redis.absent_for, absent_for, |_| in_bounds, "\"30s\" to \"24h\"");
    if let Some(share) = ceiling.share.given().filter(|at| at.value.get() > 1) {
        let text = "every ceiling is divided by this, and shared through Redis as well: it is for gateways without a \
                    shared store"
            .to_owned();
        context.findings.warning(&share.spot, text);
    }
    let username = variable(&redis.username_env, context);
    let password = password(redis, context);
    let address = RedisAddress {
        place: url?.value.place.clone(),
        database: url?.value.database,
        username: username?,
        password: password?,
    };
    Some(RedisSettings { address, timeout, max_replicas: max_replicas?.value, absent_for })
}

/// What an environment variable holds, if one is named; the outer `None`: a problem was told.
fn variable(name: &Field<String>, context: &mut Context<'_>) -> Option<Option<String>> {
    let Some(at) = name.given().filter(|at| !at.value.is_empty()) else { return Some(None) };
    let value = context.environment.variable(&at.value).filter(|value| !value.is_empty());
    if value.is_none() {
        let text = format!("the environment variable {} is not set", quote(&at.value));
        context.findings.problem(&at.spot, Fault::Remark(text));
    }
    value.map(|value| Some(value.to_owned()))
}

/// The password from the one source that is named, if one is; the outer `None`: a problem was told.
fn password(redis: &Redis, context: &mut Context<'_>) -> Option<Option<Password>> {
    match (&redis.password_file, &redis.password_env) {
        (Field::Given(file), Field::Absent) => {
            let path = context.folder.join(&file.value);
            context.findings.reads(&path);
            let read =
                disk::read(&path, LONGEST_PASSWORD).map_err(|error| format!("cannot be read: {error}"));
            let password = read.and_then(|bytes| {
                let text = std::str::from_utf8(&bytes).ok();
                text.and_then(Password::new).ok_or_else(|| "holds no password".to_owned())
            });
            let told = |what| {
                let text = format!("{} {what}", quote(&path.to_string_lossy()));
                context.findings.problem(&file.spot, Fault::Remark(text));
            };
            let password = password.map_err(told).ok()?;
            context.warn_if_open_to_all(&path, &file.spot);
            Some(Some(password))
        }
        (Field::Absent, Field::Given(_)) => {
            Some(variable(&redis.password_env, context)?.as_deref().and_then(Password::new))
        }
        (Field::Given(_), Field::Given(variable)) => {
            let fault = Fault::found("both password_file and password_env", "one of them");
            context.findings.problem(&variable.spot, fault);
            None
        }
        (Field::Absent, Field::Absent) => Some(None),
        (Field::Wrong, _) | (_, Field::Wrong) => None,
    }
}

// === impl Context ===

impl Context<'_> {
    fn bounded<T>(
        &mut self,
        field: &Field<T>,
        value: Duration,
        is_good: impl FnOnce(Duration) -> bool,
        wanted: &str,
    ) {
        if let Some(At { spot, .. }) = field.given()
            && !is_good(value)
        {
            let spot: &Spot = spot;
            self.findings.problem(spot, Fault::found(written(value), wanted));
        }
    }
}

const MOST_REPLICAS: u32 = 1_000;
const TIMEOUT: Duration = Duration::from_millis(50);
/// A call that waits for the store waits for no longer than this.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(100);
const ABSENT_FOR: Duration = Duration::from_secs(600);
/// Below it, hardly anything could be sent without the store.
const SHORTEST_ABSENCE: Duration = Duration::from_secs(30);
const LONGEST_ABSENCE: Duration = Duration::from_secs(24 * 3600);
/// In bytes.
const LONGEST_PASSWORD: usize = 4096;
