//! Whose fault it is, in our words, when sled fails.

use std::io::{self, ErrorKind};

use ::sled::Error as SledError;
use syncro_core::StoreError;

use crate::backend::place::{Blame, Place};

/// What a failed flush leaves on the disk nobody knows, whatever it says that it lacked.
pub(super) fn flush(place: &Place, error: &io::Error) -> StoreError {
    place.io(ErrorKind::Other, &format!("it could not be flushed: {error}"))
}

impl Blame for SledError {
    fn blame(self, place: &Place) -> StoreError {
        match self {
            // All that sled says of a lock that is taken.
            Self::Io(error) if error.to_string().starts_with("could not acquire lock") => {
                place.locked()
            }
            // sled opens what it reads by name; what is gone was taken from it.
            Self::Io(error) if error.kind() == ErrorKind::NotFound => {
                place.corrupt(&format!("a file of it is gone ({error})"))
            }
            Self::Io(error) => place.blame_io(&error),
            Self::Corruption { .. } => place.corrupt("sled finds it damaged"),
            // Nothing that we ask for is unsupported: the files are of another version, or settings.
            Self::Unsupported(what) => place.corrupt(&what),
            Self::CollectionNotFound(_) => place.corrupt("its table is gone"),
            Self::ReportableBug(what) => place.corrupt(&format!("sled gave up: {what}")),
        }
    }
}
