//! Rows on their way out of their pages.

use bytes::Bytes;

/// Bytes of memory in which rows are gathered before they get memory of their own.
pub(super) const GATHERED_BYTES: usize = 64 << 10;

/// Rows, one after the other in one piece of memory.
///
/// A row gets memory of its own when the pages of those beside it have been read, too. Where it gets that in between, it
/// lies where a page was that the cache has just let go of: the next page does not fit there any more, and between pages and rows
/// a third of the memory of a long list may come to lie idle.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// The lengths of their keys and values.
    lengths: Vec<(usize, usize)>,
}

impl Gathered {
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.lengths.push((key.len(), value.len()));
    }

    /// Those of the memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&self.lengths[..])
    }

    /// Keys and values, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.bytes[..];
        let mut take = move |length| {
            let (taken, others) = rest.split_at(length);
            rest = others;
            taken
        };
        self.lengths.iter().map(move |(key, value)| (take(*key), take(*value)))
    }

    /// Gives each row memory of its own.
    pub(super) fn move_to(&mut self, rows: &mut Vec<(Bytes, Bytes)>) {
        let copy = Bytes::copy_from_slice;
        rows.reserve_exact(self.lengths.len());
        rows.extend(self.iter().map(|(key, value)| (copy(key), copy(value))));
        self.bytes.clear();
        self.lengths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let mut gathered = Gathered::default();
        let mut rows = Vec::new();
        gathered.push(b"first", b"1");
        gathered.push(b"second", b"");
        assert_eq!(gathered.bytes(), 12 + 2 * size_of::<(usize, usize)>());
        assert!(gathered.iter().eq([(&b"first"[..], &b"1"[..]), (&b"second"[..], &b""[..])]));
        gathered.move_to(&mut rows);
        gathered.push(b"third", b"3");
        gathered.move_to(&mut rows);
        let expected = [("first", "1"), ("second", ""), ("third", "3")];
        assert_eq!(rows, expected.map(|(key, value)| (key.into(), value.into())));
        assert_eq!((gathered.bytes(), gathered.iter().count()), (0, 0));
    }
}
