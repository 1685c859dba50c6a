use super::*;
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

const LIMIT: usize = 8 * 1024 * 1024;

/// Room enough that writing to a pipe never waits for its reader.
const ROOMY: usize = 2 * LIMIT;

type Reader = FrameReader<ReadHalf<DuplexStream>>;
type Writer = FrameWriter<WriteHalf<DuplexStream>>;

/// A reader and the raw other end of its pipe.
fn reader(limit: usize) -> (Reader, DuplexStream) {
    let (here, there) = duplex(ROOMY);
    (Frames::new(here, limit).split().0, there)
}

/// A writer over a pipe of `room` bytes and the raw other end.
fn writer(room: usize) -> (Writer, DuplexStream) {
    let (here, there) = duplex(room);
    (Frames::new(here, LIMIT).split().1, there)
}

/// Polls once and drops the future; `None` if it had to wait.
///
/// Outside tokio's budget, which would make a ready pipe look empty after many polls in a row.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::task::unconstrained(future).now_or_never()
}

/// What a future gives that has no reason to wait; a test would otherwise hang instead of failing.
#[track_caller]
fn now<T>(future: impl Future<Output = T>) -> T {
    poll_once(future).expect("nothing here should wait")
}

/// Everything that can be read without waiting.
fn read_ready(reader: &mut Reader) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Some(read) = poll_once(reader.read()) {
        frames.push(read.unwrap().unwrap());
    }
    frames
}

fn wire_of(frames: &[Bytes]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        wire.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        wire.extend_from_slice(frame);
    }
    wire
}

/// Frames of one, a few and many bytes, with bytes in them that look like prefixes.
fn samples() -> Vec<Bytes> {
    [&b"a"[..], b"\0\0\0\x01", &[255; 300], b"last"].map(Bytes::from_static).to_vec()
}

#[test]
fn a_frame_cut_anywhere_arrives_whole_though_the_waiting_read_was_dropped() {
    let wire = wire_of(&samples());
    for cut in 0..=wire.len() {
        let (mut reader, mut peer) = reader(LIMIT);
        now(peer.write_all(&wire[..cut])).unwrap();
        let mut frames = read_ready(&mut reader);
        now(peer.write_all(&wire[cut..])).unwrap();
        frames.extend(read_ready(&mut reader));
        assert_eq!(frames, samples(), "cut at {cut}");
    }
}

#[tokio::test]
async fn frames_pass_whole_through_pipes_of_any_width() {
    let width_max = wire_of(&samples()).len() + 1;
    for width in 1..=width_max {
        let (here, there) = duplex(width);
        let (mut reader, _) = Frames::new(here, LIMIT).split();
        let (_, mut writer) = Frames::new(there, LIMIT).split();
        let write = async {
            for frame in samples() {
                writer.feed(frame).await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let read = async {
            let mut frames = Vec::new();
            while let Some(frame) = reader.read().await.unwrap() {
                frames.push(frame);
            }
            frames
        };
        let (frames, ()) = tokio::join!(read, write);
        assert_eq!(frames, samples(), "through {width} bytes");
    }
}

#[test]
fn frames_that_arrive_together_are_read_in_order_without_asking_the_stream_again() {
    let (here, mut peer) = duplex(ROOMY);
    let frames = Frames::new(here, LIMIT);
    let traffic = frames.traffic();
    let (mut reader, _) = frames.split();
    let wire = wire_of(&samples());
    now(peer.write_all(&wire)).unwrap();

    assert_eq!(now(reader.read()).unwrap(), samples().first().cloned());
    assert_eq!(traffic.read_bytes(), wire.len() as u64, "one read took them all");
    assert_eq!(read_ready(&mut reader), samples()[1..]);
}

#[test]
fn an_end_after_a_whole_frame_is_clean_and_any_other_is_truncated() {
    let samples = samples();
    let wire = wire_of(&samples);
    let ends: Vec<usize> = (0..=samples.len()).map(|n| wire_of(&samples[..n]).len()).collect();
    for cut in 0..=wire.len() {
        let (mut reader, mut peer) = reader(LIMIT);
        now(peer.write_all(&wire[..cut])).unwrap();
        drop(peer);

        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        for sample in &samples[..whole] {
            assert_eq!(now(reader.read()).unwrap().as_ref(), Some(sample), "cut at {cut}");
        }
        match now(reader.read()) {
            Ok(None) => assert!(ends.contains(&cut), "cut at {cut} passed for a clean end"),
            Err(NetError::Truncated) => assert!(!ends.contains(&cut), "clean end at {cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn an_announced_length_costs_nothing_until_its_bytes_arrive() {
    let (mut reader, mut peer) = reader(LIMIT);
    now(peer.write_all(&(LIMIT as u32).to_be_bytes())).unwrap();
    assert!(poll_once(reader.read()).is_none());
    assert!(reader.frames.read_buffer().capacity() <= 16 * 1024);

    let piece = vec![9; 50_000];
    let mut arrived = 4;
    while arrived + piece.len() < LIMIT {
        now(peer.write_all(&piece)).unwrap();
        assert!(poll_once(reader.read()).is_none());
        arrived += piece.len();
        let capacity = reader.frames.read_buffer().capacity();
        assert_eq!(reader.frames.read_buffer().len(), arrived);
        assert!(capacity <= 2 * arrived + 16 * 1024, "{capacity} bytes for {arrived}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_at_its_prefix_and_one_at_the_limit_is_not() {
    let (mut at_limit, mut peer) = reader(10);
    now(peer.write_all(&wire_of(&[Bytes::from_static(&[1; 10])]))).unwrap();
    assert_eq!(now(at_limit.read()).unwrap().unwrap(), [1; 10][..]);

    for announced in [11, u32::MAX] {
        let (mut over_limit, mut peer) = reader(10);
        now(peer.write_all(&announced.to_be_bytes())).unwrap();
        match now(over_limit.read()) {
            Err(NetError::FrameTooLarge { length, limit }) => {
                assert_eq!((length, limit), (announced as usize, 10));
            }
            other => panic!("{other:?}"),
        }
        assert!(over_limit.frames.read_buffer().capacity() <= 16 * 1024);
    }
}

/// The letters of another protocol read as a length, and nothing else was said of them.
#[test]
fn the_first_bytes_of_other_protocols_are_known() {
    for (bytes, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "answers as a web server"),
        (b"GET / HTTP/1.1\r\n", "a request of HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", "a handshake of TLS"),
        (b"\x15\x03\x03\x00\x02\x02", "an alert of TLS"),
        (b"SSH-2.0", "another protocol or has a greater limit"),
    ] {
        let (mut reader, mut peer) = reader(LIMIT);
        now(peer.write_all(bytes)).unwrap();
        let error = now(reader.read()).unwrap_err();
        assert!(matches!(error, NetError::FrameTooLarge { limit: LIMIT, .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn an_empty_frame_is_an_offence() {
    let (mut reader, mut peer) = reader(LIMIT);
    now(peer.write_all(b"\0\0\0\x01x\0\0\0\0")).unwrap();
    assert_eq!(now(reader.read()).unwrap().unwrap(), "x");
    assert!(matches!(now(reader.read()), Err(NetError::EmptyFrame)));
}

/// `FramedRead` ends its stream after an error, which a loop over `read` would take for the
/// peer's clean end: a session cut short would have looked complete.
#[test]
fn a_failed_connection_never_comes_to_a_clean_end() {
    let (mut reader, mut peer) = reader(LIMIT);
    now(peer.write_all(b"\0\0\0\0\0\0\0\x01x")).unwrap();
    drop(peer);
    assert!(matches!(now(reader.read()), Err(NetError::EmptyFrame)));
    for _ in 0..3 {
        assert!(matches!(now(reader.read()), Err(NetError::AlreadyFailed)));
    }
}

#[test]
fn a_stream_that_breaks_is_not_a_clean_end_and_keeps_its_cause() {
    let stream =
        Scripted::reading([Ok(b"\0\0\0\x01x".to_vec()), Err(io::ErrorKind::ConnectionReset)]);
    let (mut reader, _) = Frames::new(stream, LIMIT).split();
    assert_eq!(now(reader.read()).unwrap().unwrap(), "x");
    match now(reader.read()) {
        Err(NetError::Broken { cause }) => assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    assert!(matches!(now(reader.read()), Err(NetError::AlreadyFailed)));
}

#[test]
fn frames_fed_leave_together_at_the_flush_and_not_before() {
    let (stream, writes) = Scripted::writing();
    let (_, mut writer) = Frames::new(stream, LIMIT).split();
    for frame in samples() {
        now(writer.feed(frame)).unwrap();
    }
    assert_eq!(writes.taken(), Vec::<Vec<u8>>::new());
    now(writer.flush()).unwrap();
    assert_eq!(writes.taken(), [wire_of(&samples())]);
}

#[test]
fn a_frame_written_has_left_when_write_returns() {
    let (mut writer, mut peer) = writer(ROOMY);
    now(writer.feed(Bytes::from_static(b"fed"))).unwrap();
    now(writer.write(Bytes::from_static(b"written"))).unwrap();
    let mut wire = [0; 18];
    now(peer.read_exact(&mut wire)).unwrap();
    assert_eq!(&wire, b"\0\0\0\x03fed\0\0\0\x07written");
}

#[test]
fn feeding_without_end_flushes_by_itself_and_then_waits_for_the_reader() {
    let (mut writer, _peer) = writer(16);
    let frame = Bytes::from_static(&[5; 1000]);
    let fed = (0..1000).take_while(|_| poll_once(writer.feed(frame.clone())).is_some()).count();
    let queued = writer.frames.write_buffer().len();
    assert!(fed < 1000, "a reader that does not read never slowed the writer");
    assert!(queued > BATCH_BYTES - 2000 && queued < BATCH_BYTES + 2000, "{queued} bytes wait");
}

#[test]
fn a_flush_dropped_half_way_goes_on_where_it_stopped() {
    let wire = wire_of(&samples());
    let (mut writer, mut peer) = writer(5);
    for frame in samples() {
        now(writer.feed(frame)).unwrap();
    }
    let mut arrived = Vec::new();
    while poll_once(writer.flush()).is_none() {
        let mut piece = [0; 3];
        let count = now(peer.read(&mut piece)).unwrap();
        arrived.extend_from_slice(&piece[..count]);
    }
    drop(writer);
    now(peer.read_to_end(&mut arrived)).unwrap();
    assert_eq!(arrived, wire);
}

#[test]
fn what_comes_after_an_offence_can_be_read_to_its_end() {
    let (mut reader, mut peer) = reader(10);
    now(peer.write_all(&wire_of(&[Bytes::from(vec![1; 100_000])]))).unwrap();
    assert!(matches!(now(reader.read()), Err(NetError::FrameTooLarge { .. })));
    assert!(poll_once(reader.drain()).is_none(), "the peer may go on");
    now(peer.write_all(&[2; 100_000])).unwrap();
    drop(peer);
    now(reader.drain());
    now(reader.drain());
    assert!(matches!(now(reader.read()), Err(NetError::AlreadyFailed)));
}

#[test]
fn an_unsendable_frame_is_left_out_and_the_connection_goes_on() {
    let (here, there) = duplex(ROOMY);
    let (_, mut writer) = Frames::new(here, 10).split();
    let (mut reader, _) = Frames::new(there, 10).split();

    now(writer.feed(Bytes::from_static(b"before"))).unwrap();
    for length in [0, 11] {
        match now(writer.write(Bytes::from(vec![1; length]))) {
            Err(NetError::UnsendableFrame { length: refused, limit: 10 }) => {
                assert_eq!(refused, length)
            }
            other => panic!("{other:?}"),
        }
    }
    now(writer.write(Bytes::from_static(&[2; 10]))).unwrap();
    assert_eq!(read_ready(&mut reader), [&b"before"[..], &[2; 10]]);
}

#[test]
fn a_writer_gives_back_the_memory_of_a_large_frame() {
    let (mut writer, _peer) = writer(ROOMY);
    now(writer.write(Bytes::from(vec![1; LIMIT]))).unwrap();
    let has_kept_it = writer.frames.write_buffer_mut().try_reclaim(LIMIT / 2);
    assert!(!has_kept_it);
}

#[test]
fn traffic_counts_prefixes_and_parts_of_frames_in_each_direction() {
    let (here, mut peer) = duplex(6);
    let frames = Frames::new(here, LIMIT);
    let traffic = frames.traffic();
    let (mut reader, mut writer) = frames.split();

    now(peer.write_all(b"\0\0\0\x03a")).unwrap();
    assert!(poll_once(reader.read()).is_none());
    assert_eq!((traffic.read_bytes(), traffic.written_bytes()), (5, 0));

    now(writer.feed(Bytes::from_static(b"abcd"))).unwrap();
    assert_eq!((traffic.read_bytes(), traffic.written_bytes()), (5, 0));
    assert!(poll_once(writer.flush()).is_none());
    assert_eq!((traffic.read_bytes(), traffic.written_bytes()), (5, 6));
    now(peer.read_exact(&mut [0; 6])).unwrap();
    now(writer.flush()).unwrap();
    assert_eq!((traffic.read_bytes(), traffic.written_bytes()), (5, 8));
}

#[test]
fn closing_one_direction_leaves_the_other_open() {
    let (here, there) = duplex(ROOMY);
    let (mut reader, mut writer) = Frames::new(here, LIMIT).split();
    let (mut peer_reader, mut peer_writer) = Frames::new(there, LIMIT).split();

    now(writer.feed(Bytes::from_static(b"bye"))).unwrap();
    now(writer.close()).unwrap();
    assert_eq!(now(peer_reader.read()).unwrap().unwrap(), "bye");
    assert_eq!(now(peer_reader.read()).unwrap(), None);

    now(peer_writer.write(Bytes::from_static(b"late"))).unwrap();
    assert_eq!(now(reader.read()).unwrap().unwrap(), "late");
}

#[test]
fn reading_and_writing_can_be_spawned_on_any_thread() {
    fn assert_send(_: impl Send) {}
    let (here, _there) = duplex(1);
    let (mut reader, mut writer) = Frames::new(here, LIMIT).split();
    assert_send(reader.read());
    assert_send(writer.write(Bytes::new()));
    assert_send(writer.close());
}

/// A stream that reads what it is told to and notes each write it is given.
struct Scripted {
    reads: VecDeque<Result<Vec<u8>, io::ErrorKind>>,
    writes: Writes,
}

#[derive(Clone, Default)]
struct Writes(Arc<std::sync::Mutex<Vec<Vec<u8>>>>);

impl Writes {
    fn taken(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

impl Scripted {
    fn reading(reads: impl Into<VecDeque<Result<Vec<u8>, io::ErrorKind>>>) -> Self {
        Self { reads: reads.into(), writes: Writes::default() }
    }

    fn writing() -> (Self, Writes) {
        let writes = Writes::default();
        (Self { reads: VecDeque::new(), writes: writes.clone() }, writes)
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads.pop_front() {
            Some(Ok(bytes)) => buf.put_slice(&bytes),
            Some(Err(kind)) => return Poll::Ready(Err(kind.into())),
            None => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.0.lock().unwrap().push(buf.to_vec());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
