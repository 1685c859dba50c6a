//! Turning commits into rows.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::{Arc, RwLockWriteGuard};

use bytes::Bytes;
use syncro_core::{
    Author, Commit, Entry, KeyRef, Name, Record, RecordKey, Stamp, StoreError, Transaction,
};

use crate::backend::Table;
use crate::dictionary::Word;
use crate::encoding::record::{Gathered, Numbers};
use crate::encoding::{Out, damaged, key, record, seal};
use crate::layers::Layers;
use crate::noted::Noted;
use crate::overlay::Value;
use crate::stamps;
use crate::state::{Past, Shared, State};
use crate::unplayed::{self, Unplayed};
use crate::unread::Unread;

/// What is kept of the memory in which a record is written: more than most take.
const WRITTEN_BYTES: usize = 4096;

/// Rows for which memory is kept from one commit to the next.
const ROWS_KEPT: usize = 64;

/// Bytes of a record in one row: far below what a backend takes, and more than nearly all records have.
pub(crate) const PIECE_BYTES: usize = 4 << 20;

/// Bytes in memory beyond which a record is encoded at once, and perhaps put in pieces.
const LARGE_BYTES: usize = 64 << 10;

/// A row that is to be put, or was: a value, or none.
pub(crate) type Row = (Table, Bytes, Option<Value>);

/// Rows to be put all at once. Until then nothing of them is seen, and a failure leaves no trace.
///
/// It holds the lock of the state.
pub(crate) struct Staging<'a> {
    state: RwLockWriteGuard<'a, State>,
    /// In the order in which they are to be put.
    rows: Vec<Row>,
    /// The authors of what is to be appended.
    appended: Vec<u32>,
    /// The transactions that are to wait, and the hashes of their records.
    left: Vec<(u64, Transaction)>,
    hashes: Vec<u32>,
    /// Up to where what was unread is read, and how many bytes.
    read_up_to: Option<(u64, usize)>,
    /// How many of the transactions that wait are played, and the hashes of records of which all are.
    played: usize,
    crowded: Vec<u32>,
    next_name: u32,
    next_author: u32,
    has_pieces: bool,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self::of(shared.write())
    }

    /// Under the lock that is held already.
    pub(crate) fn of(mut state: RwLockWriteGuard<'a, State>) -> Self {
        let rows = std::mem::take(&mut state.recent.rows);
        let appended = std::mem::take(&mut state.recent.appended);
        let hashes = std::mem::take(&mut state.recent.hashes);
        let State { next_name, next_author, has_pieces, .. } = *state;
        state.stamps.make_room();
        state.names.make_room();
        state.authors.make_room();
        let (left, read_up_to, played, crowded) = (Vec::new(), None, 0, Vec::new());
        Self {
            state,
            rows,
            appended,
            left,
            hashes,
            read_up_to,
            played,
            crowded,
            next_name,
            next_author,
            has_pieces,
        }
    }

    pub(crate) fn put(&mut self, table: Table, key: impl Into<Bytes>, content: &[u8]) {
        let key = key.into();
        let sealed = seal(table, &key, content);
        self.rows.push((table, key, Some(Value::Sealed(sealed))));
    }

    /// Looks up the author of a transaction that is to be appended.
    pub(crate) fn transaction(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let author = self.known(entry.transaction.stamp().author, entry.offset)?;
        self.appended.push(author);
        Ok(())
    }

    /// The offsets of what nobody has read, if there is any.
    pub(crate) fn unread(&self) -> Option<Range<u64>> {
        self.state.unread.as_ref().map(Unread::scribes)
    }

    /// What was unread is read up to an offset, so many bytes of it.
    pub(crate) fn read_up_to(&mut self, offset: u64, bytes: usize) {
        self.read_up_to = Some((offset, bytes));
    }

    /// What it has looked up is not to be put.
    pub(crate) fn forget_looked_up(&mut self) {
        self.state.forget_looked_up();
    }

    /// Notes where a transaction is that is in the log already.
    pub(crate) fn played(
        &mut self,
        transaction: &Transaction,
        offset: u64,
    ) -> Result<(), StoreError> {
        let Stamp { author, time } = transaction.stamp();
        let author = self.known(author, offset)?;
        let row = self.state.stamps.place(author, time, offset, transaction.bytes());
        if let Some((key, content)) = row {
            self.put(Table::Stamps, key, &content);
        }
        Ok(())
    }

    /// The number of an author whose end in the log is known from here on.
    fn known(&mut self, author: Author, before: u64) -> Result<u32, StoreError> {
        let number = self.author(author)?;
        if !self.state.stamps.knows(number) {
            let end = stamps::end_of(&self.state.now()?, number, author, before)?;
            self.state.stamps.know(number, end);
        }
        Ok(number)
    }

    /// Merges changes into a record, each encoded as a record of which nothing else is known; or lets one take its place.
    pub(crate) fn changed(
        &mut self,
        key: &[u8],
        mut changes: impl ExactSizeIterator<Item = (Bytes, bool)>,
    ) -> Result<(), StoreError> {
        let rows = self.rows()?;
        let known = rows.record(key)?;
        let bytes = Bytes::copy_from_slice(key);
        if known.is_none()
            && changes.len() == 1
            && let Some((only, is_shown)) = changes.next()
        {
            let is_nothing =
                is_shown && record::read(&only, &rows)?.is_some_and(|it| it.is_unknown());
            return if is_nothing { self.no_record(bytes) } else { self.record_row(bytes, &only) };
        }
        let mut record = known.map(Arc::unwrap_or_clone).unwrap_or_default();
        for (change, is_shown) in changes {
            let change = record::read(&change, &rows)?;
            let change = change.ok_or_else(|| damaged(Table::Records, key))?;
            if is_shown {
                record = change;
            } else {
                record.merge(&change);
            }
        }
        self.record_at(bytes, &record)
    }

    /// Reads through the rows as they are before those staged.
    pub(crate) fn rows(&self) -> Result<Layers<'_>, StoreError> {
        self.state.now()
    }

    pub(crate) fn record(
        &mut self,
        key: &RecordKey,
        record: &Arc<Record>,
    ) -> Result<(), StoreError> {
        self.record_of(key::record(key).into(), record)
    }

    fn record_of(&mut self, key: Bytes, record: &Arc<Record>) -> Result<(), StoreError> {
        let bytes = record.held_bytes();
        if record.is_unknown() {
            return self.no_record(key);
        }
        if self.has_pieces || bytes > LARGE_BYTES {
            return self.record_at(key, record);
        }
        self.number_words(record)?;
        let record = record.clone();
        self.rows.push((Table::Records, key, Some(Value::whole(record, bytes))));
        Ok(())
    }

    /// Lets transactions wait unplayed, each with its offset, and plays those that may not.
    pub(crate) fn leave(
        &mut self,
        transactions: impl Iterator<Item = (u64, Transaction)>,
    ) -> Result<(), StoreError> {
        let mut large = Vec::new();
        self.left.reserve(transactions.size_hint().0);
        self.hashes.reserve(transactions.size_hint().0);
        for (offset, transaction) in transactions {
            if !Unplayed::takes(&transaction) {
                large.push(transaction);
                continue;
            }
            for hash in unplayed::hashes(&transaction) {
                self.hashes.push(hash?);
            }
            self.left.push((offset, transaction));
        }
        self.merge_all(&large, None)
    }

    /// Plays the first transactions that wait, and returns how many.
    pub(crate) fn play_first(mut self) -> Result<usize, StoreError> {
        let transactions = self.state.unplayed.first();
        self.merge_all(&transactions, None)?;
        self.played = transactions.len();
        self.publish(None)?;
        Ok(transactions.len())
    }

    /// Plays what waits of records of which much does.
    pub(crate) fn play_crowded(mut self) -> Result<(), StoreError> {
        self.crowded = self.state.unplayed.crowded().to_vec();
        for at in 0..self.crowded.len() {
            let hash = self.crowded[at];
            let transactions = self.state.unplayed.of_hash(hash);
            self.merge_all(&transactions, Some(hash))?;
        }
        self.publish(None)
    }

    fn merge_all(
        &mut self,
        transactions: &[Transaction],
        only: Option<u32>,
    ) -> Result<(), StoreError> {
        let merged = unplayed::merged(transactions, only).and_then(|records| {
            records.into_iter().try_for_each(|(key, record)| self.merge(key, record))
        });
        merged.inspect_err(|_| self.state.forget_looked_up())
    }

    /// Merges more into a record, which is read only where it is in memory, or may be large. Of each there may be one.
    fn merge(&mut self, key: KeyRef<'_>, mut more: Record) -> Result<(), StoreError> {
        let mut at = Out::default();
        key::write_record(key, &mut at);
        let at = Bytes::from(at.0);
        let rows = self.rows()?;
        let known = rows.overlaid(Table::Records, &at);
        let merge = known.iter().flatten().find_map(Value::merge);
        merge.into_iter().for_each(|known| more.merge(known));
        let must_read = known.is_some() && merge.is_none();
        let bytes = more.held_bytes();
        if must_read || self.has_pieces || bytes > LARGE_BYTES {
            let mut record = rows.record(&at)?.unwrap_or_default();
            Arc::make_mut(&mut record).merge(&more);
            return self.record_of(at, &record);
        }
        let record = Arc::new(more);
        self.number_words(&record)?;
        let value = Value::Record { record, bytes, is_whole: false };
        self.rows.push((Table::Records, at, Some(value)));
        Ok(())
    }

    /// Sees to it that each word of a record has a number.
    fn number_words(&mut self, record: &Arc<Record>) -> Result<(), StoreError> {
        let last = self.state.recent.numbered.take();
        // Most records have the names that the one before has.
        match last.filter(|last| last.shares_paths_with(record)) {
            Some(_) => record::number_authors(record, self)?,
            None => record::number_words(record, self)?,
        }
        self.state.recent.numbered = Some(record.clone());
        Ok(())
    }

    /// A view shows it no more.
    fn no_record(&mut self, key: Bytes) -> Result<(), StoreError> {
        self.no_pieces(&key)?;
        self.rows.push((Table::Records, key, None));
        Ok(())
    }

    fn record_at(&mut self, key: Bytes, record: &Record) -> Result<(), StoreError> {
        if record.is_unknown() {
            return self.no_record(key);
        }
        let Recent { written, gathered, .. } = &mut self.state.recent;
        let (mut out, mut gathered) = (Out(std::mem::take(written)), std::mem::take(gathered));
        out.0.clear();
        record::write(record, self, &mut out, &mut gathered)?;
        self.record_row(key, &out.0)?;
        out.0.clear();
        out.0.shrink_to(WRITTEN_BYTES);
        self.state.recent.written = out.0;
        self.state.recent.gathered = gathered.kept();
        Ok(())
    }

    /// Puts a record that is encoded already.
    fn record_row(&mut self, key: Bytes, content: &[u8]) -> Result<(), StoreError> {
        self.no_pieces(&key)?;
        let mut pieces = content.chunks(PIECE_BYTES);
        let first = pieces.next().unwrap_or_default();
        for (number, piece) in (1..).zip(pieces) {
            self.has_pieces = true;
            self.put(Table::Records, key::piece(&key, number), piece);
        }
        let sealed = seal(Table::Records, &key, first);
        self.rows.push((Table::Records, key, Some(Value::Sealed(sealed))));
        Ok(())
    }

    /// Deletes the pieces beyond the first of a record that was large.
    fn no_pieces(&mut self, key: &[u8]) -> Result<(), StoreError> {
        if !self.has_pieces {
            return Ok(());
        }
        let (first, end) = (key::piece(key, 0), key::piece(key, u32::MAX));
        for (old, _) in self.state.now()?.scan(Table::Records, &first, Some(&end), usize::MAX)? {
            self.rows.push((Table::Records, old, None));
        }
        Ok(())
    }

    /// Shows those who remember how what is to be put is now.
    fn keep_before(
        &mut self,
        remembering: &[Arc<Past>],
        commit: Option<&Commit>,
    ) -> Result<(), StoreError> {
        self.state.backend()?;
        if remembering.is_empty() {
            return Ok(());
        }
        let mut noted = Noted::default();
        commit.into_iter().for_each(|commit| noted.note(commit));
        for (key, content) in noted.take() {
            match content {
                Some(content) => self.put(Table::Rows, key, &content),
                None => self.rows.push((Table::Rows, key.into(), None)),
            }
        }
        let now = self.state.now()?;
        let before = self
            .rows
            .iter()
            .map(|(table, key, _)| Ok((*table, key.clone(), now.value(*table, key)?)));
        let before: Vec<_> = before.collect::<Result<_, StoreError>>()?;
        remembering.iter().for_each(|past| past.keep(&before));
        Ok(())
    }

    /// Puts the rows, appends what was committed to the log, and notes who and where the node is.
    pub(crate) fn publish(mut self, commit: Option<&Commit>) -> Result<(), StoreError> {
        let remembering = self.state.remembering();
        let kept = self.keep_before(&remembering, commit);
        kept.inspect_err(|_| self.state.forget_looked_up())?;

        // From here on nothing fails.
        self.state.last_record.forget();
        if let Some((offset, bytes)) = self.read_up_to {
            self.state.log_bytes += bytes;
            let unread = self.state.unread.take();
            self.state.unread = unread.and_then(|unread| unread.read_up_to(offset));
            // What was noted meanwhile lies behind it: runs would be taken for shorter than they are.
            self.state.stamps.forget();
        }
        self.state.unplayed.forget_first(self.played);
        self.crowded.iter().for_each(|hash| self.state.unplayed.forget_chain(*hash));
        self.state.unplayed.reserve(self.left.len(), self.hashes.len());
        let mut hashes = self.hashes.drain(..);
        for (offset, transaction) in self.left {
            let hashes = hashes.by_ref().take(transaction.len() as usize);
            self.state.unplayed.push(offset, transaction, hashes);
        }
        let entries = commit.into_iter().flat_map(|commit| &commit.entries);
        for (entry, author) in entries.zip(&self.appended) {
            self.state.append(entry);
            let (time, bytes) = (entry.transaction.stamp().time, entry.transaction.bytes());
            let row = self.state.stamps.place(*author, time, entry.offset, bytes);
            if let Some((key, content)) = row {
                let sealed = seal(Table::Stamps, &key, &content);
                let key = Bytes::from(key);
                let before = [(Table::Stamps, key.clone(), None)];
                remembering.iter().for_each(|past| past.keep(&before));
                self.rows.push((Table::Stamps, key, Some(Value::Sealed(sealed))));
            }
        }
        if let Some(commit) = commit.filter(|_| remembering.is_empty()) {
            self.state.noted.note(commit);
        }
        let mut rows = std::mem::take(&mut self.rows);
        for (table, key, value) in rows.drain(..) {
            self.state.put(table, key, value);
        }
        rows.shrink_to(ROWS_KEPT);
        self.state.recent.rows = rows;
        drop(hashes);
        self.hashes.shrink_to(ROWS_KEPT);
        self.state.recent.hashes = self.hashes;
        self.appended.clear();
        self.appended.shrink_to(ROWS_KEPT);
        self.state.recent.appended = self.appended;
        self.state.next_name = self.next_name;
        self.state.next_author = self.next_author;
        self.state.has_pieces = self.has_pieces;
        Ok(())
    }

    /// Keeps a word that has just been given a number.
    fn put_word(&mut self, rows: [(Vec<u8>, Bytes); 2]) {
        rows.into_iter().for_each(|(key, row)| self.put(Table::Names, key, &row));
    }
}

impl Numbers for Staging<'_> {
    fn name(&mut self, name: &str) -> Result<u32, StoreError> {
        if let Some(number) = self.state.recent.names.find(name) {
            return Ok(number);
        }
        let name = Name::new(name).map_err(|_| damaged(Table::Names, name.as_bytes()))?;
        let number = match self.state.names.number(&name, &self.state.now()?)? {
            Some(number) => number,
            None => {
                let number = self.next_name;
                self.next_name += 1;
                self.put_word(self.state.names.assign(&name, number));
                number
            }
        };
        self.state.recent.names.remember(&name, number);
        Ok(number)
    }

    fn author(&mut self, author: Author) -> Result<u32, StoreError> {
        if let Some(number) = self.state.recent.authors.find(&author) {
            return Ok(number);
        }
        let number = match self.state.authors.number(&author, &self.state.now()?)? {
            Some(number) => number,
            None => {
                let number = self.next_author;
                self.next_author += 1;
                self.put_word(self.state.authors.assign(&author, number));
                number
            }
        };
        self.state.recent.authors.remember(&author, number);
        Ok(number)
    }
}

/// What commits use again and again.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Names and authors asked for lately, and their numbers.
    names: RecentWords<Name>,
    authors: RecentWords<Author>,
    /// The record whose words were last seen to have numbers.
    numbered: Option<Arc<Record>>,
    /// Memory for the record that is being written, for rows that are to be put, for authors, and for hashes.
    written: Vec<u8>,
    gathered: Gathered,
    rows: Vec<Row>,
    appended: Vec<u32>,
    hashes: Vec<u32>,
}

impl Recent {
    pub(crate) fn name(&self, number: u32) -> Option<&Name> {
        self.names.word(number)
    }

    pub(crate) fn author(&self, number: u32) -> Option<&Author> {
        self.authors.word(number)
    }
}

/// Words and their numbers, the latest ones.
#[derive(Debug)]
pub(crate) struct RecentWords<W> {
    known: Vec<(W, u32)>,
    oldest: usize,
    /// The place after the one that was found last: the fields of a model come one after the other, again and again.
    next: usize,
}

impl<W> Default for RecentWords<W> {
    fn default() -> Self {
        Self { known: Vec::new(), oldest: 0, next: 0 }
    }
}

impl<W: Word> RecentWords<W> {
    pub(crate) fn find<Q: Eq + ?Sized>(&mut self, word: &Q) -> Option<u32>
    where
        W: Borrow<Q>,
    {
        let is_it = |(known, _): &(W, u32)| known.borrow() == word;
        let place = match self.known.get(self.next) {
            Some(next) if is_it(next) => self.next,
            _ => self.known.iter().position(is_it)?,
        };
        self.next = if place + 1 < self.known.len() { place + 1 } else { 0 };
        self.known.get(place).map(|(_, number)| *number)
    }

    fn word(&self, number: u32) -> Option<&W> {
        self.known.iter().find(|(_, known)| *known == number).map(|(word, _)| word)
    }

    pub(crate) fn remember(&mut self, word: &W, number: u32) {
        if self.known.len() < RECENT_MAX {
            self.known.push((word.clone(), number));
        } else {
            self.known[self.oldest] = (word.clone(), number);
            self.oldest = (self.oldest + 1) % RECENT_MAX;
        }
    }
}

/// So few that to look through them is quicker than to hash a word.
const RECENT_MAX: usize = 16;
