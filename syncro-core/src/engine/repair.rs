//! Undoing a refused transaction: what has to be written above it.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::fields;
use crate::id::{Name, NodeId};
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::principal::Trial;
use crate::record::{Element, Kind, Path, Record, RegisterRef};
use crate::scribe::{Mark, Scribe};
use crate::stamp::{Author, Epoch, Stamp, Time};
use crate::value::Encoded;

/// Bytes of fields that one scribe of a repair has: it shares its transaction with a verdict.
const PIECE_BYTES: usize = TRANSACTION_BYTES_MAX / 2;

/// Empty fields that a repair may always leave.
const FEW_ADDED: usize = 16;

/// What makes a record show again what it showed before a refused change, wherever that has arrived: to be written in
/// this order, each under a stamp above that of the change, and below whatever its author writes next.
///
/// The change itself is not played here. Whether it was elsewhere makes no difference after its repair.
///
/// A running total that was raised goes on containing the raise, as do all those that its author writes later. So it is
/// taken over as it is, and what was refused is taken off beside it.
pub(super) fn repair(trial: &Trial, stamp: Stamp) -> Vec<Scribe> {
    let Trial { scribe: refused, before, .. } = trial;
    let key = || refused.key.clone();
    let unknown = Record::default();
    let before = before.as_deref().unwrap_or(&unknown);
    if !before.is_alive() {
        return match refused.mark.creates() {
            true => vec![Scribe { key: key(), mark: Mark::Destroy, fields: Vec::new() }],
            // Somebody may be about to bring its creation, which a repair would cover.
            false => Vec::new(),
        };
    }
    let is_anew =
        refused.mark.destroys() || has_other_shapes(refused, before) || adds_many(refused, before);
    let (mark, mut fields) = match (is_anew, refused.mark.creates()) {
        (true, _) => (Mark::Replace, shown(before)),
        (false, true) => (Mark::Create, as_before(refused, before)),
        (false, false) => (Mark::Update, as_before(refused, before)),
    };
    settle_totals(&mut fields, refused, before, stamp);
    fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut pieces = vec![Scribe { key: key(), mark, fields: Vec::new() }];
    let mut bytes = 0;
    for (path, value) in fields {
        let more = path.bytes_with(&value);
        if bytes + more > PIECE_BYTES {
            pieces.push(Scribe { key: key(), mark: Mark::Update, fields: Vec::new() });
            bytes = 0;
        }
        bytes += more;
        if let Some(piece) = pieces.last_mut() {
            piece.fields.push((path, value));
        }
    }
    pieces
}

/// What takes a refused raise off the running totals of its author, which go on containing it: all that there is to be
/// undone where the change itself is nowhere.
pub(super) fn settlement(trial: &Trial, stamp: Stamp) -> Option<Scribe> {
    let Trial { scribe: refused, before, .. } = trial;
    let before = before.as_deref().filter(|before| before.is_alive())?;
    let is_raised = |(path, _): &(Path, Encoded)| matches!(path.element, Some(Element::Author(_)));
    let mut fields = Vec::new();
    if refused.fields.iter().any(is_raised) {
        settle_totals(&mut fields, refused, before, stamp);
    }
    fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let key = refused.key.clone();
    (!fields.is_empty()).then_some(Scribe { key, mark: Mark::Update, fields })
}

/// Whether the change gives a field a shape beside another: then the repair of its parts could bring up what does not
/// show. Where nothing was, what is empty reads like nothing.
fn has_other_shapes(refused: &Scribe, before: &Record) -> bool {
    refused.fields.iter().any(|(path, _)| {
        let of_field = before.registers().iter().filter(|it| it.path.field == path.field);
        let (same, other): (Vec<_>, Vec<_>) =
            of_field.partition(|register| register.path.has_shape_of(path));
        let is_other_present = other.iter().any(|register| !register.value.is_nil());
        is_other_present || (!other.is_empty() && !same.is_empty())
    })
}

/// Whether the change would leave more empty fields than there are others.
fn adds_many(refused: &Scribe, before: &Record) -> bool {
    let added = refused.fields.iter().filter(|(path, _)| before.register(path).is_none());
    added.count() > before.registers().len() + FEW_ADDED
}

/// Everything that a record shows.
fn shown(before: &Record) -> Vec<(Path, Encoded)> {
    let present = fields::shown(before).into_iter().flatten();
    let present = present.filter(|register| !register.value.is_nil());
    present.map(|RegisterRef { path, value, .. }| (path.clone(), value.clone())).collect()
}

/// What a record has where the change writes, but for its author's totals.
fn as_before(refused: &Scribe, before: &Record) -> Vec<(Path, Encoded)> {
    let written = refused.fields.iter().map(|(path, _)| {
        let value = before.register(path).map(|register| register.value.clone());
        let nothing = match path.kind {
            Kind::Lww => Encoded::NIL,
            Kind::Counter => Encoded::int(0),
        };
        (path.clone(), value.unwrap_or(nothing))
    });
    written.collect()
}

/// Takes over what an author says its totals are, and takes off what was refused of them.
fn settle_totals(
    fields: &mut Vec<(Path, Encoded)>,
    refused: &Scribe,
    before: &Record,
    stamp: Stamp,
) {
    let author = stamp.author;
    // What is younger than the change stays as it is, with it and without it.
    let is_younger = |path: &Path| before.register(path).is_some_and(|it| it.stamp > stamp);
    let is_own = |path: &&Path| path.element == Some(Element::Author(author)) && !is_younger(path);
    let shown = fields::shown(before);
    // Where something else shows, it goes on doing so.
    let shows_else = |path: &&Path| {
        let mut present =
            shown.iter().copied().flatten().filter(|register| !register.value.is_nil());
        present.any(|it| it.path.field == path.field && !it.path.has_shape_of(path))
    };
    let said = refused.fields.iter().map(|(path, _)| path).filter(is_own);
    let said = said.filter(|path| !shows_else(path));
    let had = shown.iter().copied().flatten().map(|register| register.path).filter(is_own);
    // What is destroyed begins again at nothing.
    let mut counters: Vec<Name> = match refused.mark.destroys() {
        true => said.chain(had).map(|path| path.field.clone()).collect(),
        false => said.map(|path| path.field.clone()).collect(),
    };
    counters.sort_unstable();
    counters.dedup();
    for field in counters {
        let total = Path::counter(field.clone(), author);
        let debt = Path::counter(field, author.debtor());
        let of = |path: &Path| {
            let mut shown = shown.iter().copied().flatten();
            let register = shown.find(|register| register.path == path);
            register.and_then(|register| register.value.as_i64()).unwrap_or(0)
        };
        let claimed = refused.fields.iter().find(|(path, _)| *path == total);
        let claimed = claimed.and_then(|(_, value)| value.as_i64()).unwrap_or(0);
        let left = i128::from(of(&debt)) + i128::from(of(&total)) - i128::from(claimed);
        // Totals that no honest node could have are not worth taking over.
        if let Ok(left) = i64::try_from(left) {
            fields.retain(|(path, _)| *path != total && *path != debt);
            fields.extend([(total, Encoded::int(claimed)), (debt, Encoded::int(left))]);
        }
    }
}

/// About the bytes that scribes take.
pub(super) fn bytes(scribes: &[Scribe]) -> usize {
    let fields = scribes.iter().flat_map(|scribe| &scribe.fields);
    let fields: usize = fields.map(|(path, value)| path.bytes_with(value)).sum();
    fields + SCRIBE_BYTES * scribes.len()
}

/// The most that the key and the frame of a scribe take.
const SCRIBE_BYTES: usize = 600;

/// As few transactions as these scribes need: each record once in each, and in the order given.
pub(super) fn packed(scribes: Vec<Scribe>) -> Vec<Vec<Scribe>> {
    let mut packs: Vec<Vec<Scribe>> = Vec::new();
    let mut filled = 0;
    for scribe in scribes {
        let more = bytes(std::slice::from_ref(&scribe));
        match packs.last_mut() {
            Some(pack)
                if filled + more <= TRANSACTION_BYTES_MAX
                    && pack.last().is_none_or(|last| last.key != scribe.key) =>
            {
                filled += more;
                pack.push(scribe);
            }
            _ => {
                filled = more;
                packs.push(vec![scribe]);
            }
        }
    }
    packs
}

/// The epochs in which a node writes repairs and nothing else, until it is opened again: at each moment as many of them
/// as it takes.
#[derive(Clone, Debug)]
pub(crate) struct Repairs {
    node: NodeId,
    seed: Digest,
    /// How many were used at the last moments.
    used: BTreeMap<Time, u64>,
    /// How many were used at any moment that is forgotten, at most.
    forgotten: u64,
}

/// Moments of which it is known how many epochs were used.
const MOMENTS_MAX: usize = 256;

impl Repairs {
    /// The seed is one that no other opening has.
    pub(super) fn new(node: NodeId, seed: Digest) -> Self {
        Self { node, seed, used: BTreeMap::new(), forgotten: 0 }
    }

    /// Stamps immediately above another, in rising order: above it, and below whatever its author writes next.
    pub(super) fn stamps_above(&mut self, floor: Stamp, count: usize) -> BTreeSet<Stamp> {
        let used = self.used.entry(floor.time).or_insert(self.forgotten);
        let numbers = *used..*used + count as u64;
        *used = numbers.end;
        while self.used.len() > MOMENTS_MAX
            && let Some((_, used)) = self.used.pop_first()
        {
            self.forgotten = self.forgotten.max(used);
        }
        let stamps = numbers.map(|number| {
            // Those that lie in the next moment have numbers of their own.
            let seed = |side: u64| self.seed.then(&[number, side].map(u64::to_be_bytes).concat());
            let author = |side| Author { node: self.node, epoch: Epoch(seed(side).number()) };
            match author(0) > floor.author {
                true => Stamp { time: floor.time, author: author(0) },
                false => Stamp { time: floor.time.next(), author: author(1) },
            }
        });
        stamps.collect()
    }
}

#[cfg(test)]
mod tests;
