//! Backups in files.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use syncro_core::StoreError;

use super::Copied;
use crate::backend::{Backend, Redb};
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
        let partial = Partial::begin(path)?;
        let redb = Redb::open(&partial.0)?;
        let copied = self.copy_to(&redb, progress)?;
        redb.compact()?;
        drop(redb);
        fs::rename(&partial.0, path)?;
        crate::backend::sync_directory_of(path)?;
        Ok(copied)
    }
}

/// A file that goes away unless it gets another name.
struct Partial(PathBuf);

impl Partial {
    fn begin(path: &Path) -> Result<Self, StoreError> {
        // Several may be made under one name at once: each is whole when it gets it.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(path);
        name.push(format!(".{}-{number}.partial", std::process::id()));
        let partial = Self(name.into());
        // Of a process that had this one's number.
        match fs::remove_file(&partial.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(partial),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
