//! What Syncro does in a second, beside what others do: see `docs/performance.md`.

pub mod cases;
pub mod engines;
pub mod hot;
pub mod measure;
pub mod plot;
pub mod report;
pub mod workload;
