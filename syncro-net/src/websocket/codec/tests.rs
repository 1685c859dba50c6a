use super::*;
use proptest::prelude::*;

const LIMIT: usize = 1024 * 1024;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const MORE: u8 = 0x0;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;

/// A frame as RFC 6455 (5.2) lays it out, written by hand.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    let is_masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..126 => wire.push(is_masked | short as u8),
        middle @ 126..65_536 => {
            wire.push(is_masked | 126);
            wire.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            wire.push(is_masked | 127);
            wire.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| wire.extend_from_slice(mask)).unwrap_or_default();
    wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    wire
}

fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, Some([1, 2, 3, 4]), payload)
}

fn server() -> (ReadCodec, Arc<Pongs>) {
    let pongs = Arc::new(Pongs::default());
    (ReadCodec::new(Side::Server, Kinds::ByContent, LIMIT, pongs.clone()), pongs)
}

/// Everything in `wire`, read in pieces, and how it ends.
fn read_in(wire: &[u8], piece: usize) -> (Vec<Received>, Result<(), String>) {
    let (mut codec, _) = server();
    let (mut buffer, mut all) = (BytesMut::new(), Vec::new());
    for piece in wire.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(received)) => all.push(received),
                Ok(None) => break,
                Err(error) => return (all, Err(error.to_string())),
            }
        }
    }
    match codec.decode_eof(&mut buffer) {
        Ok(None) => (all, Ok(())),
        Ok(other) => unreachable!("nothing is left: {other:?}"),
        Err(error) => (all, Err(error.to_string())),
    }
}

/// What is wrong with these frames from a client.
fn offence_in(frames: &[Vec<u8>]) -> NetError {
    let (mut codec, _) = server();
    let mut buffer = BytesMut::from(&frames.concat()[..]);
    loop {
        match codec.decode(&mut buffer) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("nothing is wrong"),
            Err(error) => return error,
        }
    }
}

fn message(bytes: &'static [u8]) -> Received {
    Received::Frame(Bytes::from_static(bytes))
}

#[test]
fn messages_are_the_same_however_they_are_cut_and_fragmented() {
    let wire = [
        from_client(TEXT | FINAL, b"{\"whole\":1}"),
        from_client(BINARY, b"\x81"),
        from_client(PING | FINAL, b"between"),
        from_client(MORE, b""),
        from_client(MORE | FINAL, b"\xa1a"),
        from_client(PONG | FINAL, b"nobody asked"),
        from_client(CLOSE | FINAL, b""),
    ]
    .concat();
    for piece in 1..=wire.len() {
        let (all, end) = read_in(&wire, piece);
        let expected = [message(b"{\"whole\":1}"), message(b"\x81\xa1a"), Received::Close];
        assert_eq!((all.as_slice(), end), (&expected[..], Ok(())), "in pieces of {piece}");
    }
}

#[test]
fn an_end_inside_a_frame_or_between_fragments_is_truncated() {
    let truncated = NetError::Truncated.to_string();
    let fragment = from_client(TEXT, b"{");
    for cut in 1..=fragment.len() {
        assert_eq!(read_in(&fragment[..cut], LIMIT), (vec![], Err(truncated.clone())), "{cut}");
    }
}

/// The samples of RFC 6455, section 5.7, but for those of text that is not ours.
#[test]
fn frames_are_those_of_the_rfc() {
    let (mut codec, pongs) = server();
    let mut wire = BytesMut::from(&b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..]);
    assert!(codec.decode(&mut wire).unwrap().is_none());
    assert_eq!(pongs.take().unwrap(), "Hello");

    let mut codec = WriteCodec::new(Side::Server, LIMIT);
    let mut wire = BytesMut::new();
    codec.encode(Control::Pong(Bytes::from_static(b"Hello")), &mut wire).unwrap();
    codec.encode(Bytes::from(vec![0x80; 256]), &mut wire).unwrap();
    assert_eq!(&wire[..13], b"\x8a\x05Hello\x82\x7e\x01\x00\x80\x80");
    wire.clear();
    codec.encode(Bytes::from(vec![b'{'; 65_536]), &mut wire).unwrap();
    assert_eq!(&wire[..11], b"\x81\x7f\0\0\0\0\0\x01\0\0{");
    wire.clear();
    codec.encode(Control::Close, &mut wire).unwrap();
    codec.encode(Control::Close, &mut wire).unwrap();
    codec.encode(Control::Pong(Bytes::new()), &mut wire).unwrap();
    assert_eq!(&wire[..], b"\x88\x02\x03\xe8", "one close, and nothing after it");
}

proptest! {
    #[test]
    fn what_a_client_writes_a_server_reads_and_no_two_masks_are_alike(
        payload in prop::collection::vec(any::<u8>(), 1..70_000),
    ) {
        let mut wires = [BytesMut::new(), BytesMut::new()];
        for wire in &mut wires {
            let mut writer = WriteCodec::new(Side::Client, LIMIT);
            writer.encode(Bytes::from(payload.clone()), wire).unwrap();
            prop_assert_eq!(wire.len(), writer.wire_bytes(payload.len()));
        }
        prop_assert!(wires[0][1] & 0x80 != 0, "it is masked");
        prop_assert!(payload.len() < 64 || wires[0] != wires[1]);
        let (mut codec, _) = server();
        let received = codec.decode(&mut wires[0]).unwrap();
        prop_assert_eq!(received, Some(Received::Frame(Bytes::from(payload))));
    }

    #[test]
    fn no_bytes_panic_or_are_read_twice(
        wire in prop::collection::vec(any::<u8>(), 0..300),
        pieces in 1usize..40,
    ) {
        prop_assert_eq!(read_in(&wire, pieces), read_in(&wire, 300));
    }
}

#[test]
fn what_breaks_the_rules_is_named() {
    let cases: [(&str, Vec<Vec<u8>>); 11] = [
        ("without a mask", vec![frame(TEXT | FINAL, None, b"{}")]),
        ("extension", vec![from_client(TEXT | FINAL | 0x40, b"{}")]),
        ("unknown kind", vec![from_client(0x3 | FINAL, b"")]),
        ("unknown kind", vec![from_client(0xb | FINAL, b"")]),
        ("control frame", vec![from_client(PING, b"")]),
        ("control frame", vec![from_client(PING | FINAL, &[7; 126])]),
        ("not begun", vec![from_client(MORE | FINAL, b"{}")]),
        ("has ended", vec![from_client(TEXT, b"{"), from_client(TEXT | FINAL, b"}")]),
        ("not JSON", vec![from_client(TEXT | FINAL, b"\x81\xa1a")]),
        ("not JSON", vec![from_client(TEXT, b"hel"), from_client(MORE | FINAL, b"lo")]),
        ("JSON that is not a text", vec![from_client(BINARY | FINAL, b"{}")]),
    ];
    for (word, frames) in cases {
        match offence_in(&frames) {
            NetError::WebSocketOffence { offence } => assert!(offence.contains(word), "{offence}"),
            other => panic!("{word}: {other:?}"),
        }
    }
    let mut client = ReadCodec::new(Side::Client, Kinds::ByContent, LIMIT, Arc::default());
    let masked = &from_client(TEXT | FINAL, b"{}")[..];
    assert!(client.decode(&mut BytesMut::from(masked)).is_err(), "a server masks nothing");
    assert!(matches!(offence_in(&[from_client(TEXT | FINAL, b"")]), NetError::EmptyFrame));
    assert!(
        matches!(
            offence_in(&[from_client(BINARY, b""), from_client(MORE | FINAL, b"")]),
            NetError::EmptyFrame
        ),
        "a message of empty fragments"
    );
}

#[test]
fn a_message_at_the_limit_passes_and_one_over_it_is_refused_at_its_header() {
    let most = vec![0x80; LIMIT];
    let (all, end) = read_in(&from_client(BINARY | FINAL, &most), LIMIT);
    assert!(end.is_ok() && all == [Received::Frame(Bytes::from(most))]);

    let over = from_client(BINARY | FINAL, &vec![0x80; LIMIT + 1]);
    let in_parts = [from_client(BINARY, &vec![0x80; LIMIT]), from_client(MORE | FINAL, &[1])];
    let endless = b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec();
    let cases = [
        (vec![over[..14].to_vec()], LIMIT + 1),
        (vec![in_parts[0].clone(), in_parts[1][..6].to_vec()], LIMIT + 1),
        (vec![endless], usize::MAX),
    ];
    for (frames, announced) in cases {
        match offence_in(&frames) {
            NetError::FrameTooLarge { length, limit } => {
                assert_eq!((length, limit), (announced, LIMIT));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A header of 14 bytes made `tungstenite` set the whole message aside.
#[test]
fn an_announced_length_costs_nothing_until_its_bytes_arrive() {
    let wire = from_client(BINARY | FINAL, &vec![0x90; LIMIT]);
    let (mut codec, _) = server();
    let mut buffer = BytesMut::new();
    for piece in wire[..LIMIT].chunks(50_000) {
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        let (capacity, arrived) = (buffer.capacity(), buffer.len());
        assert!(capacity <= 2 * arrived + 16 * 1024, "{capacity} bytes for {arrived}");
        buffer.extend_from_slice(piece);
    }
}

#[test]
fn what_follows_a_large_message_does_not_keep_its_memory() {
    let (mut codec, _) = server();
    let large = from_client(BINARY | FINAL, &vec![0x90; LIMIT]);
    let mut buffer = BytesMut::from(&[large, from_client(TEXT | FINAL, b"{}")].concat()[..]);
    drop(codec.decode(&mut buffer).unwrap().unwrap());
    assert!(!buffer.try_reclaim(LIMIT / 2), "the megabyte is still there");
    assert_eq!(codec.decode(&mut buffer).unwrap().unwrap(), message(b"{}"));
}

/// They cost the sender next to nothing, and a reader that looked at each for ever would do nothing else.
#[test]
fn a_row_of_frames_that_carry_nothing_comes_to_an_end() {
    let floods = [
        from_client(PING | FINAL, b""),
        from_client(PING | FINAL, &[7; 125]),
        from_client(PONG | FINAL, b""),
    ];
    for free in floods {
        let allowed = vec![free.clone(); FREE_FRAMES_MAX];
        let spoken = vec![from_client(TEXT | FINAL, b"{}")];
        let within = [allowed.clone(), spoken.clone(), allowed.clone(), spoken].concat();
        assert_eq!(read_in(&within.concat(), 4096).1, Ok(()));
        let over = [allowed, vec![free]].concat();
        assert!(matches!(offence_in(&over), NetError::FreeFrames { limit: FREE_FRAMES_MAX }));
    }
    let mut endless = vec![from_client(TEXT, b"{")];
    endless.extend(vec![from_client(MORE, b""); FREE_FRAMES_MAX]);
    assert!(matches!(offence_in(&endless), NetError::FreeFrames { .. }));
    let mut in_parts = vec![from_client(BINARY, &[0x80; FREE_BYTES])];
    in_parts.extend(vec![from_client(MORE, &[1; FREE_BYTES]); 2 * FREE_FRAMES_MAX]);
    in_parts.push(from_client(MORE | FINAL, b""));
    let (all, end) = read_in(&in_parts.concat(), 4096);
    assert!(end.is_ok() && all.len() == 1, "a message in pieces of a decent size");
}

#[test]
fn of_many_pings_the_newest_is_answered() {
    let (mut codec, pongs) = server();
    let pings = (0..100_u8).flat_map(|n| from_client(PING | FINAL, &[n])).collect::<Vec<_>>();
    assert!(codec.decode(&mut BytesMut::from(&pings[..])).unwrap().is_none());
    assert_eq!(pongs.take().as_deref(), Some(&[99][..]));
    assert_eq!(pongs.take(), None);
}

#[test]
fn an_unsendable_message_is_refused_and_nothing_of_it_is_written() {
    let mut codec = WriteCodec::new(Side::Client, 10);
    let mut wire = BytesMut::new();
    for length in [0, 11] {
        let refusal = codec.encode(Bytes::from(vec![1; length]), &mut wire);
        assert!(matches!(refusal, Err(NetError::UnsendableFrame { limit: 10, .. })));
        assert!(wire.is_empty());
    }
}
