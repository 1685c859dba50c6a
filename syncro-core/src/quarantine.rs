//! Transactions that could not be played, set aside until somebody decides on them.

use bytes::Bytes;

use crate::digest::Digest;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::id::NodeId;
use crate::principal::{Access, Pattern, Principal};
use crate::scribe::Transaction;
use crate::stamp::Stamp;
use crate::store::{StoreError, View};

/// A transaction of a peer that could not be played, and was set aside so that nothing waits behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The transaction in its canonical encoding. It may hold what this version cannot read.
    pub transaction: Bytes,
    /// The peer that brought it.
    pub bearer: NodeId,
    /// By whose rights it was brought, on a node that limits its peers.
    pub principal: Option<Principal>,
    /// When it came, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why it could not be played.
    pub reason: String,
}

impl Parked {
    /// What it is known by: the hash of the transaction.
    pub fn id(&self) -> Digest {
        id(&self.transaction)
    }

    /// When and by whom the transaction was written.
    pub fn stamp(&self) -> Option<Stamp> {
        Transaction::read_stamp(&self.transaction).ok()
    }

    /// What was set aside under an [id](Self::id).
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it cannot be read.
    pub fn find(id: Digest, view: &impl View) -> Result<Option<Self>, StoreError> {
        view.row(&key(id))?.map(|row| read(&row)).transpose()
    }

    /// At most `limit` of the transactions that are set aside, in the order of their ids, after one or from the first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when they cannot be read.
    pub fn list(
        after: Option<Digest>,
        limit: usize,
        view: &impl View,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = view.rows(KEYS, after.map(key).as_deref(), limit)?;
        rows.iter().map(|(_, row)| read(row)).collect()
    }

    /// Bytes for a store.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(5);
        writer.bytes(&self.transaction);
        writer.bytes(self.bearer.as_bytes());
        writer.uint(self.since_ms);
        writer.text(&self.reason);
        match &self.principal {
            None => writer.nil(),
            Some(principal) => write_principal(&mut writer, principal),
        }
        writer.0
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.array_of(5, "a parked transaction")?;
        let parked = Self {
            transaction: Bytes::copy_from_slice(reader.bytes()?),
            bearer: NodeId::from_bytes(reader.bytes_of()?),
            since_ms: reader.uint()?,
            reason: reader.text()?.to_owned(),
            principal: read_principal(&mut reader)?,
        };
        reader.finish()?;
        Ok(parked)
    }
}

/// What the keys of rows begin with that hold what is parked.
const KEYS: &[u8] = b"parked/";

/// The key of the row that holds what is parked under an id.
pub(crate) fn key(id: Digest) -> Vec<u8> {
    [KEYS, &id.0].concat()
}

fn read(row: &[u8]) -> Result<Parked, StoreError> {
    let what = |error| StoreError::Corrupt { what: format!("a transaction set aside: {error}") };
    Parked::from_bytes(row).map_err(what)
}

/// What a parked transaction is known by.
pub(crate) fn id(transaction: &[u8]) -> Digest {
    Digest::EMPTY.then(transaction)
}

fn write_principal(writer: &mut Writer, principal: &Principal) {
    let Principal { name, node, read, write, relays, until_ms } = principal;
    writer.array(6);
    writer.text(name);
    match node {
        None => writer.nil(),
        Some(node) => writer.bytes(node.as_bytes()),
    }
    for access in [read, write] {
        match access {
            Access::All => writer.nil(),
            Access::Channels(patterns) => {
                writer.array(patterns.len());
                patterns.iter().for_each(|pattern| writer.text(&pattern.to_string()));
            }
        }
    }
    writer.bool(*relays);
    match until_ms {
        None => writer.nil(),
        Some(until_ms) => writer.uint(*until_ms),
    }
}

fn read_principal(reader: &mut Reader<'_>) -> Result<Option<Principal>, Malformed> {
    match reader.head()? {
        Head::Nil => return Ok(None),
        Head::Array(6) => {}
        _ => return Err(Malformed::Expected("a principal")),
    }
    let name = reader.text()?.to_owned();
    let node = match reader.head()? {
        Head::Nil => None,
        Head::Bytes(bytes) => {
            let bytes = bytes.try_into().map_err(|_| Malformed::Expected("a node"))?;
            Some(NodeId::from_bytes(bytes))
        }
        _ => return Err(Malformed::Expected("a node")),
    };
    let (read, write) = (read_access(reader)?, read_access(reader)?);
    let relays = reader.bool()?;
    let until_ms = match reader.head()? {
        Head::Nil => None,
        Head::Int(until_ms) => u64::try_from(until_ms).ok(),
        _ => return Err(Malformed::Expected("a time")),
    };
    Ok(Some(Principal { name, node, read, write, relays, until_ms }))
}

fn read_access(reader: &mut Reader<'_>) -> Result<Access, Malformed> {
    match reader.head()? {
        Head::Nil => Ok(Access::All),
        Head::Array(count) => {
            let pattern =
                |_| Pattern::new(reader.text()?).map_err(|_| Malformed::Expected("a pattern"));
            Ok(Access::Channels((0..count).map(pattern).collect::<Result<_, _>>()?))
        }
        _ => Err(Malformed::Expected("channels")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parked_comes_back_as_it_was() {
        let node = NodeId::named("ann");
        let patterns = ["a", "list/*"].map(|text| Pattern::new(text).unwrap());
        let ann =
            Principal::new("ann").may_read(Access::All).of_node(node).may_write(patterns).until(7);
        let all = Principal::new("server").may_write(Access::All).relaying();
        for principal in [None, Some(ann), Some(all)] {
            let parked = Parked {
                transaction: Bytes::from_static(b"\x90"),
                bearer: node,
                principal,
                since_ms: 3,
                reason: "ü".to_owned(),
            };
            let bytes = parked.to_bytes();
            assert_eq!(Parked::from_bytes(&bytes), Ok(parked));
            for cut in 0..bytes.len() {
                assert!(Parked::from_bytes(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }
}
