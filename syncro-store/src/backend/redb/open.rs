//! From a path to a database that is ours.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{self, Path, PathBuf};

use ::redb::{
    Database, Error as RedbError, MultimapTableHandle, ReadableDatabase, StorageBackend,
    TableHandle,
};
use syncro_core::StoreError;

use super::journal::{DATABASE_AT, Journal, MAGIC};
use super::snapshot::Snapshot;
use super::storage::Storage;
use super::{RedbBuilder, definition};
use crate::backend::place::Place;
use crate::backend::{Batch, Table};

/// What is on a storage.
pub(super) struct Found {
    pub(super) database: Database,
    /// None for a file that begins with its database.
    pub(super) journal: Option<Journal>,
    /// What is in the journal, and not in the database.
    pub(super) pending: Batch,
}

/// What becomes of a database that is opened.
type Tried = Result<Found, StoreError>;

/// Opens or creates the database in a file, and makes sure that it is a store. The file of one that is
/// damaged stays locked as long as its storage lives.
pub(super) fn open_file(
    builder: &RedbBuilder,
    path: &Path,
    place: &Place,
) -> Result<(Storage, Tried), StoreError> {
    let directory = directory(path);
    if path.is_dir() {
        let what = "this is a directory; name a file in it";
        return Err(place.io(io::ErrorKind::IsADirectory, what));
    }
    if !directory.is_dir() {
        let what = "its directory does not exist; create it first";
        return Err(place.io(io::ErrorKind::NotFound, what));
    }
    let storage = place.guard(|| {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Storage::of_file(file).map_err(RedbError::from)
    })?;
    storage.keep_locks();
    let found = match builder.open_on(&storage, place) {
        Err(StoreError::NotAStore { .. }) if reset_if_half_made(&storage) => {
            builder.open_on(&storage, place)
        }
        found => found,
    };
    if found.is_ok() {
        storage.let_go_of_locks();
        sync_directory_of(path).map_err(|error| place.blame_io(&error))?;
    }
    Ok((storage, found))
}

/// The file that a path names: a program may go elsewhere, and its relative paths with it, and a link may be set to
/// another file. Directories stay as they are named: links to them that the system makes up lead elsewhere in another
/// process.
pub(super) fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path::absolute(path)?;
    for _ in 0..LINKS_MAX {
        match path.read_link() {
            // A relative one counts from where it is.
            Ok(to) => path = directory(&path).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// Links that are followed, one after the other. Nothing is opened through more.
const LINKS_MAX: usize = 40;

/// Makes sure that the database holds our tables: creates them in an empty one, refuses to touch
/// another program's.
pub(super) fn adopt(database: Database, place: &Place) -> Result<Database, StoreError> {
    match check_tables(&database, place) {
        Ok(()) => Ok(database),
        Err(error) => {
            close(database, place);
            Err(error)
        }
    }
}

/// Closes a database. What cannot be written then is lost like anything that was only buffered, and over a
/// damaged file redb may even panic.
pub(super) fn close(database: Database, place: &Place) {
    let _ = place.guard(|| {
        drop(database);
        Ok::<_, RedbError>(())
    });
}

fn check_tables(database: &Database, place: &Place) -> Result<(), StoreError> {
    let present = place.guard(|| table_names(database))?;
    let is_present = |table: &Table| present.iter().any(|name| name == table.name());
    if Table::ALL.iter().all(is_present) {
        // Tables of our names may still be of other types.
        return place.guard(|| Snapshot::open(database).map(drop));
    }
    if !present.is_empty() && !Table::ALL.iter().any(is_present) {
        return Err(place.foreign(&format!("it holds the tables {present:?}")));
    }
    place.guard(|| create_tables(database))
}

fn table_names(database: &Database) -> Result<Vec<String>, RedbError> {
    let transaction = database.begin_read()?;
    let tables = transaction.list_tables()?;
    let mut names: Vec<_> = tables.map(|table| table.name().to_owned()).collect();
    let multimaps = transaction.list_multimap_tables()?;
    names.extend(multimaps.map(|table| table.name().to_owned()));
    Ok(names)
}

fn create_tables(database: &Database) -> Result<(), RedbError> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for table in Table::ALL {
        transaction.open_table(definition(table))?;
    }
    transaction.commit()?;
    Ok(())
}

/// How much of a file redb's header takes.
const HEADER_BYTES: usize = 320;
/// More than redb gives to a new file.
const NEW_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Empties a file in which the creation of a database was cut off, and says whether it did.
///
/// redb sizes the file, writes a header without its magic number, and the magic number last. A
/// machine that lost power in between would be refused its store for ever, for a file with nothing
/// in it. Of the two writes the header may be all that is left.
fn reset_if_half_made(storage: &Storage) -> bool {
    let reset = || {
        let is_half_made = is_half_made(storage)?;
        if is_half_made {
            storage.set_len(0)?;
        }
        Ok::<_, io::Error>(is_half_made)
    };
    reset().unwrap_or(false)
}

fn is_half_made(storage: &Storage) -> io::Result<bool> {
    let length = storage.len()?;
    if !(HEADER_BYTES as u64..=NEW_FILE_BYTES_MAX).contains(&length) {
        return Ok(false);
    }
    let mut content = vec![0; length as usize];
    storage.read(0, &mut content)?;
    let in_header = |at: usize| {
        let at = at.checked_sub(DATABASE_AT as usize).unwrap_or(at);
        (MAGIC.len()..HEADER_BYTES).contains(&at)
    };
    let mut bytes = content.iter().enumerate();
    Ok(bytes.all(|(at, byte)| *byte == 0 || in_header(at)))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a file's name durable: flushing a new file does not flush the directory it stands in.
///
/// Where the system does not offer that, the name has to do without.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(directory(path)).and_then(|directory| directory.sync_all()) {
        Err(error) if is_not_offered(error.kind()) => Ok(()),
        synced => synced,
    }
}

fn is_not_offered(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied
    )
}
