//! Backends that panic or give what they were not asked for: caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use syncro_core::StoreError;

use super::{Backend, Batch, Durability, Remains, Save, Table};

/// A backend whose panics are errors, the last ones that it is asked for, and that gives keys only where they
/// belong: over damage a database may show one table's page for another's.
///
/// A backend must not panic (B10). One that does has broken a promise, and what it holds in memory may be
/// half changed: whatever is durable shows when it is [reopened](Backend::reopen).
pub(crate) struct Caught<B> {
    backend: B,
    panicked: Mutex<Option<String>>,
}

impl<B: Backend> Caught<B> {
    pub(crate) fn new(backend: B) -> Self {
        Self { backend, panicked: Mutex::new(None) }
    }

    fn run<T>(&self, run: impl FnOnce(&B) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(cause) = self.panicked().clone() {
            return Err(StoreError::Latched { cause });
        }
        // Nobody looks at the backend again after a panic, before it is reopened.
        catch_unwind(AssertUnwindSafe(|| run(&self.backend))).unwrap_or_else(|panic| {
            let what = format!("the backend panicked: {}", message(&*panic));
            self.panicked().get_or_insert_with(|| what.clone());
            Err(StoreError::Corrupt { what })
        })
    }

    fn panicked(&self) -> MutexGuard<'_, Option<String>> {
        self.panicked.lock().unwrap_or_else(PoisonError::into_inner)
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
        let found = self.run(|backend| backend.scan(table, start, end, limit))?;
        let keys = || found.iter().map(|(key, _)| key.as_ref());
        let is_within = keys().all(|key| key >= start && end.is_none_or(|end| key < end));
        if is_within && keys().is_sorted_by(|one, next| one < next) {
            Ok(found)
        } else {
            Err(out_of_order(table))
        }
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let found = self.run(|backend| backend.floor(table, at))?;
        match found {
            Some((key, _)) if key.as_ref() > at => Err(out_of_order(table)),
            found => Ok(found),
        }
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.run(|backend| backend.write(batch, durability))
    }

    fn is_behind(&self) -> bool {
        self.run(|backend| Ok(backend.is_behind())).unwrap_or_default()
    }

    fn catch_up(&self) -> Result<(), StoreError> {
        self.run(Backend::catch_up)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.run(Backend::check)
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.run(Backend::compact)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        *self.panicked() = None;
        self.run(Backend::reopen)
    }

    fn remains(&self) -> Option<Box<dyn Remains>> {
        // Also after a panic: it is for what is damaged.
        catch_unwind(AssertUnwindSafe(|| self.backend.remains())).ok().flatten()
    }

    fn salvage(&self, save: &mut Save<'_>) -> Result<Option<PathBuf>, StoreError> {
        let latched = self.panicked().take();
        let salvaged = self.run(|backend| backend.salvage(save));
        if !matches!(salvaged, Ok(Some(_))) {
            // What panicked is still there.
            let mut panicked = self.panicked();
            *panicked = panicked.take().or(latched);
        }
        salvaged
    }

    fn room(&self) -> Option<u64> {
        self.run(|backend| Ok(backend.room())).ok().flatten()
    }
}

fn out_of_order(table: Table) -> StoreError {
    StoreError::Corrupt { what: format!("the order of table {}", table.name()) }
}

/// What a panic says.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the same rows whatever it is asked for.
    struct Stubborn(Vec<(Bytes, Bytes)>);

    impl Backend for Stubborn {
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Ok(None)
        }
        fn scan(
            &self,
            _: Table,
            _: &[u8],
            _: Option<&[u8]>,
            _: usize,
        ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
            Ok(self.0.clone())
        }
        fn floor(&self, _: Table, _: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
            Ok(self.0.last().cloned())
        }
        fn write(&self, _: &Batch, _: Durability) -> Result<(), StoreError> {
            Ok(())
        }
        fn reopen(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Over a page in another's place, a list of one model had records of another.
    #[test]
    fn rows_that_were_not_asked_for_are_damage() {
        let row = |key: &'static str| (Bytes::from(key), Bytes::new());
        let scan = |rows: &[&'static str]| {
            let stubborn = Stubborn(rows.iter().map(|key| row(key)).collect());
            Caught::new(stubborn).scan(Table::Records, b"b", Some(b"e"), 9).is_ok()
        };
        assert!(scan(&["b", "c", "d"]) && scan(&[]));
        assert!(
            !scan(&["a", "c"]) && !scan(&["c", "e"]) && !scan(&["c", "b"]) && !scan(&["c", "c"])
        );
        let floor = |at: &[u8]| Caught::new(Stubborn(vec![row("c")])).floor(Table::Log, at).is_ok();
        assert!(floor(b"c") && floor(b"d") && !floor(b"b"));
    }
}
