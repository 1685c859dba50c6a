//! The rows of a store as text.

use std::fs;
use std::path::Path;

use syncro_store::{Backend, Batch, Durability, Table};

/// Every row, in order: the table, the key, and the value with its checksum.
#[derive(Debug, PartialEq)]
pub(crate) struct Dump(Vec<(Table, Vec<u8>, Vec<u8>)>);

impl Dump {
    pub(crate) fn of(backend: &impl Backend) -> Self {
        let rows = |table| backend.scan(table, &[], None, usize::MAX).unwrap().into_iter();
        let rows = Table::ALL.into_iter().flat_map(|table| rows(table).map(move |it| (table, it)));
        Self(rows.map(|(table, (key, value))| (table, key.to_vec(), value.to_vec())).collect())
    }

    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for (table, key, value) in &self.0 {
            batch.put(*table, key.clone(), value.clone());
        }
        batch
    }

    pub(crate) fn fill(&self, backend: &impl Backend) {
        backend.write(&self.batch(), Durability::Durable).unwrap();
    }

    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let rows = text.lines().map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let [table, key, value] = words[..] else { panic!("a line of {} words", words.len()) };
            let table = Table::ALL.into_iter().find(|it| it.name() == table).unwrap();
            (table, bytes(key), bytes(value))
        });
        Self(rows.collect())
    }

    pub(crate) fn write(&self, path: &Path) {
        let rows = self.0.iter();
        let lines = rows
            .map(|(table, key, value)| format!("{} {} {}\n", table.name(), text(key), text(value)));
        fs::write(path, lines.collect::<String>()).unwrap();
    }
}

/// Bytes in hexadecimal; of many that are equal one, and how many there are: `(61*500)`.
fn text(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|one, other| one == other);
    let text = runs.map(|run| match run.len() {
        RUN_MIN.. => format!("({:02x}*{})", run[0], run.len()),
        few => format!("{:02x}", run[0]).repeat(few),
    });
    text.collect()
}

fn bytes(mut text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let byte = |text: &str| u8::from_str_radix(text, 16).unwrap();
    while !text.is_empty() {
        if let Some((run, rest)) = text.strip_prefix('(').and_then(|text| text.split_once(')')) {
            let (one, times) = run.split_once('*').unwrap();
            bytes.extend(std::iter::repeat_n(byte(one), times.parse().unwrap()));
            text = rest;
        } else {
            bytes.push(byte(&text[..2]));
            text = &text[2..];
        }
    }
    bytes
}

const RUN_MIN: usize = 8;
