//! Two nodes, for stories of ten to twenty lines.

use std::ops::{Deref, DerefMut};

use syncro_core::{Encoding, Event};

use super::{World, Write};

pub const A: usize = 0;
pub const B: usize = 1;

/// A world that begins with the nodes [`A`] and [`B`], where nothing unexpected happens: it panics.
#[derive(Debug)]
pub struct Pair(World);

impl Default for Pair {
    fn default() -> Self {
        Self(World::new(2).unwrap())
    }
}

impl Pair {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the title of a note.
    #[track_caller]
    pub fn put(&mut self, node: usize, id: u8, value: u8) {
        assert!(self.write_of(node, Write::Put { id, field: 0, value }), "nothing was recorded");
    }

    #[track_caller]
    pub fn write_of(&mut self, node: usize, write: Write) -> bool {
        or_panic(self.0.write(node, &write))
    }

    /// Connects A and B.
    #[track_caller]
    pub fn connect_both(&mut self) -> usize {
        or_panic(self.0.connect(A, B, Encoding::Json))
    }

    /// Lets everybody say everything and flush it.
    #[track_caller]
    pub fn drive(&mut self) {
        or_panic(self.0.settle());
    }

    /// Lets A and B meet and part again. Returns how many transactions they sent.
    #[track_caller]
    pub fn meet_both(&mut self) -> usize {
        or_panic(self.0.meet(A, B, Encoding::Json))
    }

    /// Demands that all nodes hold the same.
    #[track_caller]
    pub fn assert_equal(&self) {
        or_panic(self.0.check_equal());
    }

    pub fn has_event(&self, node: usize, is_it: impl Fn(&Event) -> bool) -> bool {
        self.0.nodes[node].events.iter().any(is_it)
    }
}

#[track_caller]
fn or_panic<T>(result: Result<T, super::Failure>) -> T {
    match result {
        Ok(value) => value,
        Err(failure) => panic!("{failure}"),
    }
}

impl Deref for Pair {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0
    }
}
