//! What an instance writes before and after it is changed, beside the record that it was made of.

use super::bad_value;
use crate::error::DataError;
use crate::fields::{Field, Fields, Shown, shown_at};
use crate::id::Name;
use crate::proposal::Edit;
use crate::record::{Path, Record, Registers};
use crate::touched::reserve;
use crate::value::{Encoded, Raw};

/// What an instance writes that its record does not show. Most values are those of the record, and nothing has to be
/// made of them.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    record: &'a Record,
    /// Its registers, where each is a field's only one and shows; otherwise none.
    plain: Registers<'a>,
    /// The place of the register that comes next.
    next: usize,
    /// The places whose values were written before the change, a bit for each; and whether it has been made.
    before: u64,
    is_changed: bool,
    edits: Vec<Edit>,
    /// Whether something else was written than plain values, in the order of the record, of the same fields both times.
    is_other: bool,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        let plain = record.registers().if_plain();
        let (edits, is_changed, is_other) = (Vec::new(), false, !record.is_alive());
        Self { record, plain, next: 0, before: 0, is_changed, edits, is_other }
    }

    /// Goes on after the change. Returns `false` where other values were written before it than the record shows: they
    /// are not known then.
    pub(super) fn change(&mut self) -> bool {
        (self.next, self.is_changed) = (0, true);
        !self.is_other && self.edits.is_empty()
    }

    /// The edits that make of what was written before the change what was written after it. Where the two have to be
    /// looked at as a whole, the fields from before instead.
    pub(super) fn into_edits(self) -> Result<Vec<Edit>, Fields> {
        if !self.is_other {
            return Ok(self.edits);
        }
        let mut fields = Fields::default();
        for (place, register) in self.record.registers().iter().enumerate() {
            if self.before & bit(place) != 0 {
                fields.insert(register.path.field.clone(), Field::Value(register.value.clone()));
            }
        }
        Err(fields)
    }

    /// Takes a plain value, as serde encodes it.
    // What most types write is found to be there without a call.
    #[inline(always)]
    pub(super) fn value(&mut self, field: &str, value: Raw<'_>) -> Result<(), DataError> {
        if let Some((path, likely)) = self.plain.value_at(self.next)
            && path.field.as_str() == field
            && likely.as_bytes() == value.as_bytes()
            && self.takes(self.next)
        {
            return Ok(());
        }
        self.other_value(field, value)
    }

    /// Takes a value that is not the next one of the record.
    fn other_value(&mut self, field: &str, value: Raw<'_>) -> Result<(), DataError> {
        let (place, before) = match shown_at(self.record, field, self.next) {
            Shown::Value(place, before) if self.takes(place) => (Some(place), before),
            Shown::Nothing if self.is_after_edits(field) => (None, &Encoded::NIL),
            Shown::Value(..) | Shown::Nothing | Shown::Other => {
                self.other();
                return Ok(());
            }
        };
        if before.as_bytes() == value.as_bytes() {
            return Ok(());
        }
        let after = value.check().map_err(|reason| bad_value(field, reason))?;
        if after != *before {
            // Edits are in the order of their fields: what is written twice is found beside the last one.
            if !self.is_after_edits(field) {
                self.other();
                return Ok(());
            }
            let path = match place.and_then(|place| self.plain.value_at(place)) {
                Some((path, _)) => path.clone(),
                None => Path::field(Name::new(field)?),
            };
            reserve(&mut self.edits, 1);
            self.edits.push(Edit::Write(path, after));
        }
        Ok(())
    }

    /// Notes that something else than a plain value was written.
    pub(super) fn other(&mut self) {
        self.is_other = true;
    }

    /// Whether all edits are of fields before one.
    fn is_after_edits(&self, field: &str) -> bool {
        match self.edits.last() {
            Some(Edit::Write(path, _)) => path.field.as_str() < field,
            _ => true,
        }
    }

    /// Goes on to a place. Returns whether its value may be written now.
    #[inline]
    fn takes(&mut self, place: usize) -> bool {
        let bit = bit(place);
        if !self.is_changed {
            self.before |= bit;
        }
        let takes = place >= self.next && self.before & bit != 0;
        if takes {
            self.next = place + 1;
        }
        takes
    }
}

/// Nothing for places beyond the first of them, which most records do not have.
fn bit(place: usize) -> u64 {
    u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or_default()
}
