//! What it takes to decode a frame, whatever is in it: memory follows what has arrived, never what it announces.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use syncro_core::is_message;
use syncro_core::limits::{
    BATCH_BYTES, MESSAGE_ITEMS_MAX, MESSAGE_TRANSACTIONS_BYTES_MAX, TRANSACTION_SCRIBES_MAX,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a frame may take beside [`PER_BYTE`].
const BESIDE: usize = 4 << 10;

/// Bytes of memory for a byte of a frame.
const PER_BYTE: usize = 16;

/// A frame of many small things has this many bytes; the largest may have 8 MiB.
const FLOOD_BYTES: usize = 1 << 20;

/// How often each seed is damaged.
const DAMAGES: u64 = 300;

/// Returns the most memory that was in use while a frame was decoded, beyond what was before.
fn peak(frame: &[u8]) -> usize {
    let frame = Bytes::copy_from_slice(frame);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    is_message(&frame);
    MEMORY.peak_usage().saturating_sub(before)
}

fn assert_within(name: &str, frame: &[u8], per_byte: usize) {
    let (peak, most) = (peak(frame), BESIDE + per_byte * frame.len());
    if frame.len() >= FLOOD_BYTES / 16 {
        println!("{name}: {:.1} for a byte", peak as f64 / frame.len() as f64);
    }
    assert!(peak <= most, "{name}: {peak} bytes for {} of a frame, and {most} may be", frame.len());
}

/// One test: what others allocate meanwhile would be counted too.
#[test]
fn decoding_a_frame_takes_memory_as_the_frame_has_bytes() {
    assert!(is_message(&Bytes::from_static(br#"{"type":"ping"}"#)), "what is decoded is a message");
    for (name, seed) in seeds() {
        assert_within(&name, &seed, PER_BYTE);
        for number in 0..DAMAGES {
            assert_within(&format!("{name}, damage {number}"), &damaged(&seed, number), PER_BYTE);
        }
    }
    for (name, frame) in lies().into_iter().chain(depths()).chain(floods()) {
        assert_within(name, &frame, PER_BYTE);
    }
    for (name, frame) in crumbs().into_iter().chain(told()) {
        assert!(is_message(&Bytes::copy_from_slice(&frame)), "{name} are what may come");
        assert_within(name, &frame, PER_BYTE);
    }
    for (name, frame) in brief() {
        assert!(is_message(&Bytes::copy_from_slice(&frame)), "{name} are what may come");
        assert_within(name, &frame, PER_BYTE);
    }
    for (name, frame) in too_brief() {
        assert!(!is_message(&Bytes::copy_from_slice(&frame)), "{name} stand for too much");
        assert_within(name, &frame, PER_BYTE);
    }
}

/// The messages that fuzzing starts from.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for target in ["message", "json"] {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        for entry in fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            seeds.push((path.display().to_string(), fs::read(path).unwrap()));
        }
    }
    assert!(seeds.len() > 20);
    seeds.sort();
    seeds
}

/// A seed with some of its bytes made others, among them such as announce a length.
fn damaged(seed: &[u8], number: u64) -> Vec<u8> {
    const LENGTHS: [[u8; 5]; 6] = [
        [0xdd, 0xff, 0xff, 0xff, 0xff],
        [0xdf, 0x00, 0x80, 0x00, 0x00],
        [0xc6, 0x7f, 0xff, 0xff, 0xff],
        [0xdb, 0x00, 0x10, 0x00, 0x00],
        [0xdc, 0xff, 0xff, 0x90, 0x90],
        [0xc9, 0x00, 0x40, 0x00, 0x00],
    ];
    // What is random in it is the same each time: a multiplier of Steele and Vigna.
    let mut state = (number + 1).wrapping_mul(0xd134_2543_de82_ef95) | 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (state >> 33) as usize % below.max(1)
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=next(3) {
        let at = next(bytes.len());
        match next(4) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << next(8),
            2 => bytes.extend_from_within(at..),
            _ => {
                let length = LENGTHS[next(LENGTHS.len())];
                let end = bytes.len().min(at + length.len());
                bytes[at..end].copy_from_slice(&length[..end - at]);
            }
        }
    }
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&[0xa0 | text.len() as u8], text.as_bytes()].concat()
}

/// A message of a type with one part.
fn message(kind: &str, part: &str, value: &[u8]) -> Vec<u8> {
    [&[0x82], &text("type")[..], &text(kind), &text(part), value].concat()
}

/// Lengths that are not kept: of everything that has one, where a message has it.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let mut lies = Vec::new();
    for head in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        for length in [1_u32 << 16, 1 << 20, u32::MAX] {
            let lie = [&[head][..], &length.to_be_bytes()].concat();
            lies.push(("alone", lie.clone()));
            for (kind, part) in [
                ("hello", "credentials"),
                ("hello", "encodings"),
                ("sync", "ladder"),
                ("scribes", "transactions"),
                ("bye", "detail"),
                ("ping", "unknown"),
            ] {
                lies.push((part, message(kind, part, &lie)));
            }
            // Inside of a transaction: its scribes, the fields of one, a value.
            let head = [&b"\x94\x01\xc4\x10"[..], &[7; 16], b"\x01"].concat();
            for start in [&b""[..], b"\x91\x94\xa1m\x01\x00", b"\x91\x94\xa1m\x01\x00\x92\xa1f"] {
                let inner = [&head[..], start, &lie].concat();
                lies.push(("inside of a transaction", of_transactions(&[inner])));
            }
        }
    }
    lies
}

/// What nests as deep as a frame allows.
fn depths() -> Vec<(&'static str, Vec<u8>)> {
    let json = |open: &str| {
        let nested = open.repeat(FLOOD_BYTES / open.len());
        format!(r#"{{"type":"ping","x":{nested}"#).into_bytes()
    };
    vec![
        ("arrays in arrays", message("ping", "x", &vec![0x91; FLOOD_BYTES])),
        ("maps in maps", message("ping", "x", &b"\x81\xa1a".repeat(FLOOD_BYTES / 3))),
        ("arrays in arrays, in JSON", json("[")),
        ("objects in objects, in JSON", json(r#"{"a":"#)),
    ]
}

/// Many small things.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let many = |item: &[u8]| {
        let count = FLOOD_BYTES / item.len();
        [&[0xdd][..], &(count as u32).to_be_bytes(), &item.repeat(count)].concat()
    };
    let pair = |key: &[u8], value: &[u8]| {
        let count = FLOOD_BYTES / (key.len() + value.len());
        let pairs = [key, value].concat().repeat(count);
        [&[0xdf][..], &(count as u32).to_be_bytes(), &pairs].concat()
    };
    let json = |item: &str| {
        let items = vec![item; FLOOD_BYTES / (item.len() + 1)].join(",");
        format!(r#"{{"type":"ping","x":[{items}]}}"#).into_bytes()
    };
    let point = [&b"\x92\x01\xc4\x10"[..], &[7; 16]].concat();
    vec![
        ("elements", message("ping", "x", &many(b"\x00"))),
        ("empty arrays", message("ping", "x", &many(b"\x90"))),
        ("entries", message("ping", "x", &pair(b"\xa1a", b"\x00"))),
        ("keys of a message", pair(b"\xa1a", b"\x00")),
        ("encodings", message("hello", "encodings", &many(b"\xa1a"))),
        ("rungs", message("sync", "ladder", &many(&point))),
        ("echoes", message("scribes", "transactions", &many(b"\x92\x00\x01"))),
        ("items that are none", message("scribes", "transactions", &many(b"\xc0"))),
        (
            "a few of those",
            message("scribes", "transactions", &[&b"\xdc\x10\x00"[..], &[0xc0; 4096]].concat()),
        ),
        (
            "a few of those, in JSON",
            format!(r#"{{"type":"scribes","transactions":[{}]}}"#, vec!["0"; 4096].join(","))
                .into_bytes(),
        ),
        ("elements, in JSON", json("0")),
        ("empty arrays, in JSON", json("[]")),
        ("empty objects, in JSON", json("{}")),
        ("texts, in JSON", json(r#""""#)),
        ("escapes, in JSON", json(r#""\u0001""#)),
        ("bytes, in JSON", json(r#"{"$bytes":""}"#)),
        ("floats, in JSON", json("1e9")),
        (
            "keys, in JSON",
            format!("{{{}}}", vec![r#""a":0"#; FLOOD_BYTES / 6].join(",")).into_bytes(),
        ),
        (
            "one long text",
            message("bye", "detail", &[&[0xdb, 0, 0x10, 0, 0], &[b'x'; 1 << 20][..]].concat()),
        ),
    ]
}

/// The least scribes, and the least fields, that transactions can be made of: as many as a message may have.
fn crumbs() -> Vec<(&'static str, Vec<u8>)> {
    let scribes: Vec<u8> = (0..TRANSACTION_SCRIBES_MAX as u16)
        .flat_map(|id| {
            let [high, low] = id.to_be_bytes();
            let id = match id {
                0..128 => vec![low],
                128..256 => vec![0xcc, low],
                _ => vec![0xcd, high, low],
            };
            [&b"\x94\xa1m"[..], &id, b"\x01\x90"].concat()
        })
        .collect();
    let names = (b'a'..=b'z').flat_map(|one| (b'a'..=b'z').map(move |two| [one, two]));
    let names = names.flat_map(|[one, two]| (b'a'..=b'z').map(move |three| [one, two, three]));
    let fields: Vec<u8> = names.flat_map(|[one, two, three]| [0xa3, one, two, three, 0]).collect();
    let fields_of_one = [&b"\x94\xa1m\x00\x01"[..], &array(2 * fields.len() / 5), &fields].concat();
    // Names of one letter, as many as there are that sort so.
    let letters: Vec<u8> = (b'!'..=b'~').flat_map(|letter| [0xa1, letter, 0]).collect();
    let scribe = [&b"\x94\xa1m\xcd\xff\xff\x00"[..], &array(2 * letters.len() / 3), &letters];
    let count = (MESSAGE_TRANSACTIONS_BYTES_MAX - BATCH_BYTES - 64) / scribe.concat().len();
    let lettered: Vec<u8> = (0..count as u16)
        .flat_map(|id| {
            let [high, low] = (256 + id).to_be_bytes();
            let mut scribe = scribe.concat();
            scribe[4..6].copy_from_slice(&[high, low]);
            scribe
        })
        .collect();
    // In another form than the canonical one, and so written anew: a float of 32 bits, and what is out of order.
    let floats = [&[0xdd, 0, 0, 0x70, 0][..], &[0xca, 0x3f, 0xc0, 0, 0].repeat(0x7000)].concat();
    let bools = [&[0xdc, 0x70, 0][..], &[0xc2].repeat(0x6fff), &[0xca, 0, 0, 0, 0]].concat();
    let entries: Vec<u8> = (b'!'..=b'~').rev().flat_map(|letter| [0xa1, letter, 0]).collect();
    let entries = [&[0xde, 0, 94][..], &entries].concat();
    let maps = [&[0xdc, 3, 0][..], &entries.repeat(0x300)].concat();
    let of_value = |value: &[u8]| [&b"\x94\xa1m\x00\x01\x92\xa1f"[..], value].concat();
    let turned: Vec<u8> = fields.chunks(5).rev().flatten().copied().collect();
    let turned = [&b"\x94\xa1m\x00\x01"[..], &array(2 * fields.len() / 5), &turned].concat();
    let crumbs = vec![
        ("scribes without fields", transaction(TRANSACTION_SCRIBES_MAX, &scribes)),
        ("fields of one scribe", transaction(1, &fields_of_one)),
        ("fields of one letter", transaction(count, &lettered)),
        ("fields out of order", transaction(1, &turned)),
        ("short floats", transaction(1, &of_value(&floats))),
        ("a short float among many", transaction(1, &of_value(&bools))),
        ("entries out of order", transaction(1, &of_value(&maps))),
    ];
    let crumbs = crumbs.into_iter().map(|(name, one)| (name, of_transactions(&[one])));
    // The first names its author, the others are by the same.
    let first = transaction(1, b"\x94\xa1m\x01\x01\x90");
    // With its author, each has thirty.
    let count = MESSAGE_TRANSACTIONS_BYTES_MAX / 30;
    let others = (1..count).map(|_| b"\x92\x01\x91\x94\xa1m\x01\x01\x90".to_vec());
    let least: Vec<Vec<u8>> = [first.clone()].into_iter().chain(others).collect();
    crumbs.chain([("transactions", of_transactions(&least))]).chain(small(&first)).collect()
}

/// Messages in which nothing is large enough to hide what is beside it: items that this version cannot read, and echoes, as
/// many as there may be, and fewer.
fn small(first: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let after_first = |count: usize, item: &[u8]| {
        let items = [first.to_vec()].into_iter().chain(vec![item.to_vec(); count]);
        of_transactions(&items.collect::<Vec<_>>())
    };
    let mut all = vec![("4,096 echoes", of_transactions(&vec![b"\x92\x00\x01".to_vec(); 4096]))];
    for count in [500, 1000, 20_000, 35_000] {
        all.push(("unknown marks", after_first(count, b"\x92\x01\x91\x94\xa1m\x01\x09\x90")));
        all.push(("empty names", after_first(count, b"\x92\x01\x91\x94\xa0\xa2ab\xc0\x90")));
    }
    all
}

/// Transactions that stand for more than they may.
fn too_brief() -> Vec<(&'static str, Vec<u8>)> {
    let first = b"\x94\x00\xc4\x10seven and nine..\x00\x91\x94\xa1m\x01\x02\x90".to_vec();
    let name = [&[0xaf][..], &[b'm'; 15]].concat();
    let said = [&b"\x92\x01\x91\x94"[..], &name, b"\x01\x02\x90"].concat();
    let item = |id: &[u8]| [&b"\x92\x00\x91\x94\x00"[..], id, b"\x02\x90"].concat();
    let of = |item: Vec<u8>| {
        of_transactions(&[vec![first.clone(), said.clone()], vec![item; 1000]].concat())
    };
    vec![
        ("the least brief transactions", of(item(b"\x01"))),
        ("brief ones of short ids", of(item(b"\xa1a"))),
    ]
}

/// The most that a few bytes can stand for, with the longest name that has a number: as much as a message may have, and less.
fn brief() -> Vec<(&'static str, Vec<u8>)> {
    let long = [&[0xaf][..], &[b'm'; 15]].concat();
    let head = [&b"\x94\xcf\x00\x10\0\0\0\0\0\0\xc4\x10"[..], &[7; 16], b"\xcf", &[7; 8]].concat();
    let first = [&head[..], b"\x91\x94\xa1m\x01\x02\x90"].concat();
    let said = [&b"\x92\x01\x91\x94"[..], &long, b"\x01\x02\x90"].concat();
    let of =
        |items: Vec<Vec<u8>>| of_transactions(&[vec![first.clone(), said.clone()], items].concat());
    // Of so many scribes, each with an id of its own, in their order or in another.
    let scribes = |ids: &[u16], id: fn(u16) -> Vec<u8>, rest: &[u8]| {
        let scribes = ids.iter().flat_map(|at| [&b"\x94\x00"[..], &id(*at), rest].concat());
        let scribes: Vec<u8> = scribes.collect();
        of(vec![[&b"\x92\x01"[..], &array(ids.len()), &scribes].concat()])
    };
    let int = |at: u16| [&[0xcd][..], &(at + 256).to_be_bytes()].concat();
    let uuid = |at: u16| [&b"\x91\xc4\x10"[..], &[7; 14], &at.to_be_bytes()].concat();
    let ids: Vec<u16> = (0..27_000).collect();
    let turned: Vec<u16> = ids.iter().rev().copied().collect();
    let fields = |count: u16| {
        let keys = (0..count).map(|at| {
            [b'0' + (at >> 10) as u8, b'0' + (at >> 5 & 31) as u8, b'0' + (at & 31) as u8]
        });
        let fields: Vec<u8> =
            keys.flat_map(|key| [&b"\x93\x00\x00\xa3"[..], &key, b"\xc0"].concat()).collect();
        let scribe =
            [&b"\x92\x01\x91\x94\x00\x01\x00"[..], &array(2 * usize::from(count)), &fields]
                .concat();
        of(vec![scribe])
    };
    let mut all = Vec::new();
    for count in [100, 1000, 12_000] {
        let least = b"\x92\x00\x91\x94\x00\xa6abcdef\x02\x90".to_vec();
        all.push(("brief transactions", of(vec![least; count])));
        let odd = b"\x92\x00\x91\x94\x00\xa6abcdef\x09\x90".to_vec();
        all.push(("brief transactions of unknown marks", of(vec![odd; count])));
    }
    for count in [100, 1000, 27_000] {
        all.push(("brief scribes", scribes(&ids[..count], int, b"\x02\x90")));
        all.push(("brief scribes out of order", scribes(&turned[..count], int, b"\x02\x90")));
        let few = count.min(13_000);
        all.push(("brief ids", scribes(&ids[..few], uuid, b"\x02\x90")));
        all.push(("brief ids out of order", scribes(&turned[..few], uuid, b"\x02\x90")));
        all.push(("brief fields", fields(count.min(26_000) as u16)));
    }
    all
}

/// The least things that a view asks for and is told: as many as a message may have.
fn told() -> Vec<(&'static str, Vec<u8>)> {
    let many = |item: &[u8]| {
        let count = MESSAGE_ITEMS_MAX as u32;
        [&[0xdd][..], &count.to_be_bytes(), &item.repeat(MESSAGE_ITEMS_MAX)].concat()
    };
    let states = |items: &[u8]| {
        let parts = [text("items"), items.to_vec(), text("covers"), vec![0xc0]].concat();
        let head = [&[0x84][..], &text("type"), &text("states")].concat();
        [head, parts, text("end"), vec![0xc3]].concat()
    };
    let registers: Vec<u8> =
        (b'!'..=b'~').flat_map(|letter| [0xa1, letter, 0x00, 0xc0, 0x01, 0x00, 0x00]).collect();
    let author = [&b"\x92\xc4\x10"[..], &[7; 16], b"\x01"].concat();
    let parts = 6 * registers.len() as u16 / 7;
    let parts = [&[0xdc][..], &parts.to_be_bytes()].concat();
    let state = [&b"\x94"[..], &author, b"\xc0\xc0", &parts, &registers].concat();
    let state = [&b"\x96\x00\xa1m\x01\x91\x01\xc3"[..], &state].concat();
    let wanted = [&b"\x94\x01\xa1c\x92\x01\xc4\x10"[..], &[7; 16], b"\xc4\x10", &[7; 16]].concat();
    let subscribe = [&[0x83][..], &text("type"), &text("subscribe"), &text("channels")].concat();
    vec![
        ("states of small registers", states(&[&[0xdc, 8, 0][..], &state.repeat(2048)].concat())),
        ("channels that are filled", states(&many(b"\x92\x05\x01"))),
        ("evictions", states(&many(b"\x93\x01\xa1m\x01"))),
        ("channels not wanted", message("unsubscribe", "channels", &many(b"\x01"))),
        ("channels wanted", [subscribe, many(&wanted), text("more"), vec![0xc2]].concat()),
    ]
}

fn array(count: usize) -> Vec<u8> {
    [&[0xdd][..], &(count as u32).to_be_bytes()].concat()
}

fn transaction(count: usize, scribes: &[u8]) -> Vec<u8> {
    [&b"\x94\x01\xc4\x10"[..], &[7; 16], b"\x01", &array(count), scribes].concat()
}

fn of_transactions(items: &[Vec<u8>]) -> Vec<u8> {
    let point = [&b"\x92\x01\xc4\x10"[..], &[7; 16]].concat();
    let parts = [("from", &point), ("to", &point), ("end", &vec![1])];
    let parts = parts.into_iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
    let head = [&[0x85][..], &text("type"), &text("scribes")].concat();
    let items = [text("transactions"), array(items.len()), items.concat()].concat();
    head.into_iter().chain(parts).chain(items).collect()
}
