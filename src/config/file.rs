//! The file as it is written: every key of the contract, each with the type of its value.
//!
//! Nothing is decided here.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::reader::{At, Field, Keys, List, Named, TableReader, Tables};
use super::redis_url::RedisUrl;
use super::words::{
    AccessShare, BodyBytes, BufferBytes, CeilingText, Count, CountOrNone, HeadBytes, Headroom, Repeat, Share,
    Timeout, Workers,
};
use crate::gateway::HttpStatus;
use crate::gateway::admission::{ColdStart, Guarantee, Mode};
use crate::gateway::caller::RuleName;
use crate::gateway::policy::ApiPattern;
use crate::model::app::{AppName, Identifier, SdkAppId};
use crate::model::collector::Collector;
use crate::model::endpoint::Endpoint;
use crate::model::network::Network;
use crate::model::region::Region;
use crate::net::client::EgressProxy;
use crate::net::listener::ListenAddress;
use crate::net::tls::TlsName;
use crate::telemetry::logs;

/// Declares a table: the name of each field is its key.
macro_rules! keys {
    ($($(#[$doc:meta])* $table:ident { $($key:ident: $type:ty,)+ })+) => { $(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $table { $(pub(super) $key: $type,)+ }

        impl Keys for $table {
            fn read(table: &mut TableReader<'_>) -> Self {
                Self { $($key: table.take(stringify!($key)),)+ }
            }
        }
    )+ };
}

keys! {
    /// The whole file.
    File {
        listen: Listen,
        limits: Limits,
        log: Log,
        app: Field<Tables<App>>,
        usersig: UserSig,
        ceiling: CeilingTable,
        callers: Callers,
        upstream: Upstream,
        retry: Retry,
        drain: Drain,
        answers: Answers,
        tracing: Tracing,
    }

    /// `[listen]`
    Listen {
        gateway: Field<ListenAddress>,
        admin: Field<ListenAddress>,
        admin_token_file: Field<String>,
        workers: Field<Workers>,
        max_connections: Field<Count>,
        max_connections_per_source: Field<CountOrNone>,
        max_in_flight: Field<Count>,
        tls: Option<At<ListenTls>>,
    }

    /// `[listen.tls]`
    ListenTls {
        cert_file: Field<PathBuf>,
        key_file: Field<PathBuf>,
        client_ca_file: Field<PathBuf>,
    }

    /// `[limits]`
    Limits {
        header_bytes: Field<HeadBytes>,
        request_body: Field<BodyBytes>,
        answer_body: Field<BodyBytes>,
        buffered: Field<BufferBytes>,
        header_timeout: Field<Timeout>,
        body_timeout: Field<Timeout>,
        idle_timeout: Field<Timeout>,
    }

    /// `[log]`
    Log {
        format: Field<logs::Format>,
        level: Field<logs::Level>,
        access: Field<AccessShare>,
        audit: Field<bool>,
    }

    /// One `[[app]]`
    App {
        name: Field<AppName>,
        sdkappid: Field<SdkAppId>,
        identifier: Field<Identifier>,
        secret_key_file: Field<PathBuf>,
        secret_key_env: Field<String>,
        region: Field<Region>,
        default: Field<bool>,
        endpoints: Field<List<Endpoint>>,
        ca_file: Field<PathBuf>,
    }

    /// `[usersig]`
    UserSig {
        ttl: Field<Timeout>,
        renew_before: Field<Timeout>,
    }

    /// `[ceiling]`
    CeilingTable {
        mode: Field<Mode>,
        per_second: Field<NonZeroU32>,
        app_per_second: Field<u32>,
        headroom: Field<Headroom>,
        share: Field<NonZeroU32>,
        burst: Field<u32>,
        cold_start: Field<ColdStart>,
        max_wait: Field<Duration>,
        max_waiting: Field<Count>,
        max_waiting_per_caller: Field<Count>,
        guarantee: Field<Guarantee>,
        transit_max: Field<Timeout>,
        api: Named<CeilingText>,
        redis: Option<At<Redis>>,
    }

    /// `[ceiling.redis]`
    Redis {
        url: Field<RedisUrl>,
        username_env: Field<String>,
        password_file: Field<PathBuf>,
        password_env: Field<String>,
        sentinel_username_env: Field<String>,
        sentinel_password_file: Field<PathBuf>,
        sentinel_password_env: Field<String>,
        ca_file: Field<PathBuf>,
        cert_file: Field<PathBuf>,
        key_file: Field<PathBuf>,
        timeout: Field<Timeout>,
        max_replicas: Field<NonZeroU32>,
        absent_for: Field<Duration>,
    }

    /// `[callers]`
    Callers {
        header: Field<HeaderName>,
        rule: Field<Tables<Rule>>,
    }

    /// One `[[callers.rule]]`
    Rule {
        name: Field<RuleName>,
        cidr: Field<List<Network>>,
        tls_name: Field<List<TlsName>>,
        uid: Field<List<u32>>,
        apps: Field<List<AppName>>,
        allow: Field<List<ApiPattern>>,
        deny: Field<List<ApiPattern>>,
        weight: Field<NonZeroU32>,
        max_per_second: Field<u32>,
    }

    /// `[upstream]`
    Upstream {
        connect_timeout: Field<Timeout>,
        request_timeout: Field<Timeout>,
        total_timeout: Field<Timeout>,
        egress_proxy: Field<Option<EgressProxy>>,
    }

    /// `[retry]`
    Retry {
        max_attempts: Field<NonZeroU32>,
        budget: Field<Share>,
        api: Named<Repeat>,
    }

    /// `[drain]`
    Drain {
        accept_for: Field<Duration>,
        grace: Field<Duration>,
    }

    /// `[answers]`
    Answers {
        http_status: Field<HttpStatus>,
    }

    /// `[tracing]`
    Tracing {
        otlp_endpoint: Field<Option<Collector>>,
        sample: Field<Share>,
        propagate: Field<bool>,
    }
}
