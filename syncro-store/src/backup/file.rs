//! Backups in files.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use syncro_core::StoreError;

use super::Copied;
use crate::backend::{Backend, Partial, Redb};
use crate::log_store::Reader;

impl Reader {
    /// Copies the store, as it is at this moment, to a new file, which [`Redb::open`] opens.
    ///
    /// The file has its name only once it is whole and durable; until then its name has a number and `.partial`
    /// besides. A process that is killed leaves that one behind.
    /// Everything else is as with [`copy_to`](Self::copy_to).
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where the file exists; the errors of [`Redb::open`] and of
    /// [`copy_to`](Self::copy_to). No file is left then.
    pub fn backup(
        &self,
        path: impl AsRef<Path>,
        progress: impl FnMut(u64),
    ) -> Result<Copied, StoreError> {
        let path = path.as_ref();
        if path.exists() {
            let what = format!("{} exists: give the backup a name of its own", path.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, what).into());
        }
        if path.parent().is_some_and(|parent| parent != Path::new("") && !parent.is_dir()) {
            let what = format!("{}: its directory does not exist; create it first", path.display());
            return Err(io::Error::new(ErrorKind::NotFound, what).into());
        }
        let partial = Partial::beside(path)?;
        let redb = Redb::open(&partial.0)?;
        let copied = self.copy_to(&redb, progress)?;
        redb.compact()?;
        drop(redb);
        fs::rename(&partial.0, path)?;
        crate::backend::sync_directory_of(path)?;
        Ok(copied)
    }
}
