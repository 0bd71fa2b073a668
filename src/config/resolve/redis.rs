//! `[ceiling.redis]`: the store of ceilings that several gateways share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Context, written};
use crate::config::disk;
use crate::config::file::{CeilingTable, Redis};
use crate::config::findings::Spot;
use crate::config::pem;
use crate::config::problem::{Fault, quote_secret_file, quote_secret_variable};
use crate::config::reader::{At, Field};
use crate::config::redis_url::{RedisUrl, UrlPlace};
use crate::config::settings::RedisSettings;
use crate::config::words::Timeout;
use crate::gateway::admission::shared::{RedisAddress, RedisLogin, RedisPlace};
use crate::model::secret::Password;
use crate::net::tls::ClientTls;

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
    let login = login(&redis.username_env, &redis.password_file, &redis.password_env, context);
    let (place, tls) =
        url.map(|url| (place(redis, &url.value, context), tls(redis, url.value.tls, context)))?;
    let address = RedisAddress { place: place?, database: url?.value.database, login: login?, tls: tls? };
    Some(RedisSettings { address, timeout, max_replicas: max_replicas?.value, absent_for })
}

/// How it is reached; `None`: a problem was told.
fn place(redis: &Redis, url: &RedisUrl, context: &mut Context<'_>) -> Option<RedisPlace> {
    let sentinel = [&redis.sentinel_username_env, &redis.sentinel_password_env];
    let sentinel = sentinel.into_iter().find_map(|field| field.given().map(|at| &at.spot));
    let sentinel = sentinel.or(redis.sentinel_password_file.given().map(|at| &at.spot));
    match (&url.place, sentinel) {
        (UrlPlace::Sentinels(sentinels, master), _) => {
            let (file, variable) = (&redis.sentinel_password_file, &redis.sentinel_password_env);
            let login = login(&redis.sentinel_username_env, file, variable, context);
            let (sentinels, master) = (sentinels.clone(), master.clone());
            login.map(|login| RedisPlace::Sentinels { sentinels, master, login })
        }
        (_, Some(spot)) => {
            let text =
                "there is no Sentinel: the URL begins with redis-sentinel:// or rediss-sentinel:// for one";
            context.findings.problem(spot, Fault::Remark(text.into()));
            None
        }
        (UrlPlace::Servers(hosts), None) => Some(RedisPlace::Servers(hosts.clone())),
        (UrlPlace::Unix(path), None) => Some(RedisPlace::Unix(path.into())),
    }
}

/// What TLS needs, if there is any; the outer `None`: a problem was told.
fn tls(redis: &Redis, is_on: bool, context: &mut Context<'_>) -> Option<Option<ClientTls>> {
    let files = [&redis.ca_file, &redis.cert_file, &redis.key_file];
    if !is_on {
        let given = files.into_iter().find_map(Field::given);
        if let Some(at) = given {
            let text = "there is no TLS: the URL begins with rediss:// or rediss-sentinel:// for it";
            context.findings.problem(&at.spot, Fault::Remark(text.into()));
        }
        return given.is_none().then_some(None);
    }
    let extra_roots = match &redis.ca_file {
        Field::Given(at) => context.read(at, pem::roots),
        Field::Absent => Some(Vec::new()),
        Field::Wrong => None,
    };
    let identity = match (&redis.cert_file, &redis.key_file) {
        (Field::Absent, Field::Absent) => Some(None),
        (Field::Given(chain), Field::Given(key)) => identity(chain, key, context).map(Some),
        (Field::Given(alone), Field::Absent) | (Field::Absent, Field::Given(alone)) => {
            let fault = Fault::found("one of cert_file and key_file", "both or neither");
            context.findings.problem(&alone.spot, fault);
            None
        }
        (Field::Wrong, _) | (_, Field::Wrong) => None,
    };
    Some(Some(ClientTls { extra_roots: extra_roots?, identity: identity? }))
}

type Identity = (Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>);

fn identity(chain: &At<PathBuf>, key: &At<PathBuf>, context: &mut Context<'_>) -> Option<Identity> {
    let read = (context.read(chain, pem::certificates), context.read(key, pem::private_key));
    context.warn_if_open_to_all(&context.folder.join(&key.value), &key.spot);
    let (certificates, private_key) = (read.0?, read.1?);
    if let Err(error) = pem::belong_together(&certificates, &private_key) {
        let text = format!("the certificate and its private key cannot be used together: {error}");
        context.findings.problem(&chain.spot, Fault::Remark(text));
        return None;
    }
    Some((certificates, Arc::new(private_key)))
}

/// Who we are; `None`: a problem was told.
fn login(
    username: &Field<String>,
    password_file: &Field<PathBuf>,
    password_env: &Field<String>,
    context: &mut Context<'_>,
) -> Option<RedisLogin> {
    let username = variable(username, context);
    let password = password(password_file, password_env, context);
    Some(RedisLogin { username: username?, password: password? })
}

/// What an environment variable holds, if one is named; the outer `None`: a problem was told.
fn variable(name: &Field<String>, context: &mut Context<'_>) -> Option<Option<String>> {
    let Some(at) = name.given().filter(|at| !at.value.is_empty()) else { return Some(None) };
    let value = context.environment.variable(&at.value).filter(|value| !value.is_empty());
    if value.is_none() {
        let text = format!("the environment variable {} is not set", quote_secret_variable(&at.value));
        context.findings.problem(&at.spot, Fault::Remark(text));
    }
    value.map(|value| Some(value.to_owned()))
}

/// The password from the one source that is named, if one is; the outer `None`: a problem was told.
fn password(
    file: &Field<PathBuf>,
    variable_name: &Field<String>,
    context: &mut Context<'_>,
) -> Option<Option<Password>> {
    match (file, variable_name) {
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
                let text = format!("{} {what}", quote_secret_file(&file.value, &path));
                context.findings.problem(&file.spot, Fault::Remark(text));
            };
            let password = password.map_err(told).ok()?;
            context.warn_if_open_to_all(&path, &file.spot);
            Some(Some(password))
        }
        (Field::Absent, Field::Given(_)) => {
            Some(variable(variable_name, context)?.as_deref().and_then(Password::new))
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
