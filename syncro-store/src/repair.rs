//! Making a damaged store usable again, with everything in it that can still be read.
//!
//! The log keeps the transactions that are whole, one after the other; what follows from it is made anew.
//! The points that others hold in what came after the first loss fit no more: they fall back to earlier
//! ones, as after a restore. This node's own points in its peers' logs promise what may be lost, so they
//! are forgotten, and the peers send everything again; what is still here is not taken twice.
//!
//! Of a lost transaction its records may have values left. They are put together to a transaction of the
//! same stamp, which is what a cloned machine would have written: should the lost one come back from a
//! peer, both are kept, and the records are as they were. (Not so where a cloned machine has used the stamp
//! twice, and one of the two is still there.)

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Epoch, Ladder, Mark, NodeId, OwnRow, PeerRow, Point, Record, RecordKey, Scribe, Stamp,
    StoreError, Time, Transaction, View,
};

use crate::backend::{Backend, Batch, Caught, Durability, Table};
use crate::encoding::page::{OpenPage, Page};
use crate::encoding::row::Format;
use crate::encoding::{FORMAT_VERSION, key, put, row, unseal};
use crate::log_store::{LogStore, LogStoreBuilder, Syncer};
use crate::migrate::{CHAIN, Chain, Damaged};
use crate::recover;
use crate::rows;
use crate::salvage::{Salvaged, salvage};
use crate::state::Shared;
use crate::view::Look;

/// Rows read at once: one may have a few MiB.
const ROWS_AT_ONCE: usize = 64;

/// Rows deleted at once.
const DELETED_AT_ONCE: usize = 1024;

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The stretches of the log that were lost, by the offsets that they had. With none, all that was
    /// damaged could be made anew from the log.
    pub lost: Vec<(u64, u64)>,
    /// Lost transactions of which the records had values left.
    pub rescued: u64,
    /// Where the damaged medium is kept, if its own order was lost and a new one was made in its place.
    pub kept: Option<PathBuf>,
}

impl LogStoreBuilder {
    /// Repairs a damaged store and opens it. What was lost comes back from the peers that have it.
    ///
    /// A store that is not damaged is the same afterwards. A repair that was cut off is to be begun again;
    /// until then the store does not open. Where the backend's own order is lost, a new store is made of what can
    /// be found, if the backend can [look](Backend::salvage): [`Redb`](crate::Redb) can, also over a file that it
    /// cannot [open](crate::RedbBuilder::open_damaged). Keep a copy of the file otherwise. A store of an older format
    /// is made one of this program's first, without the rows in it that are damaged.
    ///
    /// `node` is who the node is, for a store that does not know any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where the node's own row is damaged and `node` is `None`, and where the backend
    /// itself cannot be read or written; [`StoreError::NotAStore`] where nothing of a store is left;
    /// [`StoreError::Full`] where there is no room for a new one; [`StoreError::Version`] for a store of a newer format, and of
    /// one that is too old to know.
    pub fn repair(
        self,
        backend: impl Backend,
        node: Option<NodeId>,
    ) -> Result<(LogStore, Repaired), StoreError> {
        self.repair_with(backend, node, &CHAIN)
    }

    pub(crate) fn repair_with(
        self,
        backend: impl Backend,
        node: Option<NodeId>,
        chain: &Chain,
    ) -> Result<(LogStore, Repaired), StoreError> {
        let backend: Arc<dyn Backend> = Arc::new(Caught::new(backend));
        let repaired = mend(&backend, node, chain)?;
        Ok((self.open_shared(backend)?, repaired))
    }
}

/// Repairs in place what can be read, and salvages what the backend cannot read.
fn mend(
    backend: &Arc<dyn Backend>,
    node: Option<NodeId>,
    chain: &Chain,
) -> Result<Repaired, StoreError> {
    let in_place = || Repair::begin(backend.clone(), node, chain)?.run();
    // To write to a damaged tree only spreads the damage.
    let sound = backend.check();
    let is_sound = sound.is_ok();
    let damage = match sound.and_then(|()| in_place()) {
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Latched { .. })) => error,
        done => return done,
    };
    match salvage(backend, node, chain)? {
        Salvaged::Store(repaired) => Ok(repaired),
        Salvaged::NotOffered if !is_sound => {
            backend.reopen()?;
            in_place()
        }
        Salvaged::NotOffered => Err(damage),
        Salvaged::Nothing => Err(match damage {
            StoreError::Corrupt { what } | StoreError::Latched { cause: what } => {
                StoreError::NotAStore { what: format!("nothing of a store is left in it: {what}") }
            }
            error => error,
        }),
    }
}

impl Syncer {
    /// Repairs the store while handles on it are left: the backend is [reopened](Backend::reopen), which ends
    /// a latch, repaired like one that is [not open](LogStoreBuilder::repair), and every handle sees what has
    /// become of it. What was applied and not synced is lost, as in a crash.
    ///
    /// Until it is done nothing can be read or written: [`StoreError::UnderRepair`]. Snapshots of before fail
    /// with [`StoreError::Repaired`] from then on. The engine has to be opened anew over what is there.
    ///
    /// # Errors
    ///
    /// Like [`LogStoreBuilder::repair`], and [`StoreError::Full`]. Then the store fails with that error until it
    /// has been repaired, or with [`StoreError::Latched`] where it was for want of room.
    pub fn repair(&self, node: Option<NodeId>) -> Result<Repaired, StoreError> {
        let shared = &self.shared;
        let _turn = shared.turns.for_sync();
        let (backend, mut retired) = Retired::begin(shared)?;
        // What cannot be opened any more is salvaged.
        let reopened = match backend.reopen() {
            Err(StoreError::Corrupt { .. } | StoreError::NotAStore { .. }) => Ok(()),
            reopened => reopened,
        };
        let mended = reopened.and_then(|()| {
            let repaired = mend(&backend, node, &CHAIN)?;
            Ok((recover::open(backend, shared.overlay_bytes, &CHAIN)?, repaired))
        });
        match mended {
            Ok((fresh, repaired)) => {
                shared.renew(fresh);
                Ok(repaired)
            }
            Err(error) => {
                retired.why = match &error {
                    // That would be a store which goes on when there is room.
                    StoreError::Full => StoreError::Latched { cause: format!("a repair: {error}") },
                    error => error.clone(),
                };
                Err(error)
            }
        }
    }
}

/// A store that nobody reads and writes while it is repaired, nor when that has failed.
struct Retired<'a> {
    shared: &'a Shared,
    why: StoreError,
}

impl<'a> Retired<'a> {
    fn begin(shared: &'a Shared) -> Result<(Arc<dyn Backend>, Self), StoreError> {
        // Whoever is reading is waited for.
        let mut state = shared.write();
        let backend = state.backend.clone().ok_or(StoreError::Closed)?;
        state.out_of_use = Some(StoreError::UnderRepair);
        let why = StoreError::Latched { cause: "a repair panicked".to_owned() };
        Ok((backend, Self { shared, why }))
    }
}

impl Drop for Retired<'_> {
    fn drop(&mut self) {
        // A store that was renewed is in use.
        if let Some(why) = &mut self.shared.write().out_of_use {
            *why = self.why.clone();
        }
    }
}

pub(crate) struct Repair {
    backend: Arc<dyn Backend>,
    /// For reading records as they are.
    shared: Shared,
    own: OwnRow,
    /// Where the old log ended, if anything says so.
    old_end: Option<Point>,
    /// How far the old log was read.
    old: u64,
    repaired: Repaired,
    /// Where the new log ends.
    page: OpenPage,
    /// Whether what the peers are known to hold, and what is known of their logs, is of this very state.
    are_peers_fitting: bool,
    /// The transactions that the old log has twice, and whether the new one has them.
    doubles: HashMap<Bytes, bool>,
}

impl Repair {
    pub(crate) fn begin(
        backend: Arc<dyn Backend>,
        node: Option<NodeId>,
        chain: &Chain,
    ) -> Result<Self, StoreError> {
        let whole = |key: &[u8]| -> Result<Option<Bytes>, StoreError> {
            let sealed = backend.get(Table::Rows, key)?;
            Ok(sealed.and_then(|sealed| unseal(Table::Rows, key, &sealed).ok()))
        };
        // Whose version nobody can tell any more is taken for one of ours.
        if whole(key::FORMAT)?.is_some_and(|format| row::read_version(&format).is_some()) {
            chain.run(&*backend, Damaged::Dropped)?;
        }
        let (own, old_end) = match (whole(key::OWN)?.and_then(|own| row::read_own(&own)), node) {
            (Some(own), _) => {
                let end = own.end;
                (own, Some(end))
            }
            (None, Some(node)) => {
                let (epoch, clock) = (Epoch(0), Time::default());
                (OwnRow { node, epoch, clock, end: Point::START }, None)
            }
            (None, None) => {
                let what = "who the node is; repair it with the id that it had".to_owned();
                return Err(StoreError::Corrupt { what });
            }
        };
        let shared = recover::unchecked(backend.clone());
        let repaired = Repaired::default();
        let (are_peers_fitting, doubles) = (true, HashMap::new());
        let (old, page) = (0, OpenPage::begin(Point::START));
        Ok(Self { backend, shared, own, old_end, old, repaired, page, are_peers_fitting, doubles })
    }

    /// Of a store that was put together of rows from several moments.
    pub(crate) fn salvaged(self, doubles: HashSet<Bytes>) -> Self {
        let doubles = doubles.into_iter().map(|transaction| (transaction, false)).collect();
        Self { are_peers_fitting: false, doubles, ..self }
    }

    pub(crate) fn run(mut self) -> Result<Repaired, StoreError> {
        // With this mark the store does not open before all is done: what is in it contradicts itself.
        let mut batch = Batch::new();
        put(&mut batch, Table::Rows, key::MARK, &row::write_mark(row::UNDER_REPAIR));
        self.backend.write(&batch, Durability::Durable)?;
        self.log()?;
        if let Some(end) = self.old_end
            && (self.old < end.offset || self.repaired.lost.is_empty() && self.page.end() != end)
        {
            self.repaired.lost.push((self.old.min(end.offset), end.offset));
        }
        let is_whole = self.repaired.lost.is_empty() && self.old_end.is_some();
        let is_whole = is_whole && self.are_peers_fitting;
        if !is_whole {
            self.rescue()?;
        }
        for table in [Table::Records, Table::Stamps, Table::Names] {
            self.delete(table, &[], None)?;
        }
        self.peers(is_whole)?;
        let mut batch = Batch::new();
        batch.delete(Table::Rows, key::MARK);
        let own = row::write_own(&OwnRow { end: self.page.end(), ..self.own });
        put(&mut batch, Table::Rows, key::OWN, &own);
        let format = row::write_format(&Format::of(FORMAT_VERSION));
        put(&mut batch, Table::Rows, key::FORMAT, &format);
        self.backend.write(&batch, Durability::Durable)?;
        Ok(self.repaired)
    }

    /// Closes the gaps of the log. Each step is one batch, so that nothing is lost or doubled in between.
    fn log(&mut self) -> Result<(), StoreError> {
        for rows in every(&self.backend.clone(), Table::Log, &[], None) {
            for (key, sealed) in &rows? {
                let whole = unseal(Table::Log, key, sealed).ok();
                let page = key::page_offset(key).zip(whole).map(|(at, page)| Page::new(at, page));
                self.page(key, page.as_ref())?;
            }
        }
        Ok(())
    }

    /// Takes the next page of the old log over.
    fn page(&mut self, key: &Bytes, page: Option<&Page>) -> Result<(), StoreError> {
        let Some((page, transactions)) = page.and_then(|page| Some((page, whole(page)?))) else {
            // What was in it shows when the next one begins.
            let mut batch = Batch::new();
            batch.delete(Table::Log, key.clone());
            return self.backend.write(&batch, Durability::Buffered);
        };
        let walk = page.walk().map(|walk| walk.at());
        if page.first() > self.old {
            self.repaired.lost.push((self.old, page.first()));
        }
        self.old = page.first() + transactions.iter().map(Transaction::len).sum::<u64>();
        if walk == Some(self.page.end()) && self.repaired.lost.is_empty() {
            // Nothing was lost before it.
            if let Some(open) = OpenPage::resume(page) {
                self.page = open;
                for transaction in &transactions {
                    self.is_new(transaction);
                }
                return Ok(());
            }
        }
        if self.repaired.lost.is_empty() {
            // The page is whole, but what it says of what came before is not.
            self.repaired.lost.push((page.first(), page.first()));
        }
        let mut batch = Batch::new();
        batch.delete(Table::Log, key.clone());
        for transaction in &transactions {
            self.append(&mut batch, transaction);
        }
        self.put_page(&mut batch);
        self.backend.write(&batch, Durability::Buffered)
    }

    /// Takes note of a transaction, and says whether the new log does not have it yet.
    fn is_new(&mut self, transaction: &Transaction) -> bool {
        let stamp = transaction.stamp();
        if stamp.author.node == self.own.node {
            self.own.clock = self.own.clock.max(stamp.time);
        }
        let is_there = self.doubles.get_mut(transaction.bytes());
        !is_there.is_some_and(|is_there| std::mem::replace(is_there, true))
    }

    fn append(&mut self, batch: &mut Batch, transaction: &Transaction) {
        if !self.is_new(transaction) {
            return;
        }
        let bytes = transaction.bytes();
        if self.page.is_full_for(bytes.len()) {
            self.put_page(batch);
            self.page = OpenPage::begin(self.page.end());
        }
        let end = self.page.end().then(transaction.len(), bytes);
        self.page.push_bytes(transaction.len(), bytes, end);
    }

    fn put_page(&self, batch: &mut Batch) {
        if !self.page.is_empty() {
            put(batch, Table::Log, &key::page(self.page.first()), self.page.content());
        }
    }

    /// Makes transactions of what records have left of those that are lost.
    fn rescue(&mut self) -> Result<(), StoreError> {
        let mut lost = BTreeSet::new();
        self.each_record(|_, record| lost.extend(stamps(record)))?;
        self.each_transaction(|stamp| {
            lost.remove(&stamp);
        })?;
        let mut rescued: BTreeMap<Stamp, Vec<Scribe>> = BTreeMap::new();
        self.each_record(|key, record| {
            for stamp in stamps(record).filter(|stamp| lost.contains(stamp)) {
                rescued.entry(stamp).or_default().push(left_of(stamp, key, record));
            }
        })?;
        for (stamp, scribes) in rescued {
            let mut batch = Batch::new();
            let packed = Transaction::packed(stamp, &scribes);
            packed.iter().for_each(|transaction| self.append(&mut batch, transaction));
            self.put_page(&mut batch);
            self.backend.write(&batch, Durability::Buffered)?;
            self.repaired.rescued += u64::from(!packed.is_empty());
        }
        Ok(())
    }

    /// Calls with every record that can be read.
    fn each_record(&self, mut visit: impl FnMut(&RecordKey, &Record)) -> Result<(), StoreError> {
        for rows in every(&self.backend, Table::Records, key::FIRST_RECORD, None) {
            for (key, _) in &rows? {
                let record_key = key::read_record(key);
                let record = record_key.as_ref().map(|key| Look::now(&self.shared).record(key));
                if let (Some(key), Some(Ok(Some(record)))) = (&record_key, record) {
                    visit(key, &record);
                }
            }
        }
        Ok(())
    }

    /// Calls with the stamp of every transaction of the new log.
    fn each_transaction(&self, mut visit: impl FnMut(Stamp)) -> Result<(), StoreError> {
        for rows in every(&self.backend, Table::Log, &[], None) {
            for (key, sealed) in &rows? {
                let content = unseal(Table::Log, key, sealed)?;
                let page = Page::new(key::page_offset(key).unwrap_or_default(), content);
                let transactions = whole(&page).unwrap_or_default();
                transactions.iter().for_each(|transaction| visit(transaction.stamp()));
            }
        }
        Ok(())
    }

    /// Forgets the peers whose rows cannot be read, and where the log is not whole the points of the others.
    fn peers(&self, is_whole: bool) -> Result<(), StoreError> {
        let end = key::after_peers();
        for rows in every(&self.backend, Table::Rows, key::PEER, Some(&end)) {
            let mut batch = Batch::new();
            for (key, sealed) in &rows? {
                let row = unseal(Table::Rows, key, sealed).ok();
                let row = row.and_then(|row| row::read_peer(&row));
                match row.filter(|_| key::peer_node(key).is_some()) {
                    None => batch.delete(Table::Rows, key.clone()),
                    Some(_) if is_whole => {}
                    Some(row) => {
                        let row = PeerRow { ladder: Ladder::default(), ..row };
                        put(&mut batch, Table::Rows, key, &row::write_peer(&row));
                    }
                }
            }
            self.backend.write(&batch, Durability::Buffered)?;
        }
        Ok(())
    }

    fn delete(&self, table: Table, start: &[u8], end: Option<&[u8]>) -> Result<(), StoreError> {
        loop {
            let rows = self.backend.scan(table, start, end, DELETED_AT_ONCE)?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            rows.into_iter().for_each(|(key, _)| batch.delete(table, key));
            self.backend.write(&batch, Durability::Buffered)?;
        }
    }
}

/// The transactions of a page; `None` where one of them is damaged.
pub(crate) fn whole(page: &Page) -> Option<Vec<Transaction>> {
    let transactions = page.transactions()?;
    transactions.map(|it| it.and_then(|(_, bytes)| Transaction::decode(bytes).ok())).collect()
}

/// The stamps of a record, each once.
fn stamps(record: &Record) -> impl Iterator<Item = Stamp> {
    let stamps: BTreeSet<Stamp> = record
        .created()
        .into_iter()
        .chain(record.destroyed())
        .chain(record.registers().iter().map(|register| register.stamp))
        .collect();
    stamps.into_iter()
}

/// What a record has left of the scribe of a stamp.
fn left_of(stamp: Stamp, key: &RecordKey, record: &Record) -> Scribe {
    let is = |mark: Option<Stamp>| mark == Some(stamp);
    let mark = match (is(record.created()), is(record.destroyed())) {
        (true, true) => Mark::Replace,
        (true, false) => Mark::Create,
        (false, true) => Mark::Destroy,
        (false, false) => Mark::Update,
    };
    let registers = record.registers().iter().filter(|register| register.stamp == stamp);
    let fields = registers.map(|register| (register.path.clone(), register.value.clone()));
    Scribe { key: key.clone(), mark, fields: fields.collect() }
}

/// All rows of a range, under their checksums.
pub(crate) fn every<'a>(
    backend: &'a Arc<dyn Backend>,
    table: Table,
    start: &[u8],
    end: Option<&'a [u8]>,
) -> impl Iterator<Item = Result<Vec<(Bytes, Bytes)>, StoreError>> + use<'a> {
    rows::pieces(start, move |start| backend.scan(table, start, end, ROWS_AT_ONCE))
}

#[cfg(test)]
mod tests;
