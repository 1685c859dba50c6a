//! The pages of the log that were unpacked last.
//!
//! Echoes are checked one after the other, and so are transactions that a peer sends again: they lie together, and what an
//! author has written in a stretch of the log goes on beyond pages.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use syncro_core::StoreError;

use crate::encoding::page::Page;

/// Pages that are kept: as many as nearly all runs of an author touch.
const KEPT_PAGES: usize = 4;

/// Bytes of a page that is kept: larger ones would stay in memory for nothing.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Some pages, the one that was asked for last first, and what they were unpacked from.
#[derive(Debug, Default)]
pub(crate) struct LastPages(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    key: Bytes,
    sealed: Bytes,
    page: Page,
}

impl LastPages {
    /// The page that is put under a key.
    pub(crate) fn page(&self, key: &Bytes, sealed: &Bytes) -> Result<Page, StoreError> {
        // They are whole between any two operations.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.iter().position(|it| (&it.key, &it.sealed) == (key, sealed)) {
            known[..=place].rotate_right(1);
            return Ok(known[0].page.clone());
        }
        let page = Page::unseal(key, sealed)?;
        if page.bytes() <= KEPT_BYTES_MAX {
            let (key, sealed) = (key.clone(), sealed.clone());
            known.truncate(KEPT_PAGES - 1);
            known.insert(0, Known { key, sealed, page: page.clone() });
        }
        Ok(page)
    }
}
