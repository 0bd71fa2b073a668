//! What a call has of one ceiling: a token of this process's own, and what stands behind it where other replicas share
//! the ceiling.

use tokio::time::Instant;

use super::bucket::Bucket;
use super::shared::Backing;
use super::tokens::InTransit;

/// What a call has of a bucket.
#[derive(Debug)]
pub(super) struct Hold {
    bucket: u64,
    /// `None`: the ceiling is this process's alone. Apart, since most are.
    backed: Option<Box<Backed>>,
}

/// What stands behind a token.
#[derive(Debug)]
struct Backed {
    by: Backing,
    /// When the call's last byte left, and with what of this replica's part.
    sent: Option<(Instant, Option<InTransit>)>,
}

impl Hold {
    /// Takes a token of a bucket that is ready.
    pub(super) fn of(bucket: &mut Bucket, now: Instant) -> Self {
        bucket.take(now);
        let by = bucket.leases().and_then(|leases| leases.take(now));
        Self { bucket: bucket.number(), backed: by.map(|by| Box::new(Backed { by, sent: None })) }
    }

    /// Whether it is of this bucket.
    pub(super) fn is_of(&self, bucket: &Bucket) -> bool {
        self.bucket == bucket.number()
    }

    /// Until when what is on loan may be used; `None`: nothing is.
    pub(super) fn until(&self) -> Option<Instant> {
        self.backed.as_ref().map(|backed| backed.by.until())
    }

    /// Whether its call may still leave: of no period more tokens are away than there are, and what stands behind it
    /// still does.
    pub(super) fn confirms(&self, bucket: &mut Bucket, now: Instant) -> bool {
        bucket.confirms(now) && self.stands(bucket, now)
    }

    /// Whether what stands behind it still does.
    pub(super) fn stands(&self, bucket: &mut Bucket, now: Instant) -> bool {
        match (bucket.leases(), &self.backed) {
            (Some(leases), Some(backed)) => leases.stands(backed.by, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Its call never wrote a byte.
    pub(super) fn give_back(&self, bucket: &mut Bucket, now: Instant) {
        bucket.give_back();
        if let (Some(leases), Some(backed)) = (bucket.leases(), &self.backed) {
            leases.give_back(backed.by, now);
        }
    }

    /// The last byte of its call, granted at `granted`, was handed to the kernel.
    pub(super) fn sent(&mut self, bucket: &mut Bucket, granted: Instant, now: Instant) -> InTransit {
        if let (Some(leases), Some(backed)) = (bucket.leases(), &mut self.backed) {
            backed.sent = Some((now, leases.sent(backed.by, granted, now)));
        }
        bucket.sent(granted, now)
    }

    /// The first byte of its call's answer came.
    pub(super) fn answered(&self, bucket: &mut Bucket, token: InTransit, now: Instant) {
        bucket.answered(token, now);
        if let (Some(leases), Some(backed)) = (bucket.leases(), &self.backed)
            && let Some((at, part)) = backed.sent
        {
            leases.answered(backed.by, part, at, now);
        }
    }
}
