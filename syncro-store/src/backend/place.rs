//! Where a database keeps its store, and whose fault it is, in our words, when it fails there.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use syncro_core::StoreError;

use super::caught::message;

/// A file or directory of a database, as errors name it.
#[derive(Debug)]
pub(super) struct Place {
    name: String,
    /// What it is if it is not ours, such as "a redb database".
    sort: &'static str,
}

/// An error of a database, in our words.
pub(super) trait Blame {
    fn blame(self, place: &Place) -> StoreError;
}

impl Place {
    pub(super) fn new(name: String, sort: &'static str) -> Self {
        Self { name, sort }
    }

    /// Runs a database and translates how it fails.
    ///
    /// Databases trust what they read from files that were closed cleanly, and panic over some damage.
    /// What they leave behind then must be safe to meet again, and our own state is whole at every
    /// moment.
    pub(super) fn guard<T, E: Blame>(
        &self,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => done.map_err(|error| error.blame(self)),
            Err(panic) => Err(self.corrupt(&format!("the database gave up: {}", message(&*panic)))),
        }
    }

    pub(super) fn locked(&self) -> StoreError {
        StoreError::Locked { place: self.name.clone() }
    }

    pub(super) fn latched(&self, cause: &str) -> StoreError {
        StoreError::Latched { cause: format!("{}: {cause}", self.name) }
    }

    pub(super) fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt { what: format!("{}: {what}", self.name) }
    }

    /// It is a database, but somebody else's.
    pub(super) fn foreign(&self, what: &str) -> StoreError {
        let what = format!("{} is {} but no store of this library ({what})", self.name, self.sort);
        StoreError::NotAStore { what }
    }

    /// It is something else.
    pub(super) fn stranger(&self, what: &str) -> StoreError {
        let what = format!("{} is no store of this library ({what})", self.name);
        StoreError::NotAStore { what }
    }

    pub(super) fn io(&self, kind: io::ErrorKind, what: &str) -> StoreError {
        io::Error::new(kind, format!("{}: {what}", self.name)).into()
    }

    pub(super) fn blame_io(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::InvalidData => self.stranger(&error.to_string()),
            io::ErrorKind::UnexpectedEof => self.corrupt("it has been cut short"),
            kind => self.io(kind, &error.to_string()),
        }
    }
}

/// The bytes that are free where a file or directory is, if that can be told.
pub(super) fn room_beside(path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}

impl Blame for StoreError {
    fn blame(self, _: &Place) -> StoreError {
        self
    }
}
