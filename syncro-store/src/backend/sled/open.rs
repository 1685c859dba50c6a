//! From a path to a database that is ours, and ours alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ::sled::{Config, Db, Tree};
use syncro_core::StoreError;

use super::blame;
use crate::backend::place::{Blame, Place};

/// A directory that nobody else has open.
///
/// sled's own lock does not do: it is let go of late, when the last of sled's threads is done with what
/// it was writing, so that a store that was just closed could not be opened.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    log: PathBuf,
}

impl Lock {
    /// Waits until sled has let go of its file, which takes some milliseconds after it was dropped. Gives
    /// up when it takes unreasonably long: another program has it.
    pub(super) fn wait_for_sled(&self) {
        let Ok(log) = File::open(&self.log) else { return };
        let start = Instant::now();
        while let Err(TryLockError::WouldBlock) = log.try_lock() {
            if start.elapsed() > SLED_CLOSES_WITHIN {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = log.unlock();
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a process that is being started holds it too, for a moment.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Locks a directory that is a store or may become one, creating it where there is none.
pub(super) fn lock(path: &Path, place: &Place) -> Result<Lock, StoreError> {
    if path.is_file() {
        let what = "this is a file; sled keeps a store in a directory";
        return Err(place.io(io::ErrorKind::NotADirectory, what));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let what = "its directory does not exist; create it first";
        return Err(place.io(io::ErrorKind::NotFound, what));
    }
    let io = |error: io::Error| place.blame_io(&error);
    if !path.is_dir() {
        fs::create_dir(path).map_err(io)?;
        sync_directory(parent).map_err(io)?;
    }
    refuse_strangers(path, place)?;
    let mut options = OpenOptions::new();
    let file =
        options.create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { file, log: path.join(LOG) }),
        Err(TryLockError::WouldBlock) => Err(place.locked()),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Opens the database in a directory that is locked, and the file that it appends to.
pub(super) fn open(
    config: &Config,
    path: &Path,
    place: &Place,
) -> Result<(Tree, File), StoreError> {
    place.guard(|| {
        let database = config.open().map_err(|error| error.blame(place))?;
        let tree = adopt(&database, place)?;
        let io = |error: io::Error| place.blame_io(&error);
        let file = OpenOptions::new().read(true).write(true).open(path.join(LOG)).map_err(io)?;
        let flush = |error: io::Error| blame::flush(place, &error);
        file.sync_all().map_err(flush)?;
        OpenOptions::new()
            .write(true)
            .open(path.join(SETTINGS))
            .map_err(io)?
            .sync_all()
            .map_err(flush)?;
        sync_directory(path).map_err(io)?;
        Ok::<_, StoreError>((tree, file))
    })
}

/// Makes sure that the database holds our tree: creates it in an empty one, refuses to touch another
/// program's.
fn adopt(database: &Db, place: &Place) -> Result<Tree, StoreError> {
    let blame = |error: ::sled::Error| error.blame(place);
    let names = database.tree_names();
    if !names.iter().any(|name| **name == *TREE.as_bytes()) {
        let others = names.iter().map(|name| String::from_utf8_lossy(name).into_owned());
        let others: Vec<_> = others.filter(|name| name != "__sled__default").collect();
        if !others.is_empty() {
            return Err(place.foreign(&format!("it holds the trees {others:?}")));
        }
        if !database.is_empty() {
            return Err(place.foreign("it holds other keys"));
        }
    }
    let tree = database.open_tree(TREE).map_err(blame)?;
    tree.flush().map_err(blame)?;
    Ok(tree)
}

/// Refuses a directory in which somebody keeps something else: sled would move in beside it.
fn refuse_strangers(path: &Path, place: &Place) -> Result<(), StoreError> {
    let io = |error: io::Error| place.blame_io(&error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let holds = |name: &str| names.iter().any(|found| found == name);
    let is_sleds = |name: &String| {
        [LOCK, LOG, SETTINGS, "blobs"].contains(&name.as_str()) || name.starts_with("snap.")
    };
    let stranger = names.iter().find(|name| !is_sleds(name));
    // sled writes its settings first. It would take any file for one that lost its settings.
    if let Some(name) = stranger.filter(|_| !holds(SETTINGS)) {
        return Err(place.stranger(&format!("it holds {name}")));
    }
    if holds(LOG) && !holds(SETTINGS) {
        return Err(place.stranger("it holds `db` but no `conf`"));
    }
    Ok(())
}

/// Makes the names in a directory durable, where the system offers that.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    File::open(directory)?.sync_all()
}

/// The tree that holds our tables, and says how: another layout would be a tree of another name.
const TREE: &str = "syncro";
/// sled's file of data.
const LOG: &str = "db";
/// sled's settings.
const SETTINGS: &str = "conf";
/// Our lock.
const LOCK: &str = "lock";
/// Far more than the threads of sled take to finish a write.
const SLED_CLOSES_WITHIN: Duration = Duration::from_secs(5);
