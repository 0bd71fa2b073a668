//! Idle connections of one worker, by the way they lead.
//!
//! Of those over HTTP/1.1 the latest is used first, so that under falling load the others grow old and are closed. A
//! task closes what lay idle too long; it runs only while something is idle.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::http1::Lease;
use super::http2::Handle;
use super::{EgressProxy, Kind, Roots};
use crate::model::endpoint::Endpoint;
use crate::model::hash_map::HashMap;

/// The idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    hosts: HashMap<Endpoint, Vec<Host>>,
    sweeping: bool,
}

/// Where a connection leads, and how: what is trusted there, and through which proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) roots: &'a Roots,
    pub(super) proxy: Option<&'a EgressProxy>,
}

/// The connections to one endpoint under one trust and through one proxy. Nearly every endpoint has one of these.
#[derive(Debug)]
struct Host {
    roots: Roots,
    proxy: Option<EgressProxy>,
    http1: Vec<(Instant, Box<Lease>)>,
    http2: Vec<Handle>,
}

/// Where a connection goes when its call is done.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pool: Weak<RefCell<Pool>>,
    to: Rc<(Endpoint, Roots, Option<EgressProxy>)>,
}

/// A connection that can be used now.
pub(super) async fn checkout(pool: &Rc<RefCell<Pool>>, way: Way<'_>, mut now: Instant) -> Option<Kind> {
    loop {
        let connection = pool.borrow_mut().find(way, now)?;
        match &connection {
            Kind::Http1(_) => return Some(connection),
            // The pool will not give it again when it turns out to be closed.
            Kind::Http2(lease) => {
                if lease.stands().await {
                    return Some(connection);
                }
                now = Instant::now();
            }
        }
    }
}

impl Pool {
    pub(super) fn new() -> Rc<RefCell<Self>> {
        Rc::default()
    }

    pub(super) fn idle(&self) -> usize {
        let idle = |host: &Host| {
            host.http1.len() + host.http2.iter().filter(|handle| handle.idle_since().is_some()).count()
        };
        self.hosts.values().flatten().map(idle).sum()
    }

    fn find(&mut self, way: Way<'_>, now: Instant) -> Option<Kind> {
        let host = self.hosts.get_mut(way.endpoint)?.iter_mut().find(|host| host.is_on(way))?;
        host.http2.retain(|handle| handle.stands() && now.duration_since(handle.made()) < MAX_AGE);
        // The oldest first, so that under falling load the others grow old and are closed.
        if let Some(lease) = host.http2.iter().find_map(Handle::lease) {
            return Some(Kind::Http2(lease));
        }
        // Each is asked for, though it may have answered just now: what came meanwhile would else be the next call's answer.
        while let Some((_, mut lease)) = host.http1.pop() {
            if now.duration_since(lease.made()) < MAX_AGE && lease.stands() {
                return Some(Kind::Http1(lease));
            }
        }
        None
    }

    fn host(&mut self, way: Way<'_>) -> &mut Host {
        let hosts = self.hosts.entry(way.endpoint.clone()).or_default();
        let index = hosts.iter().position(|host| host.is_on(way)).unwrap_or_else(|| {
            hosts.push(Host::new(way));
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
                host.http2.retain(|handle| {
                    let idle = handle.idle_since().map_or(Duration::ZERO, |since| now.duration_since(since));
                    handle.stands() && idle < IDLE_TIMEOUT && now.duration_since(handle.made()) < MAX_AGE
                });
            }
            hosts.retain(|host| !host.http1.is_empty() || !host.http2.is_empty());
        }
        self.hosts.retain(|_, hosts| !hosts.is_empty());
        !self.hosts.is_empty()
    }
}

impl Host {
    fn new(way: Way<'_>) -> Self {
        let (roots, proxy) = (way.roots.clone(), way.proxy.cloned());
        Self { roots, proxy, http1: Vec::new(), http2: Vec::new() }
    }

    fn is_on(&self, way: Way<'_>) -> bool {
        self.roots == *way.roots && self.proxy.as_ref() == way.proxy
    }
}

impl Home {
    pub(super) fn new(pool: &Rc<RefCell<Pool>>, way: Way<'_>) -> Self {
        let to = Rc::new((way.endpoint.clone(), way.roots.clone(), way.proxy.cloned()));
        Self { pool: Rc::downgrade(pool), to }
    }

    fn way(&self) -> Way<'_> {
        let (endpoint, roots, proxy) = &*self.to;
        Way { endpoint, roots, proxy: proxy.as_ref() }
    }

    /// A connection whose call is done comes back now, unless enough lie idle already.
    pub(super) fn take_in_http1(&self, lease: Box<Lease>, now: Instant) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut pool_ref = pool.borrow_mut();
        let host = pool_ref.host(self.way());
        if host.http1.len() < MAX_IDLE {
            host.http1.push((now, lease));
        }
        drop(pool_ref);
        keep_swept(&pool);
    }

    /// A new connection that many calls can share.
    pub(super) fn take_in_http2(&self, handle: Handle) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut pool_ref = pool.borrow_mut();
        let host = pool_ref.host(self.way());
        // Where several were made at once, one serves the calls to come; the others end with their own.
        if !host.http2.iter().any(|other| other.stands() && other.has_room()) {
            host.http2.push(handle);
        }
        drop(pool_ref);
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
pub(super) const MAX_IDLE: usize = 512;
/// Tencent's idle timeout is not published; nginx, which its answers name, closes after 75 s by default.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// After this long a connection is not used again, so that a change of the host's addresses takes effect.
pub(super) const MAX_AGE: Duration = Duration::from_secs(300);
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(10);
