//! Micro benchmarks of merge, codec, engine step and store commit: `cargo bench`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use syncro_bench::hot::{OPERATIONS, PATHS};

/// Most operations can be done once, so each batch of them gets a fresh start, which is not timed.
fn hot_paths(criterion: &mut Criterion) {
    for path in &PATHS {
        criterion.bench_function(path.name, |bencher| {
            bencher.iter_custom(|rounds| {
                let (mut took, mut left) = (Duration::ZERO, rounds as usize);
                while left > 0 {
                    let batch = if path.is_once { left.min(OPERATIONS) } else { left };
                    let mut operation = (path.make)();
                    let start = Instant::now();
                    (0..batch).for_each(|at| operation(black_box(at)));
                    took += start.elapsed();
                    left -= batch;
                }
                took
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = hot_paths
}
criterion_main!(benches);
