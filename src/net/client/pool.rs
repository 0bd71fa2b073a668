//! Idle connections of one worker, by endpoint and trust.
//!
//! The latest is used first, so that under falling load the others grow old and are closed. A task closes what lay
//! idle too long; it runs only while something is idle.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::Kind;
use super::http1::Lease;
use super::http2::Handle;
use crate::model::endpoint::Endpoint;

/// The idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    hosts: HashMap<Endpoint, Vec<Host>>,
    sweeping: bool,
}

/// The connections to one endpoint under one trust. Nearly every endpoint has one of these.
#[derive(Debug)]
struct Host {
    roots: Vec<CertificateDer<'static>>,
    http1: Vec<(Instant, Box<Lease>)>,
    http2: Option<Handle>,
}

/// Where a connection goes when its call is done.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pool: Weak<RefCell<Pool>>,
    key: Rc<(Endpoint, Vec<CertificateDer<'static>>)>,
}

/// A connection that can be used now.
pub(super) fn checkout(
    pool: &Rc<RefCell<Pool>>,
    endpoint: &Endpoint,
    roots: &[CertificateDer<'static>],
    now: Instant,
) -> Option<Kind> {
    let mut pool = pool.borrow_mut();
    let host = pool.hosts.get_mut(endpoint)?.iter_mut().find(|host| host.roots == roots)?;
    if let Some(handle) = &host.http2 {
        if handle.stands() && now.duration_since(handle.made()) < MAX_AGE {
            return Some(Kind::Http2(handle.clone()));
        }
        host.http2 = None;
    }
    while let Some((_, mut lease)) = host.http1.pop() {
        if now.duration_since(lease.made()) < MAX_AGE && lease.stands() {
            return Some(Kind::Http1(lease));
        }
    }
    None
}

impl Pool {
    pub(super) fn new() -> Rc<RefCell<Self>> {
        Rc::default()
    }

    pub(super) fn idle(&self) -> usize {
        self.hosts.values().flatten().map(|host| host.http1.len() + usize::from(host.http2.is_some())).sum()
    }

    fn host(&mut self, key: &(Endpoint, Vec<CertificateDer<'static>>)) -> &mut Host {
        let (endpoint, roots) = key;
        if !self.hosts.contains_key(endpoint) {
            self.hosts.insert(endpoint.clone(), Vec::new());
        }
        let hosts = self.hosts.entry(endpoint.clone()).or_default();
        let index = hosts.iter().position(|host| host.roots == *roots).unwrap_or_else(|| {
            hosts.push(Host { roots: roots.clone(), http1: Vec::new(), http2: None });
            hosts.len() - 1
        });
        &mut hosts[index]
    }

    /// Closes what is idle for too long or closed already; says whether anything is left.
    fn sweep(&mut self, now: Instant) -> bool {
        for hosts in self.hosts.values_mut() {
            for host in &mut *hosts {
                host.http1
                    .retain_mut(|(since, lease)| now.duration_since(*since) < IDLE_TIMEOUT && lease.stands());
                if host.http2.as_ref().is_some_and(|handle| !handle.stands() || now - handle.made() > MAX_AGE)
                {
                    host.http2 = None;
                }
            }
            hosts.retain(|host| !host.http1.is_empty() || host.http2.is_some());
        }
        self.hosts.retain(|_, hosts| !hosts.is_empty());
        !self.hosts.is_empty()
    }
}

impl Home {
    pub(super) fn new(
        pool: &Rc<RefCell<Pool>>,
        endpoint: &Endpoint,
        roots: &[CertificateDer<'static>],
    ) -> Self {
        Self { pool: Rc::downgrade(pool), key: Rc::new((endpoint.clone(), roots.to_vec())) }
    }

    /// A connection whose call is done comes back, unless enough lie idle already.
    pub(super) fn take_in_http1(&self, lease: Box<Lease>) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut pool_ref = pool.borrow_mut();
        let host = pool_ref.host(&self.key);
        if host.http1.len() < MAX_IDLE {
            host.http1.push((Instant::now(), lease));
        }
        drop(pool_ref);
        keep_swept(&pool);
    }

    /// A new connection that many calls can share.
    pub(super) fn take_in_http2(&self, handle: Handle) {
        let Some(pool) = self.pool.upgrade() else { return };
        // Where several were made at once, the newest serves those to come; the others end with their calls.
        pool.borrow_mut().host(&self.key).http2 = Some(handle);
        keep_swept(&pool);
    }
}

/// Sees to it that the sweeper runs.
fn keep_swept(pool: &Rc<RefCell<Pool>>) {
    if std::mem::replace(&mut pool.borrow_mut().sweeping, true) {
        return;
    }
    let pool = Rc::downgrade(pool);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut pool = pool.borrow_mut();
            if !pool.sweep(Instant::now()) {
                pool.sweeping = false;
                return;
            }
        }
    });
}

/// Idle connections that one worker keeps to one endpoint.
const MAX_IDLE: usize = 512;
/// Tencent's idle timeout is not published; nginx, which its answers name, closes after 75 s by default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// After this long a connection is not used again, so that a change of the host's addresses takes effect.
const MAX_AGE: Duration = Duration::from_secs(300);
const SWEEP_EVERY: Duration = Duration::from_secs(10);
