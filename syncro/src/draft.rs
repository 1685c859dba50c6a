//! Several changes that happen together or not at all.

use std::sync::Arc;

use syncro_core::{
    DataError, Edit, Fields, FieldsReader, FieldsWriter, ModelId, Proposal, Record, RecordKey,
    ScribeModel, UsageError, View,
};
use syncro_store::Reader;

use crate::error::Error;

/// A transaction that is being written; see [`Node::transaction`](crate::Node::transaction).
///
/// It reads its own writes. What others write meanwhile it may see or not: the last writer of a field
/// wins, and a record that somebody destroyed meanwhile makes the transaction fail as a whole.
///
/// What it does to one record is one scribe, whatever it takes to say it: a record that it creates and then
/// updates is created as it is at the end, one that it creates and destroys never was, and one that it
/// destroys and creates is replaced ([`Mark`](crate::Mark)). So watchers see one change of each record.
#[derive(Debug)]
pub struct Draft {
    proposal: Proposal,
    reader: Reader,
}

impl Draft {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { proposal: Proposal::default(), reader }
    }

    pub(crate) fn into_proposal(self) -> Proposal {
        self.proposal
    }

    /// Reads a record as this transaction would leave it.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] when the record does not fit the type; [`Error::Store`] when it cannot be read.
    pub fn get<M: ScribeModel>(&self, id: &M::Id) -> Result<Option<M>, Error> {
        let key = RecordKey::of::<M>(id)?;
        self.alive(&key)?.map_or(Ok(None), |record| instance(&key, &record))
    }

    /// Creates a record.
    ///
    /// # Errors
    ///
    /// [`DataError::Exists`] when it is alive, and whatever else makes the data unfit to be recorded.
    pub fn create<M: ScribeModel>(&mut self, instance: &M) -> Result<(), Error> {
        let key = RecordKey::of::<M>(instance.id())?;
        if self.alive(&key)?.is_some() {
            return Err(DataError::Exists { key }.into());
        }
        Ok(self.proposal.create_instance(key, instance)?)
    }

    /// Changes a record: what the closure changes is recorded, field by field.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] when it is not alive, [`UsageError::IdChanged`] when the closure changes the
    /// id, and whatever else makes the data unfit to be recorded.
    pub fn update<M: ScribeModel>(
        &mut self,
        id: &M::Id,
        change: impl FnOnce(&mut M),
    ) -> Result<(), Error> {
        let key = RecordKey::of::<M>(id)?;
        let missing = || DataError::Missing { key: key.clone() };
        let record = self.alive(&key)?.ok_or_else(missing)?;
        let mut changed: M = FieldsReader::instance_of(&key.id, &record)?;
        let edits = FieldsWriter::edits_of(&mut changed, &record, change);
        let id = changed.id();
        if !id.is(&key.id) {
            let id = id.to_record_id()?;
            return Err(UsageError::IdChanged { key, id }.into());
        }
        let edits = edits?;
        Ok(self.proposal.update(key, edits)?)
    }

    /// Creates a record, or changes the one that is there to be like this one. Fields that the type does
    /// not know stay as they are.
    ///
    /// # Errors
    ///
    /// Whatever makes the data unfit to be recorded.
    pub fn save<M: ScribeModel>(&mut self, instance: &M) -> Result<(), Error> {
        let key = RecordKey::of::<M>(instance.id())?;
        let fields = FieldsWriter::fields_of(instance)?;
        let Some(record) = self.alive(&key)? else {
            return Ok(self.proposal.create(key, &fields)?);
        };
        let edits = fields.edits_from(&Fields::of(&record))?;
        Ok(self.proposal.update(key, edits)?)
    }

    /// Destroys a record.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] when it is not alive.
    pub fn destroy<M: ScribeModel>(&mut self, id: &M::Id) -> Result<(), Error> {
        self.destroy_record(RecordKey::of::<M>(id)?)
    }

    /// Reads the fields of a record of any model, as this transaction would leave them.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when it cannot be read.
    pub fn get_record(&self, key: &RecordKey) -> Result<Option<Fields>, Error> {
        Ok(self.alive(key)?.map(|record| Fields::of(&record)))
    }

    /// Creates a record of any model.
    ///
    /// # Errors
    ///
    /// [`DataError::Exists`] when it is alive.
    pub fn create_record(&mut self, key: RecordKey, fields: &Fields) -> Result<(), Error> {
        if self.alive(&key)?.is_some() {
            return Err(DataError::Exists { key }.into());
        }
        Ok(self.proposal.create(key, fields)?)
    }

    /// Changes a record of any model.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] when it is not alive.
    pub fn update_record(&mut self, key: RecordKey, edits: Vec<Edit>) -> Result<(), Error> {
        if self.alive(&key)?.is_none() {
            return Err(DataError::Missing { key }.into());
        }
        Ok(self.proposal.update(key, edits)?)
    }

    /// Destroys a record of any model.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] when it is not alive.
    pub fn destroy_record(&mut self, key: RecordKey) -> Result<(), Error> {
        if self.alive(&key)?.is_none() {
            return Err(DataError::Missing { key }.into());
        }
        Ok(self.proposal.destroy(key)?)
    }

    /// The record, if it would be alive after this transaction.
    fn alive(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, Error> {
        let record = self.proposal.preview(key, self.reader.record(key)?);
        Ok(record.filter(|record| record.is_alive()))
    }
}

/// The instance of a record, if it is alive.
pub(crate) fn instance<M: ScribeModel>(
    key: &RecordKey,
    record: &Record,
) -> Result<Option<M>, Error> {
    if !record.is_alive() {
        return Ok(None);
    }
    Ok(Some(FieldsReader::instance_of(&key.id, record)?))
}
