//! `ceiling.redis.url`: a server, some nodes of a cluster, Sentinels, or a Unix socket.

use http::uri::Authority;

use super::document::Value;
use super::reader::Scalar;
use crate::gateway::admission::shared::RedisHost;

/// Where a Redis is, as its URL tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedisUrl {
    pub(super) place: UrlPlace,
    pub(super) tls: bool,
    pub(super) database: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UrlPlace {
    /// A server, or some nodes of one cluster.
    Servers(Vec<RedisHost>),
    /// Sentinels, and what they call the master.
    Sentinels(Vec<RedisHost>, String),
    /// The path of a Unix socket.
    Unix(String),
}

impl Scalar for RedisUrl {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_text().and_then(read).ok_or_else(|| WANTED.into())
    }
}

fn read(text: &str) -> Option<RedisUrl> {
    let (text, database) = text.split_once("?db=").unwrap_or((text, ""));
    if text.contains(['?', '#', '\0']) {
        return None;
    }
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let place = UrlPlace::Unix(path.to_owned());
        return path.starts_with('/').then_some(RedisUrl { place, tls: false, database: number(database)? });
    }
    let (scheme, rest) = text.split_once("://")?;
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = |port| hosts.split(',').map(|text| host(text, port)).collect::<Option<Vec<_>>>();
    let (place, database) = match scheme {
        "redis" | "rediss" if path.is_empty() => (UrlPlace::Servers(hosts(PORT)?), database),
        "redis" | "rediss" if database.is_empty() => (UrlPlace::Servers(hosts(PORT)?), path),
        "redis-sentinel" | "rediss-sentinel" if is_name(path) => {
            (UrlPlace::Sentinels(hosts(SENTINEL_PORT)?, path.to_owned()), database)
        }
        _ => return None,
    };
    Some(RedisUrl { place, tls: scheme.starts_with("rediss"), database: number(database)? })
}

fn host(text: &str, port: u16) -> Option<RedisHost> {
    let authority: Authority = text.parse().ok()?;
    let port = match authority.port() {
        Some(port) => port.as_str().parse().ok().filter(|port| *port != 0)?,
        None if authority.host().len() == text.len() => port,
        // A colon without a number behind it, or a user.
        None => return None,
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    (!text.contains('@') && !host.is_empty()).then(|| RedisHost { host: host.to_owned(), port })
}

fn number(text: &str) -> Option<i64> {
    if text.is_empty() { Some(0) } else { text.parse().ok().filter(|number| *number >= 0) }
}

/// Sentinels know masters by letters, digits and `.-_` (Redis, "High availability with Redis Sentinel").
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

const WANTED: &str = "redis://HOST:PORT, rediss://HOST:PORT, several HOST:PORT of one cluster with commas between, \
                      redis-sentinel://HOST:PORT,HOST:PORT/MASTER, rediss-sentinel://… or unix:PATH, with ?db=DATABASE if \
                      it is not 0; user and password have keys of their own";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(texts: &[(&str, u16)]) -> Vec<RedisHost> {
        texts.iter().map(|&(host, port)| RedisHost { host: host.into(), port }).collect()
    }

    #[test]
    fn servers_nodes_sentinels_and_sockets_are_told_apart() {
        let servers = |texts: &[(&str, u16)]| UrlPlace::Servers(hosts(texts));
        let unix = |path: &str| UrlPlace::Unix(path.into());
        let sentinels =
            UrlPlace::Sentinels(hosts(&[("a.test", 26379), ("b.test", 5000)]), "my-master.1".into());
        for (text, place, tls, database) in [
            ("redis://redis.test", servers(&[("redis.test", 6379)]), false, 0),
            ("redis://redis.test:7000/", servers(&[("redis.test", 7000)]), false, 0),
            ("rediss://[fd00::1]:7000/3", servers(&[("fd00::1", 7000)]), true, 3),
            ("redis://10.0.0.1?db=4", servers(&[("10.0.0.1", 6379)]), false, 4),
            (
                "redis://a.test:1,b.test,[::1]:3",
                servers(&[("a.test", 1), ("b.test", 6379), ("::1", 3)]),
                false,
                0,
            ),
            ("redis-sentinel://a.test,b.test:5000/my-master.1", sentinels.clone(), false, 0),
            ("rediss-sentinel://a.test,b.test:5000/my-master.1?db=2", sentinels, true, 2),
            ("unix:/run/redis.sock", unix("/run/redis.sock"), false, 0),
            ("unix:///run/redis.sock?db=1", unix("/run/redis.sock"), false, 1),
        ] {
            assert_eq!(read(text), Some(RedisUrl { place, tls, database }), "{text}");
        }
    }

    #[test]
    fn whatever_else_is_written_is_refused() {
        for text in [
            "",
            "redis.test:6379",
            "http://redis.test",
            "redis://",
            "redis://:6379",
            "redis://a.test:",
            "redis://a.test:0",
            "redis://a.test:70000",
            "redis://a.test,",
            "redis://user@a.test",
            "redis://user:FAKE@a.test:6379",
            "redis://a.test/x",
            "redis://a.test/-1",
            "redis://a.test/1?db=2",
            "redis://a.test#insecure",
            "redis://a.test?protocol=resp3",
            "redis-sentinel://a.test",
            "redis-sentinel://a.test/",
            "redis-sentinel://a.test/mine/0",
            "unix:redis.sock",
            "unix:",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
