//! Frames of a stream: two bytes of length, then so many bytes.

use crate::limits::FRAME_BYTES_MAX;

/// Cuts frames from bytes that arrive in pieces of any size.
///
/// A prefix of two bytes can announce nothing that is too long, so there is nothing to refuse here. An empty
/// frame is one.
///
/// ```
/// use syncro_classic::{Frames, frame};
///
/// let mut frames = Frames::default();
/// let bytes = frame(br#"{"type":"noop","id":7}"#)?;
/// frames.push(&bytes[..5]);
/// assert_eq!(frames.next(), None);
/// frames.push(&bytes[5..]);
/// assert_eq!(frames.next().as_deref(), Some(&br#"{"type":"noop","id":7}"#[..]));
/// # Ok::<(), syncro_classic::TooLong>(())
/// ```
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the next frame begins in `bytes`.
    start: usize,
}

impl Frames {
    /// Takes bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next frame that is whole.
    #[expect(clippy::should_implement_trait, reason = "more may come after `None`")]
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.bytes.get(self.start..)?;
        let (prefix, rest) = rest.split_first_chunk::<PREFIX_BYTES>()?;
        let length = usize::from(u16::from_be_bytes(*prefix));
        let frame = rest.get(..length)?.to_vec();
        self.start += PREFIX_BYTES + length;
        Some(frame)
    }
}

/// A message does not fit a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes does not fit a frame, which has {FRAME_BYTES_MAX} at most")]
pub struct TooLong {
    /// The length of the message.
    pub bytes: usize,
}

/// Puts the length before a message. The peers of 2010 let a longer one wrap around, and lost the stream.
///
/// # Errors
///
/// [`TooLong`] beyond 65,535 bytes.
pub fn frame(message: &[u8]) -> Result<Vec<u8>, TooLong> {
    let bytes = message.len();
    let length = u16::try_from(bytes).map_err(|_| TooLong { bytes })?;
    let mut framed = Vec::with_capacity(PREFIX_BYTES + bytes);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed)
}

/// Bytes before each message.
pub const PREFIX_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 1 of the original: the length wrapped, and the stream was lost.
    #[test]
    fn a_message_that_the_prefix_cannot_count_is_refused() {
        assert_eq!(frame(&[b' '; 65_535]).unwrap()[..2], [0xff, 0xff]);
        assert_eq!(frame(&[b' '; 65_536]), Err(TooLong { bytes: 65_536 }));
    }

    /// S1.
    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let messages: [&[u8]; 4] = [b"{}", b"", &[b'x'; 65_535], b"{\"a\":1}"];
        let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(message).unwrap()).collect();
        for size in [1, 2, 3, 7, 1000, 65_536, bytes.len()] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.push(piece);
                found.extend(std::iter::from_fn(|| frames.next()));
            }
            assert_eq!(found, messages, "in pieces of {size}");
        }
    }

    #[test]
    fn what_was_cut_is_forgotten() {
        let mut frames = Frames::default();
        for _ in 0..100 {
            frames.push(&frame(&[b'x'; 60_000]).unwrap());
            assert!(frames.next().is_some());
        }
        assert!(frames.bytes.len() < 70_000);
    }
}
