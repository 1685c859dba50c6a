//! Files that are not finished.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use syncro_core::StoreError;

/// A file that goes away unless it gets another name.
pub(crate) struct Partial(pub(crate) PathBuf);

impl Partial {
    /// A name of its own beside a file's. Nothing has it yet.
    pub(crate) fn beside(path: &Path) -> Result<Self, StoreError> {
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
