//! What a view follows, and the rows that say so.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Rows;
use super::index::{key_bytes, read_key};
use crate::channel::{Channel, Sum};
use crate::digest::{Digest, Point};
use crate::encoding::Malformed;
use crate::encoding::msgpack::{Head, Reader, Writer};
use crate::error::{Error, UsageError};
use crate::id::{NodeId, RecordKey};
use crate::record::Record;
use crate::scribe::{Scribe, Transaction};
use crate::state;
use crate::store::{StoreError, View};

/// The row that only the store of a view has.
pub const VIEW_ROW: &[u8] = b"v";

/// The row that a repair leaves when parts of a view's store were lost: what the view was shown is to be said anew.
pub const VIEW_LOST_ROW: &[u8] = b"v!";

/// What the keys of the other rows begin with: a subscription, by its channel; the records that the source shows of a
/// channel; the channels of a record that it shows; what is pending, by record and by the end of the last own write.
pub(super) const SUBSCRIPTION: &[u8] = b"vs";
pub(super) const MEMBER: &[u8] = b"vm";
pub(super) const SHOWN: &[u8] = b"vk";
pub(super) const PENDING: &[u8] = b"vp";
pub(super) const PENDING_UNTIL: &[u8] = b"vo";

/// Rows read at once.
pub(super) const AT_ONCE: usize = 256;

/// What a view follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// The node whose points the subscriptions have.
    pub(crate) source: Option<NodeId>,
    /// Up to where the source covers this node's log.
    pub(crate) covered: u64,
    /// By the hash of the channel.
    pub(crate) subscriptions: BTreeMap<Digest, Subscription>,
}

/// A channel that a view follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) channel: Channel,
    pub(crate) place: Place,
    /// Over what the source shows of the channel here.
    pub(crate) sum: Sum,
}

/// How far a view is in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a point of the source's channel log, or newer.
    At(Point),
    /// The source says all that is in it, and has got so far; then it goes on from the floor.
    Filling { floor: Point, after: Option<RecordKey> },
}

/// What a step changes of what a view follows.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub(super) source: Option<NodeId>,
    pub(super) covered: u64,
    pub(super) changed: BTreeMap<Digest, Option<Subscription>>,
}

/// What is shown of a record besides what the source shows.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The end of the last own write in this node's log.
    pub(super) until: u64,
    pub(super) own: Record,
    /// What the source shows, or showed last.
    pub(super) copy: Option<Record>,
    /// Whether the source shows it no more.
    pub(super) is_gone: bool,
}

impl Followed {
    /// A view that follows nothing but what is for its own node: verdicts.
    fn new(node: NodeId) -> Self {
        let channel = Channel::of_node(node);
        let place = Place::At(Point::START);
        let own = Subscription { channel: channel.clone(), place, sum: Sum::default() };
        let subscriptions = BTreeMap::from([(channel.hash(), own)]);
        Self { source: None, covered: 0, subscriptions }
    }

    /// What the store of a view follows; `None` for a node that is none.
    pub(super) fn open(
        is_view: bool,
        node: NodeId,
        has_log: bool,
        view: &impl View,
    ) -> Result<Option<Self>, Error> {
        let row = view.row(VIEW_ROW)?;
        let mut followed = match (row, is_view) {
            (None, false) => return Ok(None),
            (None, true) if has_log => return Err(UsageError::NotAView.into()),
            (Some(_), false) => return Err(UsageError::IsAView.into()),
            (None, true) => Self::new(node),
            (Some(row), true) => read_followed(&row).map_err(corrupt)?,
        };
        let mut after: Option<Bytes> = None;
        loop {
            let rows = view.rows(SUBSCRIPTION, after.as_deref(), AT_ONCE)?;
            let Some((last, _)) = rows.last() else {
                return Ok(Some(followed));
            };
            after = Some(last.clone());
            for (_, row) in &rows {
                let subscription = read_subscription(row).map_err(corrupt)?;
                followed.subscriptions.insert(subscription.channel.hash(), subscription);
            }
        }
    }

    /// After a repair that has lost something: every channel is said anew, and whatever is not said is shown no more. What
    /// is in the store passes for a part of the channel of the node's own until then.
    pub(super) fn mend(
        &mut self,
        node: NodeId,
        rows: &mut Rows,
        view: &impl View,
    ) -> Result<(), StoreError> {
        if view.row(VIEW_LOST_ROW)?.is_none() {
            return Ok(());
        }
        for prefix in [MEMBER, SHOWN, PENDING, PENDING_UNTIL] {
            let mut after: Option<Bytes> = None;
            loop {
                let some = view.rows(prefix, after.as_deref(), AT_ONCE)?;
                let Some((last, _)) = some.last() else { break };
                after = Some(last.clone());
                some.into_iter().for_each(|(key, _)| rows.delete(key.into()));
            }
        }
        let own = Channel::of_node(node).hash();
        let mut sum = Sum::default();
        for model in view.models()? {
            let mut after = None;
            loop {
                let records = view.records(&model, after.as_ref(), AT_ONCE)?;
                let Some((last, _)) = records.last() else { break };
                after = Some(last.clone());
                for (id, record) in &records {
                    let key = RecordKey { model: model.clone(), id: id.clone() };
                    let hash = state::hash(&key, record);
                    sum.add(hash);
                    rows.put([SHOWN, &key_bytes(&key)].concat(), shown_row(hash, &[own]));
                    rows.put(member_key(own, &key), Bytes::new());
                }
            }
        }
        let mut at = 0;
        loop {
            let entries = view.entries(at, UNCOVERED_BYTES)?;
            let Some(last) = entries.last() else { break };
            at = last.end().offset;
            for entry in entries.iter().filter(|entry| !entry.transaction.is_local()) {
                note_own(&entry.transaction, entry.end().offset, rows, view)?;
            }
        }
        (self.source, self.covered) = (None, 0);
        for (channel, subscription) in &mut self.subscriptions {
            subscription.place = Place::At(Point::START);
            subscription.sum = if *channel == own { sum } else { Sum::default() };
        }
        rows.delete(VIEW_LOST_ROW.to_vec());
        Ok(())
    }

    /// Takes what a step has changed.
    pub(super) fn take(&mut self, following: Following) {
        (self.source, self.covered) = (following.source, following.covered);
        for (channel, subscription) in following.changed {
            match subscription {
                Some(subscription) => _ = self.subscriptions.insert(channel, subscription),
                None => _ = self.subscriptions.remove(&channel),
            }
        }
    }

    /// Writes the row of a view that follows nothing yet.
    pub(super) fn write(&self, rows: &mut Rows) {
        rows.put(VIEW_ROW.to_vec(), write_followed(self.source, self.covered));
        for (channel, subscription) in &self.subscriptions {
            rows.put([SUBSCRIPTION, &channel.0].concat(), write_subscription(subscription));
        }
    }
}

/// Bytes of the log read at once.
pub(super) const UNCOVERED_BYTES: usize = 1 << 20;

pub(super) fn scribes(transaction: &Transaction) -> Result<Vec<Scribe>, StoreError> {
    transaction.scribes().map_err(|error| StoreError::Corrupt { what: error.to_string() })
}

/// Notes what this node has written itself, up to an offset of its log.
pub(super) fn note_own(
    transaction: &Transaction,
    until: u64,
    rows: &mut Rows,
    view: &impl View,
) -> Result<(), StoreError> {
    for scribe in scribes(transaction)? {
        let (key, part) = scribe.into_record(transaction.stamp());
        let next = match pending(&key, rows, view)? {
            Some(mut known) => {
                rows.delete(until_key(known.until, &key));
                known.own.merge(&part);
                Pending { until: until.max(known.until), ..known }
            }
            None => {
                let is_shown = rows.get(&[SHOWN, &key_bytes(&key)].concat(), view)?.is_some();
                // What the store has is the source's state, where nothing is pending.
                let copy = if is_shown { view.record(&key)? } else { None };
                let copy = copy.map(|copy| Record::clone(&copy));
                Pending { until, own: part, is_gone: copy.is_none(), copy }
            }
        };
        rows.put(until_key(next.until, &key), Bytes::new());
        rows.put([PENDING, &key_bytes(&key)].concat(), next.write());
    }
    Ok(())
}

pub(super) fn pending(
    key: &RecordKey,
    rows: &Rows,
    view: &impl View,
) -> Result<Option<Pending>, StoreError> {
    let row = rows.get(&[PENDING, &key_bytes(key)].concat(), view)?;
    row.map(|row| Pending::read(&row).map_err(corrupt)).transpose()
}

impl Pending {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(4);
        writer.uint(self.until);
        writer.bool(self.is_gone);
        writer.bytes(&state::to_bytes(&self.own));
        match &self.copy {
            None => writer.nil(),
            Some(copy) => writer.bytes(&state::to_bytes(copy)),
        }
        writer.0
    }

    fn read(row: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(row);
        reader.array_of(4, "what is pending")?;
        let until = reader.uint()?;
        let is_gone = reader.bool()?;
        let own = state::from_bytes(&row.slice_ref(reader.bytes()?))?;
        let copy = match reader.head()? {
            Head::Nil => None,
            Head::Bytes(copy) => Some(state::from_bytes(&row.slice_ref(copy))?),
            _ => return Err(Malformed::Expected("a copy")),
        };
        reader.finish()?;
        Ok(Self { until, own, copy, is_gone })
    }
}

pub(super) fn member_key(channel: Digest, key: &RecordKey) -> Vec<u8> {
    [MEMBER, &channel.0, &key_bytes(key)].concat()
}

pub(super) fn until_key(until: u64, key: &RecordKey) -> Vec<u8> {
    [PENDING_UNTIL, &until.to_be_bytes(), &key_bytes(key)].concat()
}

pub(super) fn shown_row(hash: Digest, channels: &[Digest]) -> Vec<u8> {
    [hash].iter().chain(channels).flat_map(|it| it.0).collect()
}

pub(super) fn write_subscription(subscription: &Subscription) -> Vec<u8> {
    let Subscription { channel, place, sum } = subscription;
    let mut writer = Writer::default();
    writer.array(6);
    writer.text(channel.as_str());
    let (Place::At(point) | Place::Filling { floor: point, .. }) = place;
    writer.uint(point.offset);
    writer.bytes(&point.digest.0);
    writer.bytes(&sum.to_bytes());
    writer.bool(matches!(place, Place::Filling { .. }));
    match place {
        Place::Filling { after: Some(after), .. } => writer.bytes(&key_bytes(after)),
        _ => writer.nil(),
    }
    writer.0
}

fn read_subscription(row: &[u8]) -> Result<Subscription, Malformed> {
    let mut reader = Reader::new(row);
    reader.array_of(6, "a subscription")?;
    let channel = Channel::new(reader.text()?).map_err(|_| Malformed::Expected("a channel"))?;
    let point = Point { offset: reader.uint()?, digest: Digest(reader.bytes_of()?) };
    let sum = Sum::from_bytes(reader.bytes_of()?);
    let is_filling = reader.bool()?;
    let after = match reader.head()? {
        Head::Nil => None,
        Head::Bytes(key) => Some(read_key(key).ok_or(Malformed::Expected("a key"))?),
        _ => return Err(Malformed::Expected("a key")),
    };
    reader.finish()?;
    let place = match is_filling {
        true => Place::Filling { floor: point, after },
        false => Place::At(point),
    };
    Ok(Subscription { channel, place, sum })
}

pub(super) fn write_followed(source: Option<NodeId>, covered: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.array(2);
    match source {
        None => writer.nil(),
        Some(source) => writer.bytes(source.as_bytes()),
    }
    writer.uint(covered);
    writer.0
}

fn read_followed(row: &[u8]) -> Result<Followed, Malformed> {
    let mut reader = Reader::new(row);
    reader.array_of(2, "what a view follows")?;
    let source = match reader.head()? {
        Head::Nil => None,
        Head::Bytes(node) => {
            let node = node.try_into().map_err(|_| Malformed::Expected("a node"))?;
            Some(NodeId::from_bytes(node))
        }
        _ => return Err(Malformed::Expected("a node")),
    };
    let covered = reader.uint()?;
    reader.finish()?;
    Ok(Followed { source, covered, subscriptions: BTreeMap::new() })
}

fn corrupt(error: Malformed) -> StoreError {
    StoreError::Corrupt { what: format!("what a view keeps: {error}") }
}
