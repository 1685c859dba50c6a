//! Whose fault it is, in our words, when redb fails.
//!
//! After a panic redb is safe to meet again: it poisons its locks and the transaction.

use ::redb::Error as RedbError;
use syncro_core::StoreError;

use crate::backend::place::{Blame, Place};

impl Blame for RedbError {
    fn blame(self, place: &Place) -> StoreError {
        match self {
            Self::DatabaseAlreadyOpen => place.locked(),
            Self::Corrupted(what) => place.corrupt(&what),
            // Batches are in order, so it is the table that is not.
            Self::UnorderedKey => place.corrupt("its rows are out of order"),
            Self::UpgradeRequired(version) => place.corrupt(&format!(
                "it has redb's old file format {version}, in which no store was ever written"
            )),
            Self::TableTypeMismatch { .. }
            | Self::TableIsMultimap(_)
            | Self::TableIsNotMultimap(_)
            | Self::TypeDefinitionChanged { .. }
            | Self::TableDoesNotExist(_) => place.foreign(&self.to_string()),
            Self::Io(error) => place.blame_io(&error),
            Self::PreviousIo
            | Self::DatabaseClosed
            | Self::LockPoisoned(_)
            | Self::TransactionPoisoned => place.latched(&self.to_string()),
            other => place.io(std::io::ErrorKind::Other, &other.to_string()),
        }
    }
}
