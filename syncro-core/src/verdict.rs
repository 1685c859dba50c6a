//! Verdicts: what an authority says of transactions that it refused.

use uuid::Uuid;

use crate::digest::Digest;
use crate::engine::Event;
use crate::error::DataError;
use crate::fields::Fields;
use crate::id::{Name, NodeId, RecordId, RecordKey};
use crate::limits::REFUSAL_BYTES_MAX;
use crate::model::{FieldsReader, FieldsWriter, ScribeModel};
use crate::principal::Refusal;
use crate::scribe::Transaction;
use crate::stamp::{Author, Epoch, Stamp, Time};

/// Records that a verdict names; a transaction may have touched more.
const NAMED_MAX: usize = 64;

/// A transaction was refused. A record like any other: it travels, lasts and is read as all are, and whoever it is for
/// destroys it when it has been dealt with.
///
/// ```
/// use syncro_core::{ScribeModel, Verdict};
///
/// assert_eq!(Verdict::MODEL, "syncro.verdict");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Made of the transaction's content and of whom the verdict is for: one transaction gets one.
    pub id: Uuid,
    /// Whom it is for: the author, or whoever brought what it should not.
    pub to: NodeId,
    /// The stamp of the transaction.
    pub stamp: Stamp,
    /// Why it was refused.
    pub refusal: Refusal,
    /// The records that it would have changed, the first 64 of them.
    pub records: Vec<RecordKey>,
}

impl Verdict {
    /// Whether it is about a transaction: of one stamp there may be several.
    pub fn is_about(&self, transaction: &Transaction) -> bool {
        self.id == Self::id_of(self.to, transaction)
    }

    fn id_of(to: NodeId, transaction: &Transaction) -> Uuid {
        let content = Digest::EMPTY.then(to.as_bytes()).then(transaction.bytes());
        uuid::Builder::from_custom_bytes(content.0).into_uuid()
    }

    pub(crate) fn new(
        to: NodeId,
        transaction: &Transaction,
        mut refusal: Refusal,
        records: impl Iterator<Item = RecordKey>,
    ) -> Self {
        let end = refusal.message.floor_char_boundary(REFUSAL_BYTES_MAX);
        refusal.message.truncate(end);
        Self {
            id: Self::id_of(to, transaction),
            to,
            stamp: transaction.stamp(),
            refusal,
            records: records.take(NAMED_MAX).collect(),
        }
    }

    /// The verdict that an event brings to a node.
    pub(crate) fn of_event(event: &Event, to: NodeId) -> Option<Self> {
        let Event::Changed(changed) = event else {
            return None;
        };
        let is_new = || !changed.before.as_ref().is_some_and(|before| before.is_alive());
        if changed.key.model.as_str() != Self::MODEL || changed.session.is_none() || !is_new() {
            return None;
        }
        let verdict = FieldsReader::instance::<Self>(&changed.key.id, &Fields::of(&changed.after));
        verdict.ok().filter(|verdict| verdict.to == to)
    }

    pub(crate) fn key(&self) -> RecordKey {
        RecordKey { model: Name::fixed(Self::MODEL), id: RecordId::Uuid(self.id) }
    }
}

impl ScribeModel for Verdict {
    const MODEL: &'static str = "syncro.verdict";
    const CHANNELS: &'static [&'static str] = &["node/{to}"];

    type Id = Uuid;

    fn id(&self) -> &Uuid {
        &self.id
    }

    fn write(&self, fields: &mut FieldsWriter<'_>) -> Result<(), DataError> {
        let records: Vec<_> =
            self.records.iter().map(|key| (key.model.as_str(), &key.id)).collect();
        fields.value("to", &self.to)?;
        fields.value("time", &self.stamp.time.bits())?;
        fields.value("node", &self.stamp.author.node)?;
        fields.value("epoch", &self.stamp.author.epoch.0)?;
        fields.value("code", &self.refusal.code)?;
        fields.value("message", &self.refusal.message)?;
        fields.value("records", &records)
    }

    fn read(id: Uuid, fields: &FieldsReader<'_>) -> Result<Self, DataError> {
        let records: Vec<(String, RecordId)> = fields.value("records")?;
        let records = records
            .into_iter()
            .map(|(model, id)| Ok(RecordKey { model: Name::new(&model)?, id }))
            .collect::<Result<_, DataError>>()?;
        let author = Author { node: fields.value("node")?, epoch: Epoch(fields.value("epoch")?) };
        Ok(Self {
            id,
            to: fields.value("to")?,
            stamp: Stamp { time: Time::from_bits(fields.value("time")?), author },
            refusal: Refusal { code: fields.value("code")?, message: fields.value("message")? },
            records,
        })
    }
}
