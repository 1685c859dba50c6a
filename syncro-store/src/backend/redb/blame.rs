//! Whose fault it is, in our words, when redb fails.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::redb::Error as RedbError;
use syncro_core::StoreError;

use crate::backend::caught::message;

/// The file of a database, as errors name it.
#[derive(Debug)]
pub(super) struct Place {
    name: String,
}

impl Place {
    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    /// Runs redb and translates how it fails.
    ///
    /// redb trusts what it reads from a file that was closed cleanly, and panics over some damage.
    /// What it leaves behind then is safe to meet again: it poisons its locks and the transaction,
    /// and our own state is whole at every moment.
    pub(super) fn guard<T>(
        &self,
        run: impl FnOnce() -> Result<T, RedbError>,
    ) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(done) => done.map_err(|error| self.blame(error)),
            Err(panic) => Err(self.corrupt(&format!("the database gave up: {}", message(&*panic)))),
        }
    }

    pub(super) fn blame(&self, error: RedbError) -> StoreError {
        match error {
            RedbError::DatabaseAlreadyOpen => StoreError::Locked { place: self.name.clone() },
            RedbError::Corrupted(what) => self.corrupt(&what),
            RedbError::UpgradeRequired(version) => self.corrupt(&format!(
                "it has redb's old file format {version}, in which no store was ever written"
            )),
            RedbError::TableTypeMismatch { .. }
            | RedbError::TableIsMultimap(_)
            | RedbError::TableIsNotMultimap(_)
            | RedbError::TypeDefinitionChanged { .. }
            | RedbError::TableDoesNotExist(_) => self.foreign(&error.to_string()),
            RedbError::Io(error) => self.blame_io(&error),
            RedbError::PreviousIo
            | RedbError::DatabaseClosed
            | RedbError::LockPoisoned(_)
            | RedbError::TransactionPoisoned => {
                StoreError::Latched { cause: format!("{}: {error}", self.name) }
            }
            other => self.io(io::ErrorKind::Other, &other.to_string()),
        }
    }

    /// The file is a database, but somebody else's.
    pub(super) fn foreign(&self, what: &str) -> StoreError {
        StoreError::Corrupt {
            what: format!(
                "{} is a redb database but no store of this library ({what}); was another file meant?",
                self.name
            ),
        }
    }

    pub(super) fn io(&self, kind: io::ErrorKind, what: &str) -> StoreError {
        io::Error::new(kind, format!("{}: {what}", self.name)).into()
    }

    pub(super) fn blame_io(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::InvalidData => StoreError::Corrupt {
                what: format!(
                    "{} is no store of this library ({error}); was another file meant?",
                    self.name
                ),
            },
            io::ErrorKind::UnexpectedEof => self.corrupt("it has been cut short"),
            kind => self.io(kind, &error.to_string()),
        }
    }

    pub(super) fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt { what: format!("{}: {what}", self.name) }
    }
}
