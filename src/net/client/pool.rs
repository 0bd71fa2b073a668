//! Idle connections of one worker, by the way they lead.
//!
//! Of those over HTTP/1.1 the latest is used first, so that under falling load the others grow old and are closed. A
//! task closes what lay idle too long; it runs only while there are connections.

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
    hosts: HashMap<Endpoint, Vec<Rc<Host>>>,
    sweeping: bool,
}

/// Where a connection leads, and how: what is trusted there, and through which proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) roots: &'a Roots,
    pub(super) proxy: Option<&'a EgressProxy>,
}

/// The connections to one endpoint under one trust and through one proxy. Nearly every endpoint has one of these. It is
/// there as long as one of its connections is, idle or not.
#[derive(Debug)]
struct Host {
    roots: Roots,
    proxy: Option<EgressProxy>,
    idle: RefCell<Idle>,
}

/// The connections that can be used.
#[derive(Debug, Default)]
struct Idle {
    http1: Vec<(Instant, Box<Lease>)>,
    http2: Vec<Handle>,
}

/// Where a connection goes when its call is done. It knows the place, which else would have to be looked up each time:
/// 200 instructions.
#[derive(Debug, Clone)]
pub(super) struct Home(Weak<Host>);

/// A connection that can be used now.
pub(super) async fn checkout(pool: &Rc<RefCell<Pool>>, way: Way<'_>, mut now: Instant) -> Option<Kind> {
    loop {
        let connection = pool.borrow().find(way, now)?;
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
        self.hosts.values().flatten().map(|host| host.idle.borrow().count()).sum()
    }

    fn find(&self, way: Way<'_>, now: Instant) -> Option<Kind> {
        let mut host = self.host_on(way)?.idle.borrow_mut();
        host.http2.retain(|handle| handle.stands() && now.duration_since(handle.made()) < MAX_AGE);
        // The oldest first, so that under falling load the others grow old and are closed.
        if let Some(lease) = host.http2.iter().find_map(Handle::lease) {
            return Some(Kind::Http2(Box::new(lease)));
        }
        host.take_http1(now).map(Kind::Http1)
    }

    /// One over HTTP/1.1, where none is shared.
    pub(super) fn find_http1(&self, way: Way<'_>, now: Instant) -> Option<Box<Lease>> {
        let mut host = self.host_on(way)?.idle.borrow_mut();
        if host.http2.is_empty() { host.take_http1(now) } else { None }
    }

    fn host_on(&self, way: Way<'_>) -> Option<&Rc<Host>> {
        self.hosts.get(way.endpoint)?.iter().find(|host| host.is_on(way))
    }

    fn host(&mut self, way: Way<'_>) -> &Rc<Host> {
        let hosts = self.hosts.entry(way.endpoint.clone()).or_default();
        let index = hosts.iter().position(|host| host.is_on(way)).unwrap_or_else(|| {
            hosts.push(Rc::new(Host::new(way)));
            hosts.len() - 1
        });
        &hosts[index]
    }

    /// Closes what is idle for too long or closed already; says whether there are connections left.
    fn sweep(&mut self, now: Instant) -> bool {
        for hosts in self.hosts.values_mut() {
            hosts.retain(|host| {
                let mut idle = host.idle.borrow_mut();
                idle.sweep(now);
                // A connection that is in use will want to come back.
                !idle.http1.is_empty() || !idle.http2.is_empty() || Rc::weak_count(host) > 0
            });
        }
        self.hosts.retain(|_, hosts| !hosts.is_empty());
        !self.hosts.is_empty()
    }
}

impl Host {
    fn new(way: Way<'_>) -> Self {
        let (roots, proxy) = (way.roots.clone(), way.proxy.cloned());
        Self { roots, proxy, idle: RefCell::default() }
    }

    fn is_on(&self, way: Way<'_>) -> bool {
        self.roots == *way.roots && self.proxy.as_ref() == way.proxy
    }
}

impl Idle {
    fn count(&self) -> usize {
        self.http1.len() + self.http2.iter().filter(|handle| handle.idle_since().is_some()).count()
    }

    fn take_http1(&mut self, now: Instant) -> Option<Box<Lease>> {
        // Each is asked for, though it may have answered just now: what came meanwhile would else be the next call's answer.
        while let Some((_, mut lease)) = self.http1.pop() {
            if now.duration_since(lease.made()) < MAX_AGE && lease.stands() {
                return Some(lease);
            }
        }
        None
    }

    fn sweep(&mut self, now: Instant) {
        self.http1.retain_mut(|(since, lease)| now.duration_since(*since) < IDLE_TIMEOUT && lease.stands());
        self.http2.retain(|handle| {
            let idle = handle.idle_since().map_or(Duration::ZERO, |since| now.duration_since(since));
            handle.stands() && idle < IDLE_TIMEOUT && now.duration_since(handle.made()) < MAX_AGE
        });
    }
}

impl Home {
    pub(super) fn new(pool: &Rc<RefCell<Pool>>, way: Way<'_>) -> Self {
        keep_swept(pool);
        Self(Rc::downgrade(pool.borrow_mut().host(way)))
    }

    /// A connection whose call is done comes back now, unless enough lie idle already.
    pub(super) fn take_in_http1(&self, lease: Box<Lease>, now: Instant) {
        let Some(host) = self.0.upgrade() else { return };
        let mut idle = host.idle.borrow_mut();
        if idle.http1.len() < MAX_IDLE {
            idle.http1.push((now, lease));
        }
    }

    /// A new connection that many calls can share.
    pub(super) fn take_in_http2(&self, handle: Handle) {
        let Some(host) = self.0.upgrade() else { return };
        let mut idle = host.idle.borrow_mut();
        // Where several were made at once, one serves the calls to come; the others end with their own.
        if !idle.http2.iter().any(|other| other.stands() && other.has_room()) {
            idle.http2.push(handle);
        }
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
