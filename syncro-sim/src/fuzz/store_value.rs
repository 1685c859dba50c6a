//! Any keys and values in the tables below a store, with checksums that fit.

use bytes::Bytes;
use syncro_core::{
    Config, Engine, Fields, Input, NodeId, Point, Proposal, Role, SessionId, Store, StoreError,
    Transaction, View,
};
use syncro_store::{Backend, Batch, Durability, LogStore, Memory, MemoryDisk, Table};

use super::input::Input as Bits;
use super::node::{Contents, Node, now, proposal};
use super::wire;

/// Each change is a byte that says what is done, and to which table or row.
pub(crate) const PUT: u8 = 0;
pub(crate) const PUT_UNSEALED: u8 = 1;
pub(crate) const DELETE: u8 = 2;
pub(crate) const PATCH: u8 = 3;
pub(crate) const REPLACE: u8 = 4;
const CHANGES: u8 = 5;

/// Damage gives errors, and no panic, on every way of reading.
pub fn store_value(input: &[u8]) {
    let memory = Memory::new();
    memory.write(&batch(&mut Bits(input)), Durability::Durable).unwrap();
    let disk = memory.disk();
    drop(memory);
    let Ok(mut store) = LogStore::open(disk.open().unwrap()) else {
        return;
    };
    let _ = read(&store);
    let _ = work(&mut store);
    drop(store);
    let _ = LogStore::open(disk.open().unwrap()).map(|store| read(&store));
}

/// A sound store, changed as the input says. An odd first byte leaves only the changes.
fn batch(input: &mut Bits<'_>) -> Batch {
    ROWS.with(|rows| {
        let mut batch = Batch::new();
        if input.byte().is_multiple_of(2) {
            for (table, key, sealed) in rows {
                batch.put(*table, key.clone(), sealed.clone());
            }
        }
        while !input.is_over() {
            let (what, which) = (input.byte() % CHANGES, input.byte());
            let table = Table::ALL[usize::from(which) % Table::ALL.len()];
            let (row_table, row_key, row) = &rows[usize::from(which) % rows.len()];
            match what {
                PUT | PUT_UNSEALED => {
                    let (key, value) = (input.piece(), input.piece());
                    if !key.is_empty() && key.len() <= syncro_store::KEY_BYTES_MAX {
                        let value =
                            if what == PUT { seal(table, key, value) } else { value.into() };
                        batch.put(table, Bytes::copy_from_slice(key), value);
                    }
                }
                DELETE => batch.delete(*row_table, row_key.clone()),
                PATCH => {
                    let mut content = row[4..].to_vec();
                    let place = usize::from(input.short()) % content.len().max(1);
                    let patch = input.piece();
                    content.splice(place..(place + patch.len()).min(content.len()), patch.to_vec());
                    batch.put(*row_table, row_key.clone(), seal(*row_table, row_key, &content));
                }
                _ => {
                    let content = input.piece();
                    batch.put(*row_table, row_key.clone(), seal(*row_table, row_key, content));
                }
            }
        }
        batch
    })
}

thread_local! {
    static ROWS: Vec<(Table, Bytes, Bytes)> = rows();
    /// What the stranger has to say.
    static FIRST: Transaction = super::seeds::transactions().swap_remove(0);
}

/// The rows of a small store with records of every kind, some pages, and a peer.
pub(crate) fn rows() -> Vec<(Table, Bytes, Bytes)> {
    let mut node = Node::open("node", 1, MemoryDisk::new());
    for round in 0..60 {
        let proposal = proposal(&node.store, round, round * 4);
        let _ = node.input(1, Input::Propose(proposal));
    }
    super::node::call(&mut node, 1, SessionId(1), Point::START);
    let transaction = super::seeds::transactions().swap_remove(0);
    let to = Point::START.then(transaction.len(), transaction.bytes());
    let frame = wire::scribes(Point::START, to, &[transaction.bytes().clone()]);
    let _ = node.input(1, Input::Receive { session: SessionId(1), frame });
    let _ = node.sync(1);
    let backend = node.disk.crash().open().unwrap();
    let rows = Table::ALL.into_iter().flat_map(|table| {
        let pairs = backend.scan(table, &[], None, usize::MAX).unwrap();
        pairs.into_iter().map(move |(key, sealed)| (table, key, sealed))
    });
    rows.collect()
}

/// Puts the checksum before a value, as the store does.
fn seal(table: Table, key: &[u8], content: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(&[&[table as u8], key, content].concat());
    [&checksum.to_be_bytes(), content].concat()
}

/// Reads everything in every way.
fn read(store: &LogStore) -> Result<(), StoreError> {
    let contents = Contents::read(store)?;
    for (offset, bytes, ..) in &contents.log {
        let _ = Transaction::decode(bytes.clone()).map(|transaction| store.held(&transaction));
        let _ = store.digest_at(*offset);
    }
    for record in contents.records.values() {
        let _ = Fields::of(record).to_values();
        let _ = record.newest();
    }
    for (node, row) in &contents.peers {
        let _ = (store.peer(*node), row.ladder.offer(None));
    }
    Ok(())
}

/// Lets a node live on the store, as far as it goes.
fn work(store: &mut LogStore) -> Result<(), syncro_core::Error> {
    let (mut engine, effects) = Engine::open(now(0), Config::default(), store)?;
    if let Some(commit) = effects.commit {
        store.apply(&commit)?;
    }
    let session = SessionId(1);
    let transaction = FIRST.with(Clone::clone);
    let to = Point::START.then(transaction.len(), transaction.bytes());
    let frames = [
        wire::hello(NodeId::named("stranger")),
        wire::sync(Point::START),
        wire::scribes(Point::START, to, &[transaction.bytes().clone()]),
    ];
    let mut inputs =
        vec![Input::Open { session, role: Role::Accept, credentials: Default::default() }];
    inputs.extend(frames.map(|frame| Input::Receive { session, frame }));
    inputs.extend(fair(store)?.map(Input::Propose));
    for input in inputs {
        if let Some(commit) = engine.handle(now(1), input, store)?.commit {
            store.apply(&commit)?;
        }
    }
    Ok(store.sync()?)
}

/// A write, if the record that it is about can be read.
fn fair(store: &LogStore) -> Result<Option<Proposal>, StoreError> {
    let models = store.models()?;
    for model in &models {
        store.records(model, None, usize::MAX)?;
    }
    Ok((!models.is_empty()).then(|| proposal(store, 0, 0)))
}
