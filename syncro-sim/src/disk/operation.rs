//! What a disk is told, and what a crash may leave of it.

use super::image::Image;

/// What changes a disk, or makes it durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Write { offset: usize, content: Image },
    SetLen(usize),
    Sync,
}

impl Operation {
    pub fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, content } => image.lay(*offset, content),
            Self::SetLen(bytes) => image.set_len(*bytes),
            Self::Sync => {}
        }
    }

    /// The blocks that it writes to.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        match self {
            Self::Write { offset, content } if !content.is_empty() => {
                offset / BLOCK_BYTES..(offset + content.len() - 1) / BLOCK_BYTES + 1
            }
            _ => 0..0,
        }
    }

    pub fn is_sync(&self) -> bool {
        matches!(self, Self::Sync)
    }

    /// Returns how many sectors it writes: what a disk writes at once. The length of a file changes at once.
    pub fn sectors(&self) -> usize {
        match self {
            Self::Write { content, .. } => content.len().div_ceil(SECTOR_BYTES),
            Self::SetLen(_) | Self::Sync => 1,
        }
    }

    /// Does the sectors that `is_kept` says.
    pub fn apply_sectors(&self, image: &mut Image, mut is_kept: impl FnMut(usize) -> bool) {
        let Self::Write { offset, content } = self else {
            if is_kept(0) {
                self.apply(image);
            }
            return;
        };
        for at in 0..self.sectors() {
            if is_kept(at) {
                let within = at * SECTOR_BYTES;
                image.write(offset + within, &content.part(within, SECTOR_BYTES));
            }
        }
    }
}

/// What a disk writes at once.
pub const SECTOR_BYTES: usize = 512;

/// What a file takes room by.
pub const BLOCK_BYTES: usize = 4096;
