//! Bringing MessagePack into canonical form, in memory that follows the input.

use super::msgpack::{Head, Malformed, Reader, Writer};
use crate::limits::MESSAGE_DEPTH_MAX;

/// Brings one value nested at most `depth_max` deep into canonical form: what is shortest is written shortest, and the
/// entries of maps come in the order of their keys.
pub(crate) fn canonical(reader: &mut Reader<'_>, depth_max: usize) -> Result<Vec<u8>, Malformed> {
    let mut work = Work { out: Writer(Vec::with_capacity(reader.rest().len())), keys: Vec::new() };
    // The stack of open arrays and maps is an array of fixed size: input cannot make it grow.
    let mut open = [Open::default(); MESSAGE_DEPTH_MAX];
    let mut depth = 0_usize;
    loop {
        let top = depth.checked_sub(1).map(|top| &mut open[top]);
        let is_key = matches!(top, Some(Open { left, is_map: true, .. }) if *left % 2 == 0);
        if let Some(top) = top {
            top.left -= 1;
        }
        let head = reader.head()?;
        if is_key {
            work.key(head)?;
        }
        let inner = match head {
            Head::Nil => work.scalar(Writer::nil),
            Head::Bool(bool) => work.scalar(|out| out.bool(bool)),
            Head::Int(int) => work.scalar(|out| match u64::try_from(int) {
                Ok(int) => out.uint(int),
                // A reader gives nothing below the least `i64`.
                Err(_) => out.int(i64::try_from(int).unwrap_or(i64::MIN)),
            }),
            Head::Float(float) => work.scalar(|out| out.float(float)),
            Head::Text(text) => work.scalar(|out| out.text(text)),
            Head::Bytes(bytes) => work.scalar(|out| out.bytes(bytes)),
            Head::Array(length) => {
                work.out.array(length);
                Some(Open { left: length as u64, ..Open::default() })
            }
            Head::Map(length) => {
                work.out.map(length);
                let left = 2 * length as u64;
                Some(Open { left, is_map: true, body: work.out.0.len(), keys: work.keys.len() })
            }
        };
        if let Some(inner) = inner {
            if depth >= depth_max.min(MESSAGE_DEPTH_MAX) {
                return Err(Malformed::TooDeep);
            }
            open[depth] = inner;
            depth += 1;
        }
        while let Some(closed) = depth.checked_sub(1).map(|top| open[top]).filter(|it| it.left == 0)
        {
            if closed.is_map {
                work.sort(closed)?;
            }
            depth -= 1;
        }
        if depth == 0 {
            return Ok(work.out.0);
        }
    }
}

/// An array or a map of which not all has been read.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Values left, keys of a map included.
    left: u64,
    is_map: bool,
    /// Where what is in the map begins in the output, and its keys among the keys.
    body: usize,
    keys: usize,
}

struct Work {
    out: Writer,
    /// Where keys of open maps begin in the output.
    keys: Vec<u32>,
}

impl Work {
    fn scalar(&mut self, write: impl FnOnce(&mut Writer)) -> Option<Open> {
        write(&mut self.out);
        None
    }

    /// Notes that a key follows.
    fn key(&mut self, head: Head<'_>) -> Result<(), Malformed> {
        if !matches!(head, Head::Text(_)) {
            return Err(Malformed::Expected("text"));
        }
        self.keys.push(place(&self.out.0)?);
        Ok(())
    }

    /// Puts the entries of a map into the order of their keys.
    fn sort(&mut self, map: Open) -> Result<(), Malformed> {
        let (out, keys) = (&mut self.out.0, &self.keys[map.keys..]);
        // Each was written as text.
        let key = |start: u32| Reader::new(&out[start as usize..]).text().unwrap_or_default();
        let is_sorted = keys.is_sorted_by(|one, other| key(*one) < key(*other));
        if !is_sorted {
            let ends = keys.iter().skip(1).copied().chain([place(out)?]);
            let mut entries: Vec<(u32, u32)> = keys.iter().copied().zip(ends).collect();
            entries.sort_unstable_by(|(one, _), (other, _)| key(*one).cmp(key(*other)));
            if entries.windows(2).any(|pair| key(pair[0].0) == key(pair[1].0)) {
                return Err(Malformed::DuplicateKey);
            }
            let mut body = Vec::with_capacity(out.len() - map.body);
            for (start, end) in entries {
                body.extend_from_slice(&out[start as usize..end as usize]);
            }
            out.truncate(map.body);
            out.append(&mut body);
        }
        self.keys.truncate(map.keys);
        Ok(())
    }
}

/// The end of what is written, in few bytes: there may be many keys.
fn place(out: &[u8]) -> Result<u32, Malformed> {
    u32::try_from(out.len()).map_err(|_| Malformed::Limit("a value"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{hostile, longest_form, value};
    use crate::limits::VALUE_DEPTH_MAX;
    use crate::value::Value;

    proptest! {
        #[test]
        fn every_form_of_a_value_has_the_one_canonical_form(value in value()) {
            let expected = value.encode();
            let long = longest_form(expected.as_bytes());
            let read = canonical(&mut Reader::new(&long), VALUE_DEPTH_MAX);
            prop_assert_eq!(read.as_deref(), Ok(expected.as_bytes()));
        }

        #[test]
        fn what_is_read_is_what_its_tree_is(bytes in hostile(
            value().prop_map(|value| longest_form(value.encode().as_bytes()))
        )) {
            let mut reader = Reader::new(&bytes);
            let tree = Value::read(&mut Reader::new(&bytes), VALUE_DEPTH_MAX);
            let expected = tree.map(|tree| tree.encode().as_bytes().to_vec());
            match (canonical(&mut reader, VALUE_DEPTH_MAX), expected) {
                (Ok(read), Ok(expected)) => prop_assert_eq!(read, expected),
                (read, expected) => prop_assert_eq!(read.is_err(), expected.is_err()),
            }
        }
    }
}
