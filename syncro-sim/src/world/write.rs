//! What applications do to records.

use syncro_core::{
    Edit, Encoded, Error, Field, Fields, Input, Mark, Name, Proposal, Record, RecordId, RecordKey,
    Value, View,
};

use super::town::{LISTS, READERS, memo};
use super::{Failure, Law, World};

/// A write of an application. What does not fit the record's life is left out.
#[derive(Clone, Debug)]
pub enum Write {
    /// Sets the field of a note, creating it where there is none.
    Put {
        id: u8,
        field: u8,
        value: u8,
    },
    Destroy {
        id: u8,
    },
    /// Destroys and creates in one.
    Replace {
        id: u8,
        value: u8,
    },
    Raise {
        id: u8,
        by: i8,
    },
    Add {
        id: u8,
        member: u8,
    },
    Remove {
        id: u8,
        member: u8,
    },
    Entry {
        id: u8,
        key: u8,
        value: Option<u8>,
    },
    /// Two records that must always agree.
    Twins {
        value: u8,
    },
    /// Raises a counter that is never destroyed.
    Tally {
        by: i8,
    },
    /// Several records of several sorts at once.
    Several {
        id: u8,
        value: u8,
        by: i8,
    },
    /// Saves a card as the version of the program knows it that the node runs.
    Card {
        id: u8,
        value: u8,
    },
    /// Creates a record, or changes the one that is there to be like this one: what an application does.
    Save {
        key: RecordKey,
        fields: Fields,
    },
    /// What one version of a program writes, or the other, whichever the node runs.
    Either(Box<[Write; 2]>),
    /// Destroys a record of an application.
    Drop {
        key: RecordKey,
    },
    /// What is done to memos, which are in lists and have readers.
    Listed(Listed),
    /// Fills a note with many bytes.
    Large {
        id: u8,
        kib: u8,
    },
}

/// What is done to a memo. All but a create is left out where it is not there.
#[derive(Clone, Debug)]
pub enum Listed {
    Create {
        id: u8,
        list: u8,
    },
    /// Lets it be in another list.
    Move {
        id: u8,
        list: u8,
    },
    Retitle {
        id: u8,
        title: u8,
    },
    Raise {
        id: u8,
        by: i8,
    },
    /// Somebody is named as a reader, or no more.
    Reader {
        id: u8,
        who: u8,
        is_named: bool,
    },
    Destroy {
        id: u8,
    },
    /// Two of them change places, in one transaction.
    Swap {
        ids: [u8; 2],
    },
    Fill {
        id: u8,
        kib: u8,
    },
}

/// The key of a note.
pub fn note(id: u8) -> RecordKey {
    RecordKey { model: name("note"), id: RecordId::Int(i64::from(id)) }
}

/// The key of a card.
pub(crate) fn card(id: u8) -> RecordKey {
    RecordKey { model: name("card"), id: RecordId::Int(i64::from(id)) }
}

/// The fields of a card that a version of the program knows: the second one has added a field, and has no use
/// for another.
pub(crate) fn card_fields(version: u8) -> [&'static str; 2] {
    [["title", "price"], ["title", "note"]][usize::from(version % 2)]
}

/// The key of the tally.
pub fn tally() -> RecordKey {
    RecordKey { model: name("sim tally"), id: RecordId::Int(0) }
}

/// The keys of the two records that always agree.
pub(crate) fn twins() -> [RecordKey; 2] {
    ["left", "right"]
        .map(|id| RecordKey { model: name("sim twin"), id: RecordId::text(id).unwrap() })
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn field(number: u8) -> Name {
    name(["title", "done", "due"][usize::from(number) % 3])
}

fn int(value: u8) -> Encoded {
    Value::Int(i128::from(value)).encode()
}

impl World {
    /// Writes, and looks that what was written is what is seen. Returns whether anything was recorded.
    pub fn write(&mut self, node: usize, write: &Write) -> Result<bool, Failure> {
        let mut proposal = Proposal::default();
        let mut wanted: Vec<(RecordKey, Name, Value)> = Vec::new();
        let (opens, before) = (self.opens, self.nodes[node].log.entries().len());
        self.draft(node, write, &mut proposal, &mut wanted)?;
        let saved = self.saved(node, write);
        let unknown = saved.as_ref().map(|saved| self.unknown(node, saved)).transpose()?;
        self.ledger.raising = match write {
            Write::Tally { by } | Write::Several { by, .. } => i64::from(*by),
            _ => 0,
        };
        self.propose(node, proposal)?;
        if self.opens != opens {
            // Somebody crashed over it.
            return Ok(false);
        }
        for (key, field, value) in wanted {
            let record = self.nodes[node].store.record(&key)?.unwrap_or_default();
            let seen = Fields::of(&record);
            if seen.get(field.as_str()) != Some(&Field::Value(value.encode())) {
                let detail =
                    format!("node {node} wrote {value:?} to {key} {field} and sees {seen:?}");
                return Err(Law::Reference.broken(detail));
            }
        }
        if let Some((saved, unknown)) = saved.zip(unknown) {
            self.check_unknown(node, &saved, unknown)?;
        }
        Ok(self.nodes[node].log.entries().len() > before)
    }

    /// Proposes a transaction that fits.
    pub fn propose(&mut self, node: usize, proposal: Proposal) -> Result<(), Failure> {
        self.try_propose(node, proposal)?.map_err(Failure::from)
    }

    /// Proposes a transaction that may not fit.
    pub(crate) fn try_propose(
        &mut self,
        node: usize,
        proposal: Proposal,
    ) -> Result<Result<(), Error>, Failure> {
        self.touched_ms = 0;
        for key in proposal.records() {
            let record = self.nodes[node].store.record(key)?;
            let newest = record.as_deref().and_then(Record::newest);
            self.touched_ms = self.touched_ms.max(newest.map_or(0, |stamp| stamp.time.ms()));
        }
        self.try_input(node, Input::Propose(proposal))
    }

    fn draft(
        &self,
        node: usize,
        write: &Write,
        proposal: &mut Proposal,
        wanted: &mut Vec<(RecordKey, Name, Value)>,
    ) -> Result<(), Failure> {
        let store = &self.nodes[node].store;
        let is_alive = |key: &RecordKey| -> Result<bool, Failure> {
            Ok(store.record(key)?.is_some_and(|record| record.is_alive()))
        };
        let edit = |proposal: &mut Proposal, key: RecordKey, edits: Vec<Edit>| {
            if !is_alive(&key)? {
                proposal.create(key.clone(), &Fields::default()).unwrap();
            }
            proposal.update(key, edits).unwrap();
            Ok::<(), Failure>(())
        };
        match write.clone() {
            Write::Put { id, field: number, value } => {
                let value = Value::Int(i128::from(value));
                edit(proposal, note(id), vec![Edit::value(field(number), value.encode())])?;
                wanted.push((note(id), field(number), value));
            }
            Write::Destroy { id } => {
                if is_alive(&note(id))? {
                    proposal.destroy(note(id)).unwrap();
                }
            }
            Write::Replace { id, value } => {
                if is_alive(&note(id))? {
                    proposal.destroy(note(id)).unwrap();
                }
                let fields = [("title".to_owned(), Value::Int(i128::from(value)))].into();
                proposal.create(note(id), &Fields::from_values(&fields).unwrap()).unwrap();
                wanted.push((note(id), field(0), Value::Int(i128::from(value))));
            }
            Write::Raise { id, by } => {
                edit(proposal, note(id), vec![raise("count", by)])?;
            }
            Write::Add { id, member } => {
                edit(proposal, note(id), vec![Edit::add(name("tags"), int(member)).unwrap()])?;
            }
            Write::Remove { id, member } => {
                edit(proposal, note(id), vec![Edit::remove(name("tags"), int(member)).unwrap()])?;
            }
            Write::Entry { id, key, value } => {
                let value = value.map_or(Encoded::NIL, int);
                let entry = Edit::entry(name("meta"), &format!("key {key}"), value).unwrap();
                edit(proposal, note(id), vec![entry])?;
            }
            Write::Twins { value } => {
                for key in twins() {
                    edit(proposal, key, vec![Edit::value(name("value"), int(value))])?;
                }
            }
            Write::Tally { by } => edit(proposal, tally(), vec![raise("sum", by)])?,
            Write::Several { id, value, by } => {
                edit(proposal, tally(), vec![raise("sum", by)])?;
                for key in twins() {
                    edit(proposal, key, vec![Edit::value(name("value"), int(value))])?;
                }
                if is_alive(&note(id))? {
                    proposal.destroy(note(id)).unwrap();
                }
                edit(proposal, note(id.wrapping_add(1)), vec![Edit::value(field(0), int(value))])?;
            }
            Write::Card { id, value } => {
                let version = self.nodes[node].version;
                let fields = card_fields(version).into_iter();
                let fields = fields.map(|field| (field.to_owned(), Value::Int(value.into())));
                let fields = Fields::from_values(&fields.collect()).unwrap();
                self.save(node, card(id), &fields, proposal)?;
            }
            Write::Save { key, fields } => self.save(node, key, &fields, proposal)?,
            Write::Either(writes) => {
                let write = &writes[usize::from(self.nodes[node].version % 2)];
                self.draft(node, write, proposal, wanted)?;
            }
            Write::Drop { key } => {
                if is_alive(&key)? {
                    proposal.destroy(key).unwrap();
                }
            }
            Write::Listed(listed) => self.draft_listed(node, &listed, proposal, wanted)?,
            Write::Large { id, kib } => {
                let value = Value::Bytes(vec![kib; usize::from(kib) << 10]);
                edit(proposal, note(id), vec![Edit::value(name("body"), value.encode())])?;
                wanted.push((note(id), name("body"), value));
            }
        }
        Ok(())
    }

    fn draft_listed(
        &self,
        node: usize,
        listed: &Listed,
        proposal: &mut Proposal,
        wanted: &mut Vec<(RecordKey, Name, Value)>,
    ) -> Result<(), Failure> {
        let text = |of: &[&str; 3], number: u8| Value::from(of[usize::from(number) % of.len()]);
        let of = |id: &u8| self.fields(node, &memo(*id));
        let mut edit = |id: &u8, field: &str, value: Value| {
            if of(id).is_some() {
                let edits = vec![Edit::value(name(field), value.encode())];
                proposal.update(memo(*id), edits).unwrap();
                wanted.push((memo(*id), name(field), value));
            }
        };
        match listed {
            Listed::Create { id, list } => {
                if of(id).is_some() {
                    return Ok(());
                }
                let list = text(&LISTS, *list);
                let fields = [("list".to_owned(), list.clone())].into();
                proposal.create(memo(*id), &Fields::from_values(&fields).unwrap()).unwrap();
                wanted.push((memo(*id), name("list"), list));
            }
            Listed::Move { id, list } => edit(id, "list", text(&LISTS, *list)),
            Listed::Retitle { id, title } => edit(id, "title", Value::Int(i128::from(*title))),
            Listed::Fill { id, kib } => {
                let body = ["body", "more"][usize::from(kib % 2)];
                edit(id, body, Value::Bytes(vec![*kib; usize::from(*kib) << 10]));
            }
            Listed::Swap { ids } => {
                let two = if ids[0] == ids[1] { &ids[..1] } else { &ids[..] };
                for (id, list) in two.iter().zip([0, 1]) {
                    edit(id, "list", text(&LISTS, list));
                }
            }
            Listed::Raise { id, by } => {
                if of(id).is_some() {
                    proposal.update(memo(*id), vec![raise("views", *by)]).unwrap();
                }
            }
            Listed::Reader { id, who, is_named } => {
                let (field, who) = (name("readers"), text(&READERS, *who).encode());
                let edit = if *is_named { Edit::add(field, who) } else { Edit::remove(field, who) };
                if of(id).is_some() {
                    proposal.update(memo(*id), vec![edit.unwrap()]).unwrap();
                }
            }
            Listed::Destroy { id } => {
                if of(id).is_some() {
                    proposal.destroy(memo(*id)).unwrap();
                }
            }
        }
        Ok(())
    }

    fn save(
        &self,
        node: usize,
        key: RecordKey,
        fields: &Fields,
        proposal: &mut Proposal,
    ) -> Result<(), Failure> {
        let record = self.nodes[node].store.record(&key)?.unwrap_or_default();
        if record.is_alive() {
            let edits = fields.edits_from(&Fields::of(&record)).map_err(Error::from)?;
            Ok(proposal.update(key, edits).map_err(Error::from)?)
        } else {
            Ok(proposal.create(key, fields).map_err(Error::from)?)
        }
    }

    /// The visible fields of a record.
    pub fn fields(&self, node: usize, key: &RecordKey) -> Option<Fields> {
        let record = self.nodes[node].store.record(key).unwrap()?;
        record.is_alive().then(|| Fields::of(&record))
    }

    /// The plain value of one field.
    pub fn value(&self, node: usize, key: &RecordKey, field: &str) -> Option<Value> {
        match self.fields(node, key)?.get(field)? {
            Field::Value(value) => Some(value.decode()),
            Field::Counter(sum) => Some(Value::from(*sum)),
            other => panic!("{other:?} is no plain value"),
        }
    }

    /// The title of a note.
    pub fn title(&self, node: usize, id: u8) -> Option<u8> {
        match self.value(node, &note(id), "title")? {
            Value::Int(int) => u8::try_from(int).ok(),
            other => panic!("{other:?} is no title"),
        }
    }

    /// The mark of the newest transaction's first scribe.
    pub fn newest_mark(&self, node: usize) -> Option<Mark> {
        let last = self.nodes[node].log.entries().last()?;
        last.scribes().first().map(|scribe| scribe.mark)
    }
}

fn raise(field: &str, by: i8) -> Edit {
    Edit::Raise { field: name(field), by: i64::from(by) }
}
