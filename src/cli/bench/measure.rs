//! Figures of many operations in little space: a histogram of latencies, medians of rounds.
use std::time::Duration;

/// Buckets between two powers of two: a value is kept to within 1/32, 3 %.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2^40 ns, 18 minutes; what takes longer counts as that.
const BITS_MAX: u32 = 40;
const BUCKETS: usize = (BITS_MAX - STEP_BITS + 1) as usize * STEPS as usize;

/// Counts latencies by size. Workers keep one each and merge them at the end, so that measuring
/// costs neither memory nor locks.
#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, latency: Duration) {
        let limit = (1u64 << BITS_MAX) - 1;
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(limit).min(limit);
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += more;
        }
        self.count += other.count;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The latency that `percent` of the operations did not exceed, microseconds. `None` without
    /// any operation.
    pub fn percentile_us(&self, percent: u64) -> Option<f64> {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(middle(found) / 1000.0)
    }
}

/// Exact below `2 * STEPS`; above, the highest bits of the value choose.
fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEP_BITS;
    (u64::from(shift + 1) * STEPS + (ns >> shift) - STEPS) as usize
}

/// Middle of a bucket, nanoseconds.
fn middle(bucket: usize) -> f64 {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if octave == 0 {
        return step as f64;
    }
    let width = 1u64 << (octave - 1);
    ((STEPS + step) * width) as f64 + (width - 1) as f64 / 2.0
}

/// What one workload did in one place in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Operations, or megabytes, a second.
    pub rate: f64,
    /// Latency of one operation, microseconds; `None` where it is not taken.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
}

/// Medians over the rounds; `None` without any.
pub fn medians(samples: &[Sample]) -> Option<Sample> {
    let all =
        |figure: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(figure).collect());
    Some(Sample {
        rate: all(|sample| Some(sample.rate))?,
        p50_us: all(|sample| sample.p50_us),
        p99_us: all(|sample| sample.p99_us),
    })
}

/// Median of the ratios of the same round: both sides of one ratio met the same machine.
pub fn ratio(mirrored: &[Sample], plain: &[Sample]) -> Option<f64> {
    let rounds = mirrored.iter().zip(plain).filter(|(_, plain)| plain.rate > 0.0);
    median(rounds.map(|(mirrored, plain)| mirrored.rate / plain.rate).collect())
}

/// The middle value, or between the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_whose_middle_is_near() {
        let mut last = 0;
        let values = (0..4096).chain((12..BITS_MAX).flat_map(|bits| {
            let power = 1u64 << bits;
            [power - 1, power, power + 1, power + power / 3]
        }));
        for ns in values {
            let bucket = bucket(ns);
            assert!(bucket < BUCKETS, "{ns}");
            assert!(bucket >= last || ns < 4096, "{ns}: buckets follow the values");
            last = bucket;
            let off = (middle(bucket) - ns as f64).abs();
            assert!(off <= ns as f64 / STEPS as f64, "{ns}: {}", middle(bucket));
        }
        assert_eq!(bucket((1 << BITS_MAX) - 1), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut whole = Histogram::default();
        assert_eq!(whole.percentile_us(50), None);
        let mut halves = [Histogram::default(), Histogram::default()];
        for us in 1..=1000u64 {
            halves[(us % 2) as usize].add(Duration::from_micros(us));
        }
        halves.iter().for_each(|half| whole.merge(half));
        assert_eq!(whole.count(), 1000);
        for (percent, exact) in [(1, 10.0), (50, 500.0), (99, 990.0), (100, 1000.0)] {
            let found = whole.percentile_us(percent).unwrap();
            assert!((found - exact).abs() <= exact / STEPS as f64, "p{percent}: {found}");
        }
        whole.add(Duration::from_secs(1 << 20));
        assert!(whole.percentile_us(100).unwrap() > 1e9, "an endless one is counted");
    }

    #[test]
    fn medians_are_in_the_middle_and_ratios_within_a_round() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        let sample = |rate| Sample { rate, p50_us: Some(1e6 / rate), p99_us: None };
        // The machine was three times as fast in the second round: the ratio stays.
        let (mirrored, plain) = ([10.0, 30.0, 20.0].map(sample), [20.0, 60.0, 80.0].map(sample));
        assert_eq!(ratio(&mirrored, &plain), Some(0.5));
        assert_eq!(ratio(&mirrored, &[]), None);
        let summary = medians(&mirrored).unwrap();
        assert_eq!((summary.rate, summary.p50_us, summary.p99_us), (20.0, Some(50_000.0), None));
        assert_eq!(medians(&[]), None);
    }
}
