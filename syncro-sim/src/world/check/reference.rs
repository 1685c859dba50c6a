//! Records are what a small model of our own makes of the transactions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use syncro_core::{
    Author, Element, Encoded, Field, Fields, Name, Path, Record, RecordKey, Scribe, Stamp, View,
};

use crate::world::write::tally;
use crate::world::{Failure, Law, World};

/// What is known of one record: the greatest create, the greatest destroy, and of each register the greatest write.
#[derive(Debug, Default)]
struct Known {
    created: Option<Stamp>,
    destroyed: Option<Stamp>,
    registers: BTreeMap<Path, (Stamp, Encoded)>,
}

impl Known {
    /// Whether it was created, and not destroyed since.
    fn is_alive(&self) -> bool {
        self.created.is_some() && self.created >= self.destroyed
    }

    /// What it has of what is not older than the last destroy.
    fn left(&self) -> impl Iterator<Item = (&Path, Stamp, &Encoded)> {
        let all = self.registers.iter().map(|(path, (stamp, value))| (path, *stamp, value));
        all.filter(|(_, stamp, _)| Some(*stamp) >= self.destroyed)
    }

    /// What people see: of each field the shape that was written last.
    fn shown(&self) -> BTreeMap<Name, Field> {
        let mut last: BTreeMap<&Name, (Stamp, &Path)> = BTreeMap::new();
        for (path, stamp, _) in self.left().filter(|_| self.is_alive()) {
            let place = last.entry(&path.field).or_insert((stamp, path));
            if stamp > place.0 {
                *place = (stamp, path);
            }
        }
        let fields = last.into_iter();
        fields.map(|(name, (_, path))| (name.clone(), self.field(path))).collect()
    }

    /// A field, in the shape of one of its paths.
    fn field(&self, shape: &Path) -> Field {
        let parts = || self.left().filter(|(path, ..)| path.field == shape.field);
        let present = || parts().filter(|(.., value)| !value.is_nil());
        match &shape.element {
            None => {
                let whole = parts().find(|(path, ..)| path.element.is_none());
                Field::Value(whole.map_or(Encoded::NIL, |(.., value)| value.clone()))
            }
            Some(Element::Entry(_)) => {
                let mut entries = BTreeMap::new();
                for (path, _, value) in present() {
                    if let Some(Element::Entry(key)) = &path.element {
                        entries.insert(key.to_string(), value.clone());
                    }
                }
                Field::Map(entries)
            }
            Some(Element::Member(_)) => {
                let mut members = BTreeSet::new();
                for (path, ..) in present() {
                    if let Some(Element::Member(member)) = &path.element {
                        members.insert(member.clone());
                    }
                }
                Field::Set(members)
            }
            Some(Element::Author(_)) => {
                let of_authors =
                    present().filter(|(path, ..)| matches!(path.element, Some(Element::Author(_))));
                let parts = of_authors.filter_map(|(.., value)| value.to::<i64>().ok());
                let sum: i128 = parts.map(i128::from).sum();
                let most = i128::from(i64::MAX);
                Field::Counter(i64::try_from(sum.clamp(-most - 1, most)).unwrap())
            }
        }
    }

    /// Whether a record is this.
    fn is(&self, record: &Record) -> bool {
        let registers = record.registers().iter();
        let registers = registers.map(|register| (register.path, register.stamp, register.value));
        let created = self.created.filter(|_| self.is_alive());
        let fields = Fields::of(record);
        let fields = fields.iter().map(|(name, field)| (name.clone(), field.clone()));
        registers.eq(self.left())
            && record.is_alive() == self.is_alive()
            && (record.created(), record.destroyed()) == (created, self.destroyed)
            && fields.collect::<BTreeMap<_, _>>() == self.shown()
    }
}

/// What a simple model makes of transactions.
fn model<'a>(
    transactions: impl Iterator<Item = (Stamp, &'a [Scribe])>,
) -> BTreeMap<RecordKey, Known> {
    let mut all: BTreeMap<RecordKey, Known> = BTreeMap::new();
    for (stamp, scribes) in transactions {
        for scribe in scribes {
            let known = all.entry(scribe.key.clone()).or_default();
            if scribe.mark.creates() {
                known.created = known.created.max(Some(stamp));
            }
            if scribe.mark.destroys() {
                known.destroyed = known.destroyed.max(Some(stamp));
            }
            for (path, value) in &scribe.fields {
                let write = (stamp, value.clone());
                let greatest = known.registers.entry(path.clone()).or_insert_with(|| write.clone());
                *greatest = write.max(greatest.clone());
            }
        }
    }
    all
}

/// Whether records are what a simple model makes of transactions, no more and no less.
pub(crate) fn check_records<'a>(
    transactions: impl Iterator<Item = (Stamp, &'a [Scribe])>,
    found: &BTreeMap<RecordKey, Arc<Record>>,
) -> Result<(), Failure> {
    let expected = model(transactions);
    let unknown = Arc::new(Record::default());
    for key in expected.keys().chain(found.keys()) {
        let (known, record) = (expected.get(key), found.get(key).unwrap_or(&unknown));
        if !known.is_some_and(|known| known.is(record)) {
            let detail = format!("{key} is {record:?}, expected {known:?}");
            return Err(Law::Reference.broken(detail));
        }
    }
    Ok(())
}

impl World {
    /// Whether each author's part of the tally is what it has raised it by when it last raised it. Of the halves of a
    /// machine that share an author, and may have raised it at one moment, it is what one of them has.
    pub(crate) fn check_tally(&self) -> Result<(), Failure> {
        let node = &self.nodes[0];
        let mut last: HashMap<Author, (Stamp, Vec<i64>)> = HashMap::new();
        for transaction in node.log.transactions() {
            let Some(total) = self.ledger.totals.get(transaction.bytes()) else { continue };
            let stamp = transaction.stamp();
            let (newest, totals) = last.entry(stamp.author).or_insert((stamp, Vec::new()));
            if stamp > *newest {
                (*newest, *totals) = (stamp, Vec::new());
            }
            if stamp == *newest {
                totals.push(*total);
            }
        }
        let record = node.store.record(&tally())?.unwrap_or_default();
        for (author, (_, totals)) in last {
            let of_author = |path: &Path| path.element == Some(Element::Author(author));
            let shown = record.registers().iter().find(|register| of_author(register.path));
            let shown = shown.map_or(0, |register| register.value.to::<i64>().unwrap());
            if !totals.contains(&shown) {
                let detail =
                    format!("{author:?} raised by {totals:?} in all, and {shown} is shown");
                return Err(Law::Counters.broken(detail));
            }
        }
        Ok(())
    }
}
