//! The page of the log that was unpacked last.
//!
//! Echoes are checked one after the other, and so are transactions that a peer sends again: they lie together.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use syncro_core::StoreError;

use crate::encoding::page::Page;

/// Bytes of a page that is kept: larger ones would stay in memory for nothing.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A page, and what it was unpacked from.
#[derive(Debug, Default)]
pub(crate) struct LastPage(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    key: Bytes,
    sealed: Bytes,
    page: Page,
}

impl LastPage {
    /// The page that is put under a key.
    pub(crate) fn page(&self, key: &Bytes, sealed: &Bytes) -> Result<Page, StoreError> {
        // It is whole between any two operations.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*last
            && (&known.key, &known.sealed) == (key, sealed)
        {
            return Ok(known.page.clone());
        }
        let page = Page::unseal(key, sealed)?;
        if page.bytes() <= KEPT_BYTES_MAX {
            let (key, sealed) = (key.clone(), sealed.clone());
            *last = Some(Known { key, sealed, page: page.clone() });
        }
        Ok(page)
    }
}
