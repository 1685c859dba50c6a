//! Making the log whole again, and everything that follows from it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Epoch, INDEX_ROW, Ladder, NodeId, OwnRow, PeerRow, Point, StoreError, Time, Transaction,
    VIEW_LOST_ROW, VIEW_ROW,
};

use super::Repaired;
use super::lost::{Lost, Places};
use crate::backend::{Backend, Batch, Durability, Remains, Table};
use crate::encoding::page::{OpenPage, Page};
use crate::encoding::row::Format;
use crate::encoding::{FORMAT_VERSION, key, put, row, unseal};
use crate::migrate::{Chain, Damaged};
use crate::recover;
use crate::rows;
use crate::state::Shared;

/// Rows read at once: one may have a few MiB.
const ROWS_AT_ONCE: usize = 64;

/// Rows deleted at once.
const DELETED_AT_ONCE: usize = 1024;

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
            Ok(sealed.and_then(|sealed| unseal(Table::Rows, key, sealed).ok()))
        };
        // Whose version nobody can tell any more is taken for one of ours.
        if whole(key::FORMAT)?.is_some_and(|format| row::read_version(&format).is_some()) {
            chain.run(&*backend, Damaged::Dropped)?;
        }
        let (own, old_end) = match (whole(key::OWN)?.and_then(|own| row::read_own(&own)), node) {
            (Some(own), Some(wanted)) if own.node != wanted => {
                return Err(StoreError::AnotherNode { found: own.node, wanted });
            }
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

    /// Repairs it, with what is found in the remains of its medium.
    pub(crate) fn run(mut self, remains: Option<Box<dyn Remains>>) -> Result<Repaired, StoreError> {
        let (backend, remains) = (self.backend.clone(), remains.as_deref());
        let places = Places { backend: &backend, shared: &self.shared, own: &self.own, remains };
        let lost = places.look(self.is_log_whole()?)?;
        // With this mark the store does not open before all is done: what is in it contradicts itself.
        let mut batch = Batch::new();
        put(&mut batch, Table::Rows, key::MARK, &row::write_mark(row::UNDER_REPAIR));
        self.backend.write(&batch, Durability::Durable)?;
        self.log()?;
        let after = self.old;
        if self.own.end.offset < lost.end {
            self.repaired.lost.push((after, lost.end));
        }
        if let Some(end) = self.old_end
            && (self.old < end.offset || self.repaired.lost.is_empty() && self.page.end() != end)
        {
            self.repaired.lost.push((self.old.min(end.offset), end.offset));
        }
        self.bring_back(&lost)?;
        if self.repaired.lost.is_empty() && self.repaired.regained + self.repaired.rescued > 0 {
            self.repaired.lost.push((after, after));
        }
        let is_whole = self.repaired.lost.is_empty() && self.old_end.is_some();
        let is_whole = is_whole && self.are_peers_fitting;
        for table in [Table::Records, Table::Stamps, Table::Names] {
            self.delete(table, &[], None)?;
        }
        self.peers(is_whole)?;
        let lost_rows = self.engine()?;
        if lost_rows || !is_whole {
            self.tell_view()?;
        }
        let mut batch = Batch::new();
        batch.delete(Table::Rows, key::MARK);
        let own = row::write_own(&OwnRow { end: self.page.end(), ..self.own });
        put(&mut batch, Table::Rows, key::OWN, &own);
        let format = row::write_format(&Format::of(FORMAT_VERSION));
        put(&mut batch, Table::Rows, key::FORMAT, &format);
        self.backend.write(&batch, Durability::Durable)?;
        Ok(self.repaired)
    }

    /// Whether the log goes from its beginning to its end without a gap.
    fn is_log_whole(&self) -> Result<bool, StoreError> {
        let mut at = Some(Point::START);
        each_page(&self.backend, |_, page| {
            let page = page.ok().filter(|page| at.is_some() && whole(page).is_some());
            let next = page.and_then(|page| page.ends()).filter(|(begins, _)| Some(*begins) == at);
            at = next.map(|(_, ends)| ends);
            Ok(())
        })?;
        Ok(at.is_some() && self.old_end == at)
    }

    /// Appends what the log does not have.
    fn bring_back(&mut self, lost: &Lost) -> Result<(), StoreError> {
        for transaction in &lost.found {
            self.append_alone(std::slice::from_ref(transaction))?;
            self.repaired.regained += 1;
        }
        for (stamp, scribes) in &lost.left {
            let packed = Transaction::packed(*stamp, scribes);
            self.append_alone(&packed)?;
            self.repaired.rescued += u64::from(!packed.is_empty());
        }
        Ok(())
    }

    fn append_alone(&mut self, transactions: &[Transaction]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        transactions.iter().for_each(|transaction| self.append(&mut batch, transaction));
        self.put_page(&mut batch);
        self.backend.write(&batch, Durability::Buffered)
    }

    /// Closes the gaps of the log. Each step is one batch, so that nothing is lost or doubled in between.
    fn log(&mut self) -> Result<(), StoreError> {
        each_page(&self.backend.clone(), |key, page| self.page(key, page.ok().as_ref()))
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
                if !page.is_as_it_says() {
                    let mut batch = Batch::new();
                    self.put_page(&mut batch);
                    self.backend.write(&batch, Durability::Buffered)?;
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
        let (scribes, bytes) = (transaction.len(), transaction.bytes());
        let end = self.page.end().then(scribes, bytes);
        while !self.page.try_push(scribes, bytes, end) {
            self.put_page(batch);
            self.page.turn();
        }
    }

    fn put_page(&self, batch: &mut Batch) {
        if !self.page.is_empty() {
            put(batch, Table::Log, &key::page(self.page.first()), &self.page.stored());
        }
    }

    /// Forgets the peers whose rows cannot be read, and where the log is not whole the points of the others.
    fn peers(&self, is_whole: bool) -> Result<(), StoreError> {
        let end = key::after_peers();
        for rows in every(&self.backend, Table::Rows, key::PEER, Some(&end)) {
            let mut batch = Batch::new();
            for (key, sealed) in &rows? {
                let row = unseal(Table::Rows, key, sealed.clone()).ok();
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

    /// Forgets rows of the engine's own that cannot be read: what was set aside, whoever has it brings again where the log
    /// was not whole. The channels are built anew, from the records that are left.
    /// Returns whether any was lost.
    fn engine(&self) -> Result<bool, StoreError> {
        let mut any_lost = false;
        let end = key::after_engine(b"");
        for rows in every(&self.backend, Table::Rows, key::ENGINE, Some(&end)) {
            let mut batch = Batch::new();
            for (key, sealed) in &rows? {
                let is_lost = unseal(Table::Rows, key, sealed.clone()).is_err();
                any_lost |= is_lost;
                if is_lost || key[..] == key::engine(INDEX_ROW) {
                    batch.delete(Table::Rows, key.clone());
                }
            }
            self.backend.write(&batch, Durability::Buffered)?;
        }
        Ok(any_lost)
    }

    /// Notes in a view's store that parts of it were lost.
    fn tell_view(&self) -> Result<(), StoreError> {
        if self.backend.get(Table::Rows, &key::engine(VIEW_ROW))?.is_none() {
            return Ok(());
        }
        let mut batch = Batch::new();
        put(&mut batch, Table::Rows, &key::engine(VIEW_LOST_ROW), &[]);
        self.backend.write(&batch, Durability::Buffered)
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
    transactions.map(|it| it.and_then(|(_, bytes)| Transaction::logged(bytes).ok())).collect()
}

/// Calls with the key of every page of the log, and the page, or why it cannot be one.
pub(crate) fn each_page(
    backend: &Arc<dyn Backend>,
    mut visit: impl FnMut(&Bytes, Result<Page, StoreError>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for rows in every(backend, Table::Log, &[], None) {
        for (key, sealed) in &rows? {
            visit(key, Page::unseal(key, sealed))?;
        }
    }
    Ok(())
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
