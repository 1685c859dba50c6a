//! What an instance writes before it is changed, and what is different after.

use std::ops::Range;

use serde::Serialize;

use super::bad_value;
use crate::error::DataError;
use crate::fields::{Field, Fields};
use crate::id::Name;
use crate::proposal::Edit;
use crate::value::Encoded;

/// What an instance wrote, as serde encodes it: most values are the same a second time, and nothing has to be made of
/// those.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    /// Names and values.
    bytes: Vec<u8>,
    lines: Vec<Line>,
    /// Once it is compared with: the line that comes next, and the edits that make of it what is written then.
    next: Option<usize>,
    edits: Vec<Edit>,
    /// Whether other fields were written than before, or one of them more than once.
    is_other: bool,
}

#[derive(Debug)]
struct Line {
    name: Range<usize>,
    what: What,
}

#[derive(Debug)]
enum What {
    Value(Range<usize>),
    Field(Field),
}

/// Lines, and bytes for each, for which there is room at first: what most types have.
const FEW_LINES: usize = 8;
const LINE_BYTES: usize = 32;

impl Sheet {
    pub(super) fn new() -> Self {
        let bytes = Vec::with_capacity(FEW_LINES * LINE_BYTES);
        Self { bytes, lines: Vec::with_capacity(FEW_LINES), ..Self::default() }
    }

    /// Compares with what it has from here on.
    pub(super) fn compare(&mut self) {
        self.next = Some(0);
    }

    pub(super) fn value<T: Serialize + ?Sized>(
        &mut self,
        field: &str,
        value: &T,
    ) -> Result<(), DataError> {
        let name = self.name(field);
        let start = self.bytes.len();
        rmp_serde::encode::write_named(&mut self.bytes, value)
            .map_err(|reason| bad_value(field, reason.to_string()))?;
        let written = start..self.bytes.len();
        let Some(place) = self.next else {
            self.lines.push(Line { name, what: What::Value(written) });
            return Ok(());
        };
        let is_same = self.lines.get(place).is_some_and(|line| match &line.what {
            What::Value(known) => {
                self.bytes[line.name.clone()] == *field.as_bytes()
                    && self.bytes[known.clone()] == self.bytes[written.clone()]
            }
            What::Field(_) => false,
        });
        if !is_same {
            let value = self.encoded(field, written)?;
            self.differs(place, field, value)?;
        }
        self.bytes.truncate(start);
        self.next = Some(place + 1);
        Ok(())
    }

    pub(super) fn field(&mut self, field: &str, content: Field) -> Result<(), DataError> {
        let Some(place) = self.next else {
            let name = self.name(field);
            self.lines.push(Line { name, what: What::Field(content) });
            return Ok(());
        };
        self.next = Some(place + 1);
        self.differs(place, field, content)
    }

    /// The edits that make of what was written first what was written then; `None` where the two have to be looked at as
    /// a whole.
    pub(super) fn take_edits(&mut self) -> Option<Vec<Edit>> {
        let is_whole = !self.is_other && self.next == Some(self.lines.len());
        is_whole.then(|| std::mem::take(&mut self.edits))
    }

    /// Everything that was written first.
    pub(super) fn into_fields(self) -> Result<Fields, DataError> {
        let mut fields = Fields::default();
        for Line { name, what } in &self.lines {
            let name = String::from_utf8_lossy(&self.bytes[name.clone()]);
            fields.insert(Name::new(&name)?, self.content(&name, what)?);
        }
        Ok(fields)
    }

    /// Notes a name, if it is not there to be compared with.
    fn name(&mut self, field: &str) -> Range<usize> {
        let start = self.bytes.len();
        if self.next.is_none() {
            self.bytes.extend_from_slice(field.as_bytes());
        }
        start..self.bytes.len()
    }

    /// Notes what a field is now, which may be what it was.
    fn differs(&mut self, place: usize, field: &str, after: Field) -> Result<(), DataError> {
        let is_it = |(_, line): &(usize, &Line)| self.bytes[line.name.clone()] == *field.as_bytes();
        let mut of_name = self.lines.iter().enumerate().filter(is_it);
        match (of_name.next(), of_name.next()) {
            (Some((at, line)), None) if at == place => {
                let before = self.content(field, &line.what)?;
                let edits = &mut self.edits;
                after.edit_from(Some(&before), &Name::new(field)?, &mut |edit| edits.push(edit))
            }
            _ => {
                self.is_other = true;
                Ok(())
            }
        }
    }

    fn content(&self, field: &str, what: &What) -> Result<Field, DataError> {
        match what {
            What::Value(value) => self.encoded(field, value.clone()),
            What::Field(content) => Ok(content.clone()),
        }
    }

    fn encoded(&self, field: &str, value: Range<usize>) -> Result<Field, DataError> {
        let value = Encoded::checked(&self.bytes[value]);
        value.map(Field::Value).map_err(|reason| bad_value(field, reason.to_string()))
    }
}
