//! From when until when a UserSig counts.

/// How far a UserSig's signing time may lie ahead of the clock, in seconds: clocks differ a little between machines.
const SKEW: u64 = 60;

/// The span of a UserSig, in seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was signed: `TLS.time`.
    pub signed_at: u64,
    /// The first second in which it counts no more: `TLS.time` and `TLS.expire` together.
    pub expires_at: u64,
}

/// What a moment says of a UserSig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Valid,
    /// Its time is over.
    Expired,
    /// It was signed more than a minute after that moment: one of two clocks is wrong, or a clock was set back.
    FromFuture,
}

impl Lifetime {
    /// What holds at `now`, in seconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn verdict(self, now: u64) -> Verdict {
        if now >= self.expires_at {
            Verdict::Expired
        } else if self.signed_at > now.saturating_add(SKEW) {
            Verdict::FromFuture
        } else {
            Verdict::Valid
        }
    }

    /// Its whole length, in seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.expires_at.saturating_sub(self.signed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_a_minute_before_signing_until_its_last_second() {
        let life = Lifetime { signed_at: 1_000, expires_at: 1_100 };
        for (now, verdict) in [
            (939, Verdict::FromFuture),
            (940, Verdict::Valid),
            (1_000, Verdict::Valid),
            (1_099, Verdict::Valid),
            (1_100, Verdict::Expired),
            (u64::MAX, Verdict::Expired),
        ] {
            assert_eq!(life.verdict(now), verdict, "{now}");
        }
        assert_eq!(life.seconds(), 100);
    }
}
