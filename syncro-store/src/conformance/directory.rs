//! Directories that tests copy, damage and forget.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::history::numbers;

/// A directory that a [`Place`](super::Place) has to itself.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Gone with the value, unless the directory belongs to another process.
    _temporary: Option<TempDir>,
}

impl Directory {
    /// Creates an empty directory, which vanishes with the value.
    ///
    /// # Panics
    ///
    /// If the operating system refuses it.
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self { path: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of another process, which stays.
    pub(super) fn of_another(path: PathBuf) -> Self {
        Self { path, _temporary: None }
    }

    /// Copies the files as they are at one moment.
    ///
    /// A database may write in threads of its own: the files are read until they are found twice the
    /// same.
    pub(super) fn image(&self) -> Self {
        let mut files = self.files();
        for _ in 0..100 {
            let again = self.files();
            match (files, again) {
                (Ok(files), Ok(again)) if files == again => return Self::holding(&files),
                // A file that vanished while it was looked for.
                (_, again) => files = again,
            }
        }
        panic!("the files in {} never come to rest", self.path.display());
    }

    /// Copies the files and damages one of them.
    pub(super) fn damaged(&self, seed: u64) -> Self {
        let mut files = self.files().unwrap();
        let mut random = numbers(seed);
        let mut below = |limit: usize| (random() % limit.max(1) as u64) as usize;
        // Large files have more to lose.
        let total: usize = files.values().map(Vec::len).sum();
        let mut at = below(total);
        for content in files.values_mut() {
            if at >= content.len() {
                at -= content.len();
                continue;
            }
            // Most of a file may be room that is not in use yet.
            let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
            match below(8) {
                0 => content.truncate(below(used)),
                1 | 2 => {
                    let sector = below(used) / 512 * 512;
                    let end = content.len().min(sector + 512);
                    content[sector..end].fill(0);
                }
                _ => {
                    for _ in 0..=below(8) {
                        content[below(used)] ^= 1 << below(8);
                    }
                }
            }
            break;
        }
        Self::holding(&files)
    }

    fn holding(files: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let directory = Self::new();
        for (name, content) in files {
            let path = directory.path.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn files(&self) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.path.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let name = path.strip_prefix(&self.path).unwrap_or(&path).to_owned();
                    files.insert(name, fs::read(path)?);
                }
            }
        }
        Ok(files)
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}
