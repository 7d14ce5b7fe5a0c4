//! Latencies, counted in buckets: [`Histogram`].

use std::time::Duration;

/// Buckets per power of two of nanoseconds: a percentile is at most 1/32 too high.
const BUCKETS_PER_POWER: usize = 32;
const POWERS: usize = 40;

/// Counts times from a nanosecond to minutes, in constant memory.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            counts: vec![0; BUCKETS_PER_POWER * POWERS],
            total: 0,
        }
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.counts[bucket(time.as_nanos() as u64)] += 1;
        self.total += 1;
    }

    /// The time that a `share` of all (0.0 to 1.0) did not exceed; zero if there is none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return Duration::from_nanos(upper_end(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    let sub_bits = BUCKETS_PER_POWER.ilog2();
    // Below the first power that has all of its buckets, each nanosecond is a bucket.
    let shift = nanos.max(1).ilog2().saturating_sub(sub_bits);
    let index = shift as usize * BUCKETS_PER_POWER + (nanos >> shift) as usize;
    index.min(BUCKETS_PER_POWER * POWERS - 1)
}

fn upper_end(index: usize) -> u64 {
    let shift = (index / BUCKETS_PER_POWER).saturating_sub(1);
    let within = index - shift * BUCKETS_PER_POWER;
    ((within as u64 + 1) << shift) - 1
}
