//! What is counted into: numbers that lie side by side where the call's own are.
//!
//! The `prometheus` crate's own counters and histograms are shared by name, so each is a place of its own in memory, with
//! its labels and its bounds, and each histogram is there twice, for a scrape that sees count and sum of the same moment. A
//! call counts into five of them, and where many apps are in use all that has left the cache by the app's next call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// The upper bounds of a histogram's buckets, in nanoseconds, rising. A bucket holds what took as long as its bound, too.
#[derive(Debug)]
pub(super) struct Bounds<const N: usize>([u64; N]);

/// How often what took how long. What a call counts into lies side by side where it took as little as most do: `repr(C)`
/// keeps the order, and the sum shares a cache line with the counts of the first five bounds.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Histogram<const N: usize> {
    bounds: &'static Bounds<N>,
    /// Nanoseconds, of all together.
    sum: AtomicU64,
    counts: [AtomicU64; N],
    /// What took longer than the last bound.
    beyond: AtomicU64,
}

/// How many there were, and how long they took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) took: Duration,
}

// === impl Counter ===

impl Counter {
    pub(super) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Bounds ===

impl<const N: usize> Bounds<N> {
    pub(super) const fn of_microseconds(bounds: [u64; N]) -> Self {
        let mut nanoseconds = bounds;
        let mut nth = 0;
        while nth < N {
            nanoseconds[nth] *= 1_000;
            assert!(nth == 0 || nanoseconds[nth - 1] < nanoseconds[nth], "bounds rise");
            nth += 1;
        }
        Self(nanoseconds)
    }
}

// === impl Histogram ===

impl<const N: usize> Histogram<N> {
    pub(super) fn new(bounds: &'static Bounds<N>) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, sum: AtomicU64::new(0), counts, beyond: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let nth = self.bounds.0.partition_point(|&bound| bound < nanoseconds);
        self.counts.get(nth).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        // Most calls wait not at all.
        if nanoseconds > 0 {
            self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }

    pub(super) fn sums(&self) -> Sums {
        let counts = self.counts.iter().chain([&self.beyond]).map(|count| count.load(Ordering::Relaxed));
        Sums { count: counts.sum(), took: Duration::from_nanos(self.sum.load(Ordering::Relaxed)) }
    }

    /// The same for Prometheus. The count is that of the buckets always; the sum may know of a call more or less.
    pub(super) fn collect(&self) -> proto::Histogram {
        let mut below = 0;
        let buckets = self.bounds.0.iter().zip(&self.counts).map(|(&bound, count)| {
            below += count.load(Ordering::Relaxed);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(Duration::from_nanos(bound).as_secs_f64());
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(below + self.beyond.load(Ordering::Relaxed));
        histogram.set_sample_sum(Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64());
        histogram
    }
}

// === impl Sums ===

impl Sums {
    /// The mean of those that came after `before`; `None` if there were none.
    pub(super) fn mean_since(self, before: Self) -> Option<Duration> {
        let count = self.count.checked_sub(before.count).filter(|&count| count > 0)?;
        let took = self.took.saturating_sub(before.took).as_nanos() / u128::from(count);
        Some(Duration::from_nanos(u64::try_from(took).unwrap_or(u64::MAX)))
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.took += other.took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: Bounds<3> = Bounds::of_microseconds([1, 10, 2_500_000]);

    #[test]
    fn what_took_as_long_as_a_bound_is_in_its_bucket() {
        let histogram = Histogram::new(&BOUNDS);
        for nanoseconds in [0, 1_000, 1_001, 10_000, 2_500_000_000, 2_500_000_001, u64::MAX / 4] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let collected = histogram.collect();
        let buckets =
            collected.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        assert_eq!(buckets.collect::<Vec<_>>(), [(0.000_001, 2), (0.000_01, 4), (2.5, 5)]);
        assert_eq!((collected.get_sample_count(), histogram.sums().count), (7, 7));
    }

    #[test]
    fn the_sum_is_in_seconds() {
        let histogram = Histogram::new(&BOUNDS);
        let before = histogram.sums();
        assert_eq!(before.mean_since(before), None);
        for ms in [1, 2, 500] {
            histogram.observe(Duration::from_millis(ms));
        }
        assert!((histogram.collect().get_sample_sum() - 0.503).abs() < 1e-12);
        let sums = histogram.sums();
        assert_eq!(sums, Sums { count: 3, took: Duration::from_millis(503) });
        histogram.observe(Duration::from_millis(7));
        assert_eq!(histogram.sums().mean_since(sums), Some(Duration::from_millis(7)));
    }
}
