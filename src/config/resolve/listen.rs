//! `[listen]`: addresses that do not collide, threads, counts, TLS.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use super::Context;
use crate::config::file::{Listen, ListenTls};
use crate::config::problem::{Fault, quote_secret_file};
use crate::config::reader::{At, Field};
use crate::config::settings::Boot;
use crate::config::{disk, pem};
use crate::model::endpoint::Endpoint;
use crate::model::secret::AdminToken;
use crate::net::listener::ListenAddress;
use crate::net::tls::ServerTls;

/// The listeners; everything else of `Boot` has its default.
pub(super) fn resolve(listen: &Listen, has_rules: bool, context: &mut Context<'_>) -> Boot {
    let default = Boot::default();
    let boot = Boot {
        gateway: context.address(&listen.gateway, default.gateway),
        admin: context.address(&listen.admin, default.admin),
        admin_token: admin_token(&listen.admin_token_file, context),
        tls: listen.tls.as_ref().and_then(|tls| server_tls(tls, context)),
        workers: listen.workers.given().map_or(default.workers, |at| NonZeroUsize::new(at.value.0)),
        max_connections: listen.max_connections.given().map_or(default.max_connections, |at| at.value.0),
        max_connections_per_source: listen.max_connections_per_source.given().and_then(|at| at.value.0),
        max_in_flight: listen.max_in_flight.given().map_or(default.max_in_flight, |at| at.value.0),
        ..default
    };
    refuse_one_address_for_both(listen, &boot, context);
    warn_of_open_doors(listen, has_rules, &boot, context);
    boot
}

/// Whether calls sent to `endpoint` would come back to this gateway: to one of its own listeners, as far as can be
/// told without a look-up.
pub(super) fn leads_back(endpoint: &Endpoint, boot: &Boot) -> bool {
    let reaches = |listener: &ListenAddress| match listener {
        ListenAddress::Tcp(address) if address.port() == endpoint.port() => {
            let ip = address.ip().to_canonical();
            match endpoint.host().parse::<IpAddr>().map(|host| host.to_canonical()) {
                Ok(host) if host.is_loopback() => hears(ip, host),
                Ok(host) => host == ip || host.is_unspecified(),
                Err(_) => endpoint.host() == "localhost" && (ip.is_loopback() || ip.is_unspecified()),
            }
        }
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => false,
    };
    reaches(&boot.gateway) || reaches(&boot.admin)
}

/// Whether a socket that listens on `ip` takes connections to `host`. One on `[::]` takes IPv4, too.
fn hears(ip: IpAddr, host: IpAddr) -> bool {
    ip == host || (ip.is_unspecified() && (ip.is_ipv6() || host.is_ipv4()))
}

fn refuse_one_address_for_both(listen: &Listen, boot: &Boot, context: &mut Context<'_>) {
    let collide = match (&boot.gateway, &boot.admin) {
        (ListenAddress::Unix(gateway), ListenAddress::Unix(admin)) => gateway == admin,
        (ListenAddress::Tcp(gateway), ListenAddress::Tcp(admin)) => {
            let (ip, other) = (gateway.ip().to_canonical(), admin.ip().to_canonical());
            let one_port = gateway.port() == admin.port() && gateway.port() != 0;
            one_port && (hears(ip, other) || hears(other, ip))
        }
        _ => false,
    };
    if !collide || matches!(listen.gateway, Field::Wrong) || matches!(listen.admin, Field::Wrong) {
        return;
    }
    let (at, other, address) = match (&listen.admin, &listen.gateway) {
        (Field::Given(admin), _) => (admin, "gateway", &boot.gateway),
        (_, Field::Given(gateway)) => (gateway, "admin", &boot.admin),
        // The defaults do not collide.
        _ => return,
    };
    let wanted = format!("another address than listen.{other} has ({address})");
    context.findings.problem(&at.spot, Fault::found(format!("\"{}\"", at.value), wanted));
}

fn warn_of_open_doors(listen: &Listen, has_rules: bool, boot: &Boot, context: &mut Context<'_>) {
    let clients_show_certificates = boot.tls.as_ref().is_some_and(|tls| tls.client_roots.is_some());
    if let Some(at) = beyond_loopback(&listen.gateway)
        && !has_rules
        && !clients_show_certificates
    {
        let text = format!(
            "whoever reaches {} can call every app: write rules for callers ([[callers.rule]]), \
             ask for client certificates (listen.tls.client_ca_file), or keep it on loopback",
            at.value
        );
        context.findings.warning(&at.spot, text);
    }
    if let Some(at) = beyond_loopback(&listen.admin) {
        let text = format!(
            "whoever reaches {} sees metrics and status: let only your monitoring reach it",
            at.value
        );
        context.findings.warning(&at.spot, text);
    }
}

fn beyond_loopback(field: &Field<ListenAddress>) -> Option<&At<ListenAddress>> {
    field.given().filter(|at| match &at.value {
        ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        ListenAddress::Unix(_) => false,
    })
}

/// Reads the token; `None` when there is none, or a problem was told.
fn admin_token(file: &Field<String>, context: &mut Context<'_>) -> Option<AdminToken> {
    let at = file.given().filter(|at| !at.value.is_empty())?;
    let path = context.folder.join(&at.value);
    context.findings.reads(&path);
    let token = disk::read(&path, LONGEST_TOKEN)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|bytes| {
            let token = std::str::from_utf8(&bytes).ok().and_then(AdminToken::new);
            token.ok_or_else(|| "wanted a token of visible ASCII characters".to_owned())
        });
    match token {
        Ok(token) => {
            context.warn_if_open_to_all(&path, &at.spot);
            Some(token)
        }
        Err(what) => {
            let text = format!("{}: {what}", quote_secret_file(at.value.as_ref(), &path));
            context.findings.problem(&at.spot, Fault::Remark(text));
            None
        }
    }
}

/// Reads the certificates; `None` when a problem was told.
fn server_tls(tls: &At<ListenTls>, context: &mut Context<'_>) -> Option<ServerTls> {
    let (files, spot) = (&tls.value, &tls.spot);
    let chain = context.required(&files.cert_file, spot, "cert_file", "the path of a PEM certificate chain");
    let chain = chain.and_then(|at| context.read(at, pem::certificates));
    let key = context.required(&files.key_file, spot, "key_file", "the path of a PEM private key");
    let key = key.and_then(|at| {
        let key = context.read(at, pem::private_key)?;
        context.warn_if_open_to_all(&context.folder.join(&at.value), &at.spot);
        Some(key)
    });
    let client_roots = match &files.client_ca_file {
        Field::Given(at) => context.read(at, pem::roots).map(Some),
        Field::Absent => Some(None),
        Field::Wrong => None,
    };
    let (chain, key) = (chain?, key?);
    if let Err(error) = pem::belong_together(&chain, &key) {
        let text = format!("the certificate and its private key cannot be used together: {error}");
        context.findings.problem(spot, Fault::Remark(text));
        return None;
    }
    Some(ServerTls { chain, key: key.into(), client_roots: client_roots? })
}

// === impl Context ===

impl Context<'_> {
    /// The address, a socket's relative path from the configuration's folder.
    fn address(&mut self, field: &Field<ListenAddress>, default: ListenAddress) -> ListenAddress {
        let ListenAddress::Unix(path) = field.or(default.clone()) else { return field.or(default) };
        let path = self.folder.join(path);
        let length = path.as_os_str().len();
        if let (Some(at), true) = (field.given(), length > LONGEST_SOCKET_PATH) {
            let wanted = format!("at most {LONGEST_SOCKET_PATH}, its folder's path included");
            self.findings.problem(&at.spot, Fault::found(format!("a path of {length} bytes"), wanted));
        }
        ListenAddress::Unix(path)
    }
}

/// In bytes.
const LONGEST_TOKEN: usize = 4096;

/// In bytes: the kernel's `sockaddr_un` holds 108, the last of them 0 (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
