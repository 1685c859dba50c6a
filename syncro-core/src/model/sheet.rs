//! What an instance writes before and after it is changed, beside the record that it was made of.

use serde::Serialize;

use super::bad_value;
use crate::error::DataError;
use crate::fields::{Field, Fields, Shown, shown_at};
use crate::id::Name;
use crate::proposal::Edit;
use crate::record::Record;
use crate::value::Encoded;

/// What an instance writes that its record does not show. Most values are those of the record, and nothing has to be
/// made of them.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    record: &'a Record,
    /// One value, as serde encodes it.
    bytes: Vec<u8>,
    /// The place of the register that comes next.
    next: usize,
    /// The places whose values were written before the change, a bit for each; and whether it has been made.
    before: u64,
    is_changed: bool,
    edits: Vec<Edit>,
    /// Whether something else was written than plain values, in the order of the record, of the same fields both times.
    is_other: bool,
}

/// Bytes of a value for which there is room at first.
const VALUE_BYTES: usize = 64;

impl<'a> Sheet<'a> {
    pub(super) fn new(record: &'a Record) -> Self {
        let bytes = Vec::with_capacity(VALUE_BYTES);
        let (edits, is_changed, is_other) = (Vec::new(), false, false);
        Self { record, bytes, next: 0, before: 0, is_changed, edits, is_other }
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

    pub(super) fn value<T: Serialize + ?Sized>(
        &mut self,
        field: &str,
        value: &T,
    ) -> Result<(), DataError> {
        self.bytes.clear();
        rmp_serde::encode::write_named(&mut self.bytes, value)
            .map_err(|reason| bad_value(field, reason.to_string()))?;
        let before = match shown_at(self.record, field, self.next) {
            Shown::Value(place, before) if self.takes(place) => before,
            Shown::Nothing if self.is_after_edits(field) => &Encoded::NIL,
            Shown::Value(..) | Shown::Nothing | Shown::Other => {
                self.other();
                return Ok(());
            }
        };
        if *before.as_bytes() == *self.bytes {
            return Ok(());
        }
        let after = Encoded::checked(&self.bytes);
        let after = after.map_err(|reason| bad_value(field, reason.to_string()))?;
        if after != *before {
            if self.edits.is_empty() {
                self.edits.reserve_exact(1);
            }
            self.edits.push(Edit::value(Name::new(field)?, after));
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
    fn takes(&mut self, place: usize) -> bool {
        if place < self.next || bit(place) == 0 {
            return false;
        }
        self.next = place + 1;
        if !self.is_changed {
            self.before |= bit(place);
        }
        self.before & bit(place) != 0
    }
}

/// Nothing for places beyond the first of them, which most records do not have.
fn bit(place: usize) -> u64 {
    u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or_default()
}
