//! Undoing a refused transaction: what has to be written above it.

use std::mem::take;

use crate::fields;
use crate::id::Name;
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::principal::Trial;
use crate::record::{Element, Kind, Path, Record, Register};
use crate::scribe::{Mark, Scribe};
use crate::stamp::Stamp;
use crate::value::Encoded;

/// Bytes of fields that one scribe of a repair has: it shares its transaction with a verdict.
const PIECE_BYTES: usize = TRANSACTION_BYTES_MAX / 2;

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
    let Some(before) = before.as_ref().filter(|before| before.is_alive()) else {
        return vec![Scribe { key: key(), mark: Mark::Destroy, fields: Vec::new() }];
    };
    let is_anew = refused.mark.destroys() || has_other_shapes(refused, before);
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
        let more = 64 + path.bytes() + value.as_bytes().len();
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

/// Everything that a record shows.
fn shown(before: &Record) -> Vec<(Path, Encoded)> {
    let present = fields::shown(before).into_iter().flatten();
    let present = present.filter(|register| !register.value.is_nil());
    present.map(|Register { path, value, .. }| (path.clone(), value.clone())).collect()
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
    let had = shown.iter().copied().flatten().map(|register| &register.path).filter(is_own);
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
            let register = shown.find(|register| register.path == *path);
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

/// As few transactions as these scribes need: each record once in each, and in the order given.
pub(super) fn packed(scribes: Vec<Scribe>) -> Vec<Vec<Scribe>> {
    let mut packs: Vec<Vec<Scribe>> = Vec::new();
    let (mut pack, mut bytes) = (Vec::<Scribe>::new(), 0);
    for scribe in scribes {
        let fields = scribe.fields.iter();
        let more: usize =
            fields.map(|(path, value)| 64 + path.bytes() + value.as_bytes().len()).sum();
        let is_again = pack.last().is_some_and(|last| last.key == scribe.key);
        if is_again || bytes + more > TRANSACTION_BYTES_MAX - (PIECE_BYTES / 2) {
            packs.push(take(&mut pack));
            bytes = 0;
        }
        bytes += 600 + more;
        pack.push(scribe);
    }
    packs.push(pack);
    packs
}

#[cfg(test)]
mod tests;
