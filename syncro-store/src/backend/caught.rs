//! Backends that panic: caught, and never written again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use bytes::Bytes;
use syncro_core::StoreError;

use super::{Backend, Batch, Durability, Table};

/// A backend whose panics are errors, the last ones that it is asked for.
///
/// A backend must not panic (B10). One that does has broken a promise, and what it holds in memory may be
/// half changed: whatever is durable shows when it is opened again.
pub(crate) struct Caught<B> {
    backend: B,
    panicked: OnceLock<String>,
}

impl<B: Backend> Caught<B> {
    pub(crate) fn new(backend: B) -> Self {
        Self { backend, panicked: OnceLock::new() }
    }

    fn run<T>(&self, run: impl FnOnce(&B) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(cause) = self.panicked.get() {
            return Err(StoreError::Latched { cause: cause.clone() });
        }
        // Nobody looks at the backend again after a panic.
        catch_unwind(AssertUnwindSafe(|| run(&self.backend))).unwrap_or_else(|panic| {
            let what = format!("the backend panicked: {}", message(&*panic));
            let _ = self.panicked.set(what.clone());
            Err(StoreError::Corrupt { what })
        })
    }
}

impl<B: Backend> Backend for Caught<B> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.run(|backend| backend.get(table, key))
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.run(|backend| backend.scan(table, start, end, limit))
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.run(|backend| backend.floor(table, at))
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.run(|backend| backend.write(batch, durability))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.run(Backend::check)
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.run(Backend::compact)
    }
}

/// What a panic says.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
