//! The reader and writer: which forms are canonical, what is refused, and where heads change width.

use super::*;
use crate::arbitrary::{golden, hex};
use crate::limits::VALUE_DEPTH_MAX;

/// Reads one head and nothing more; says whether it was canonical.
fn head(input: &[u8]) -> (Head<'_>, bool) {
    let mut reader = Reader::new(input);
    let head = reader.head().unwrap();
    (head, reader.is_canonical())
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.0
}

#[test]
fn integers_take_the_shortest_form_at_every_change_of_width() {
    let table = [
        (0, "00"),
        (0x7f, "7f"),
        (0x80, "cc 80"),
        (0xff, "cc ff"),
        (0x100, "cd 0100"),
        (0xffff, "cd ffff"),
        (0x1_0000, "ce 00010000"),
        (0xffff_ffff, "ce ffffffff"),
        (0x1_0000_0000, "cf 0000000100000000"),
        (i128::from(i64::MAX), "cf 7fffffffffffffff"),
        (i128::from(u64::MAX), "cf ffffffffffffffff"),
        (-1, "ff"),
        (-0x20, "e0"),
        (-0x21, "d0 df"),
        (-0x80, "d0 80"),
        (-0x81, "d1 ff7f"),
        (-0x8000, "d1 8000"),
        (-0x8001, "d2 ffff7fff"),
        (-0x8000_0000, "d2 80000000"),
        (-0x8000_0001, "d3 ffffffff7fffffff"),
        (i128::from(i64::MIN), "d3 8000000000000000"),
    ];
    for (int, notation) in table {
        let bytes = written(|writer| match u64::try_from(int) {
            Ok(int) => writer.uint(int),
            Err(_) => writer.int(int as i64),
        });
        assert_eq!(hex(&bytes), hex(&golden(notation)), "{int}");
        assert_eq!(head(&bytes), (Head::Int(int), true), "{int}");
        if let Ok(int) = i64::try_from(int) {
            assert_eq!(written(|writer| writer.int(int)), bytes, "{int} as i64");
        }
    }
}

#[test]
fn longer_forms_of_integers_are_read_and_are_not_canonical() {
    let table = [
        ("cc 7f", 0x7f),
        ("cd 00ff", 0xff),
        ("ce 0000ffff", 0xffff),
        ("cf 00000000ffffffff", 0xffff_ffff),
        ("d0 e0", -0x20),
        ("d0 01", 1),
        ("d1 ff80", -0x80),
        ("d1 7fff", 0x7fff),
        ("d2 ffff8000", -0x8000),
        ("d3 ffffffff80000000", -0x8000_0000),
        ("d3 7fffffffffffffff", i128::from(i64::MAX)),
    ];
    for (notation, int) in table {
        assert_eq!(head(&golden(notation)), (Head::Int(int), false), "{notation}");
    }
}

#[test]
fn lengths_take_the_shortest_form_at_every_change_of_width() {
    let text = |length: usize| written(|writer| writer.text(&"x".repeat(length)));
    let bytes = |length: usize| written(|writer| writer.bytes(&vec![b'x'; length]));
    let array = |length: usize| written(|writer| writer.array(length));
    let map = |length: usize| written(|writer| writer.map(length));
    let table: [(&str, Vec<u8>); 21] = [
        ("a0", text(0)),
        ("bf", text(31)),
        ("d9 20", text(32)),
        ("d9 ff", text(255)),
        ("da 0100", text(256)),
        ("da ffff", text(65_535)),
        ("db 00010000", text(65_536)),
        ("c4 00", bytes(0)),
        ("c4 ff", bytes(255)),
        ("c5 0100", bytes(256)),
        ("c5 ffff", bytes(65_535)),
        ("c6 00010000", bytes(65_536)),
        ("9f", array(15)),
        ("dc 0010", array(16)),
        ("dc ffff", array(65_535)),
        ("dd 00010000", array(65_536)),
        ("80", map(0)),
        ("8f", map(15)),
        ("de 0010", map(16)),
        ("de ffff", map(65_535)),
        ("df 00010000", map(65_536)),
    ];
    for (notation, bytes) in table {
        let expected = golden(notation);
        assert_eq!(hex(&bytes[..expected.len()]), hex(&expected));
        assert!(bytes[expected.len()..].iter().all(|byte| *byte == b'x'));
        let (head, is_canonical) = head(&bytes);
        assert!(is_canonical, "{notation}");
        let again = written(|writer| match head {
            Head::Text(text) => writer.text(text),
            Head::Bytes(bytes) => writer.bytes(bytes),
            Head::Array(length) => writer.array(length),
            Head::Map(length) => writer.map(length),
            other => panic!("{notation} was read as {other:?}"),
        });
        assert_eq!(again, bytes, "{notation}");
    }
}

#[test]
fn longer_forms_of_lengths_are_read_and_are_not_canonical() {
    let text = |length: usize| "x".repeat(length);
    let (short, medium, long) = (text(31), text(0xff), text(0xffff));
    let table = [
        (format!("d9 1f '{short}'"), Head::Text(&short)),
        (format!("da 00ff '{medium}'"), Head::Text(&medium)),
        (format!("db 0000ffff '{long}'"), Head::Text(&long)),
        (format!("c5 00ff '{medium}'"), Head::Bytes(medium.as_bytes())),
        (format!("c6 0000ffff '{long}'"), Head::Bytes(long.as_bytes())),
        ("dc 000f".to_owned(), Head::Array(15)),
        ("dd 0000ffff".to_owned(), Head::Array(0xffff)),
        ("de 000f".to_owned(), Head::Map(15)),
        ("df 0000ffff".to_owned(), Head::Map(0xffff)),
    ];
    for (notation, expected) in table {
        assert_eq!(head(&golden(&notation)), (expected, false), "{notation:.12}");
    }
}

#[test]
fn of_floats_those_of_64_bits_and_one_nan_are_canonical() {
    let table = [
        ("cb 3ff0000000000000", 1.0, true),
        ("cb 8000000000000000", -0.0, true),
        ("cb fff0000000000000", f64::NEG_INFINITY, true),
        ("ca 3f800000", 1.0, false),
        ("ca 80000000", -0.0, false),
    ];
    for (notation, float, is_canonical) in table {
        let bytes = golden(notation);
        let (Head::Float(read), was_canonical) = head(&bytes) else {
            panic!("{notation} is no float");
        };
        assert_eq!(read.to_bits(), float.to_bits(), "{notation}");
        assert_eq!(was_canonical, is_canonical, "{notation}");
    }
    let canonical = golden("cb 7ff8000000000000");
    for notation in
        ["cb 7ff8000000000000", "cb 7ff8000000000001", "cb fff8000000000000", "ca 7fc00000"]
    {
        let bytes = golden(notation);
        let (Head::Float(read), is_canonical) = head(&bytes) else {
            panic!("{notation} is no float");
        };
        assert!(read.is_nan());
        assert_eq!(is_canonical, bytes == canonical, "{notation}");
        assert_eq!(written(|writer| writer.float(read)), canonical);
    }
}

#[test]
fn extensions_and_the_reserved_byte_are_no_values() {
    for tag in [0xc1, 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8] {
        let input = [[tag; 1].as_slice(), &[0; 20]].concat();
        assert_eq!(Reader::new(&input).head(), Err(Malformed::Extension));
    }
}

#[test]
fn every_other_first_byte_begins_a_value() {
    for tag in 0..=0xff_u8 {
        let is_extension = matches!(tag, 0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8);
        // Zeros follow: lengths of zero, and enough to fill the longest short text.
        let input = [[tag; 1].as_slice(), &[0; 32]].concat();
        assert_eq!(Reader::new(&input).head().is_err(), is_extension, "{tag:02x}");
    }
}

#[test]
fn a_length_beyond_the_input_is_refused_without_an_allocation() {
    for notation in ["a1", "db ffffffff", "c6 ffffffff 00", "d9", "c5 01", "cb 00"] {
        let bytes = golden(notation);
        assert_eq!(Reader::new(&bytes).head(), Err(Malformed::Truncated), "{notation}");
    }
    for notation in ["dd ffffffff", "df ffffffff", "dd ffffffff c0", "df ffffffff a0 c0"] {
        let bytes = golden(notation);
        let read = Reader::new(&bytes).value(VALUE_DEPTH_MAX);
        assert_eq!(read, Err(Malformed::Truncated), "{notation}");
    }
}

#[test]
fn text_and_keys_are_utf_8() {
    for notation in ["a1 ff", "d9 02 c328", "81 a1 ff c0"] {
        let bytes = golden(notation);
        assert_eq!(Reader::new(&bytes).value(VALUE_DEPTH_MAX), Err(Malformed::Utf8));
    }
}

#[test]
fn the_keys_of_maps_are_text_wherever_the_map_is() {
    for notation in ["81 01 c0", "91 81 c0 c0", "82 a1'a' 81 c3 c0 a1'b' c0", "81 90 c0"] {
        let bytes = golden(notation);
        let read = Reader::new(&bytes).value(VALUE_DEPTH_MAX);
        assert_eq!(read, Err(Malformed::Expected("text")), "{notation}");
    }
}

#[test]
fn maps_are_canonical_when_their_keys_grow() {
    let table = [
        ("82 a1'a' 01 a1'b' 02", true),
        ("82 a1'a' 01 a2'aa' 02", true),
        ("82 a1'b' 01 a1'a' 02", false),
        ("82 a1'a' 01 a1'a' 02", false),
        // The order of an inner map is its own.
        ("82 a1'b' 81 a1'a' 01 a1'c' 02", true),
        ("92 82 a1'b' 01 a1'a' 02 c0", false),
    ];
    for (notation, is_canonical) in table {
        let bytes = golden(notation);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.value(VALUE_DEPTH_MAX), Ok(&bytes[..]), "{notation}");
        assert_eq!(reader.is_canonical(), is_canonical, "{notation}");
    }
}

#[test]
fn a_value_is_read_to_its_end_and_no_further() {
    let bytes = golden("93 82 a1'a' 90 a1'b' 80 c4 01 ff cb 0000000000000000 c0 01");
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.value(VALUE_DEPTH_MAX), Ok(&bytes[..bytes.len() - 2]));
    assert_eq!(reader.finish(), Err(Malformed::Trailing));
    assert_eq!(reader.value(VALUE_DEPTH_MAX), Ok(&[0xc0][..]));
    assert_eq!(reader.uint(), Ok(1));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn values_nest_up_to_the_limit_given_and_never_beyond_that_of_messages() {
    let arrays = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
    let maps = |depth: usize| [[0x81, 0xa0].repeat(depth - 1), vec![0x80]].concat();
    for nested in [arrays, maps] {
        for (limit, depth_max) in [(3, 3), (32, 32), (40, 40), (1000, MESSAGE_DEPTH_MAX)] {
            let read = |depth: usize| Reader::new(&nested(depth)).value(limit).map(<[u8]>::len);
            assert_eq!(read(depth_max), Ok(nested(depth_max).len()));
            assert_eq!(read(depth_max + 1), Err(Malformed::TooDeep));
        }
        assert_eq!(Reader::new(&[0xc0]).value(0), Ok(&[0xc0][..]));
    }
}
