//! Time, memory, medians, and where a thread runs.

use std::fs;
use std::time::Instant;

/// What one repetition took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub seconds: f64,
    /// What was done in this time.
    pub ops: f64,
    /// Bytes on the wire, or at rest; 0 where nobody counts.
    pub bytes: u64,
    /// The most memory that the process held while it did so.
    pub peak_rss_bytes: u64,
}

impl Sample {
    /// Times a closure in which so many operations are done.
    pub fn of<T>(ops: usize, what: impl FnOnce() -> T) -> (Self, T) {
        forget_peak();
        let start = Instant::now();
        let result = what();
        let seconds = start.elapsed().as_secs_f64();
        let sample = Self { seconds, ops: ops as f64, bytes: 0, peak_rss_bytes: peak_rss_bytes() };
        (sample, result)
    }

    pub fn ops_per_second(&self) -> f64 {
        self.ops / self.seconds
    }
}

/// The sample in the middle by time.
pub fn median(samples: Vec<Sample>) -> Option<Sample> {
    median_by(samples, |sample| sample.seconds)
}

/// The sample in the middle by what counts of it.
pub fn median_by(mut samples: Vec<Sample>, cost: impl Fn(&Sample) -> f64) -> Option<Sample> {
    samples.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    samples.get(samples.len() / 2).copied()
}

/// The value below which such a part of the values lies, in the order of values.
pub fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The most memory that this process has held, in bytes; 0 where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// The memory that this process holds now, in bytes; 0 where the system does not say.
pub fn rss_bytes() -> u64 {
    status_bytes("VmRSS:")
}

fn status_bytes(row: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(row));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Starts the peak anew, where the system lets us.
pub fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Keeps this thread, and those it starts, on one core; all of them where the system cannot.
pub fn pin(core: usize) -> bool {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let samples = [3.0, 1.0, 2.0].map(|seconds| Sample { seconds, ..Sample::default() });
        assert_eq!(median(samples.to_vec()).unwrap().seconds, 2.0);
        assert!(median(Vec::new()).is_none());

        let samples = [(1.0, 30), (2.0, 10), (3.0, 20)];
        let samples =
            samples.map(|(seconds, bytes)| Sample { seconds, bytes, ..Sample::default() });
        let by_bytes = median_by(samples.to_vec(), |sample| sample.bytes as f64);
        assert_eq!(by_bytes.unwrap().bytes, 20);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(quantile(values.clone(), 0.5), 50.0);
        assert_eq!(quantile(values.clone(), 0.99), 99.0);
        assert_eq!(quantile(values, 1.0), 99.0);
    }
}
