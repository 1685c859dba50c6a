//! A copy of a store in use, on a disk that crashes while the copy is made.

use std::ops::RangeInclusive;

use syncro_core::{Error, StoreError};

use crate::crash::Tape;
use crate::disk::Disk;
use crate::history::History;
use crate::image::Image;
use crate::node::{Node, Settings};
use crate::proof::{Mark, Past, Recovered, Subject};
use crate::scenarios::{destroy, put, put_many};

/// What opens a copy that may not have come to its end: then it is refused, or empty, and never half a store.
pub(crate) struct Copies(pub(crate) Settings);

/// Copies a store while it is written to, and says what the disk of the copy was told.
pub(crate) fn copy(settings: Settings) -> Result<Past<History>, Error> {
    let mut node = Node::new(settings, Disk::default());
    node.open()?;
    put_many(&mut node, 0..40, 300)?;
    put(&mut node, 50, 100 << 10)?;
    node.checkpoint()?;
    for id in 0..6 {
        put(&mut node, id, 9_000)?;
    }
    destroy(&mut node, 7)?;
    node.sync()?;
    // Applied, not synced.
    put(&mut node, 8, 300)?;

    let disk = Disk::default();
    let copied = node.history().last();
    let mut marks = vec![Mark { done: 0, made: copied, acknowledged: 0 }];
    let backend = settings.backend(&disk)?;
    let reader = node.store().reader();
    reader.copy_to(&backend, |_| put(&mut node, 9, 300).unwrap())?;
    marks.push(Mark { done: disk.done(), made: copied, acknowledged: copied });
    drop(backend);
    let mut history = node.history().clone();
    history.cut(copied);
    Ok(Past { tape: Tape::of(&disk), history, marks })
}

impl Subject for Copies {
    type History = History;

    fn recover(
        &self,
        image: &Image,
        history: &History,
        states: RangeInclusive<usize>,
        crashes: usize,
    ) -> Result<Recovered<History>, String> {
        let recovered = self.0.recover(image, history, states.clone(), crashes);
        let is_refused = || {
            let opened = self.0.open(&Disk::holding(image.clone()));
            matches!(opened, Err(StoreError::Corrupt { .. } | StoreError::NotAStore { .. }))
        };
        if recovered.is_err() && *states.start() == 0 && is_refused() {
            let past = Node::new(self.0, Disk::default()).past();
            return Ok(Recovered { found: 0, past });
        }
        recovered
    }
}
