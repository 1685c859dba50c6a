//! What records have in common.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Path, PathRef};

/// The paths of a record's registers, in order, each once.
///
/// Most records of one model have the same ones, and share them: then neither a copy of a record nor what is kept of it
/// has paths of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape(Option<Arc<Paths>>);

/// Paths, and what there is to know of them.
#[derive(Clone, Debug, Default)]
struct Paths {
    all: Vec<Path>,
    /// Whether each is that of a field as a whole, of which there is nothing else.
    is_plain: bool,
    /// About the bytes of memory that no other record shares. Long names count as if none were shared: a peer may give
    /// each record its own.
    held_bytes: usize,
}

impl Paths {
    fn new(all: Vec<Path>) -> Self {
        let own = if is_common(&all) { 0 } else { size_of::<Path>() };
        let name = |path: &Path| match path.field.as_str().len() {
            ..=SHORT_NAME_BYTES_MAX => 0,
            bytes => bytes,
        };
        let held_bytes = all.iter().map(|path| own + name(path) + path.heap_bytes()).sum();
        let is_whole = |path: &Path| path.element.is_none();
        let is_plain = all.iter().all(is_whole) && all.is_sorted_by(|one, it| one.field < it.field);
        Self { all, is_plain, held_bytes }
    }
}

/// Shapes of which a thread remembers that it has met them: so few that to look through them is quick.
const KNOWN_MAX: usize = 8;

/// Bytes of names that take no memory of their own.
const SHORT_NAME_BYTES_MAX: usize = 23;

/// Paths of a shape that is remembered at most.
const PATHS_MAX: usize = 32;

thread_local! {
    static KNOWN: RefCell<Vec<Shape>> = const { RefCell::new(Vec::new()) };
}

impl Shape {
    /// The shape of some paths, which is remembered where other records are likely to have it.
    fn of(paths: Vec<Path>) -> Self {
        if paths.is_empty() {
            return Self::default();
        }
        if !is_common(&paths) {
            return Self(Some(Arc::new(Paths::new(paths))));
        }
        let known = Self::find(|it| it.paths() == paths);
        known.unwrap_or_else(|| {
            let shape = Self(Some(Arc::new(Paths::new(paths))));
            KNOWN.with_borrow_mut(|known| {
                known.truncate(KNOWN_MAX - 1);
                known.insert(0, shape.clone());
            });
            shape
        })
    }

    /// A shape that this thread has met.
    fn find(is_it: impl Fn(&Self) -> bool) -> Option<Self> {
        KNOWN.with_borrow_mut(|known| {
            let place = known.iter().position(is_it)?;
            // What was met last is looked at first.
            known.swap(0, place);
            Some(known[0].clone())
        })
    }

    /// Lets a shape that was changed for one record be the one that others have.
    pub(super) fn share(&mut self) {
        // Whoever has not changed it has it from others.
        if let Some(paths) = self.0.as_mut().and_then(Arc::get_mut) {
            let all = std::mem::take(&mut paths.all);
            if is_common(&all) {
                *self = Self::of(all);
            } else {
                *paths = Paths::new(all);
            }
        }
    }

    pub(super) fn paths(&self) -> &[Path] {
        self.0.as_ref().map_or(&[], |paths| &paths.all)
    }

    /// The paths, to be changed for this record alone, and then [shared](Self::share).
    pub(super) fn paths_mut(&mut self) -> &mut Vec<Path> {
        &mut Arc::make_mut(self.0.get_or_insert_default()).all
    }

    /// Whether each path is that of a field as a whole, of which there is nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.0.as_ref().is_some_and(|paths| paths.is_plain)
    }

    /// About the bytes of memory that no other record shares.
    pub(super) fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |paths| paths.held_bytes)
    }
}

/// The shape of paths that come one after the other, in order: as long as they are those of one that is known, nothing
/// has to be made of them.
#[derive(Debug, Default)]
pub(super) struct Shaping {
    /// How many there will be, if that is known.
    count: Option<usize>,
    /// How many have come, and the known shape that begins with them.
    next: usize,
    known: Shape,
    /// All that have come, once there is no such shape.
    paths: Vec<Path>,
}

impl Shaping {
    /// For so many paths.
    pub(super) fn new(count: Option<usize>) -> Self {
        Self { count, ..Self::default() }
    }

    /// Takes the next path; `to_path` is asked for it where no known shape has it.
    #[inline]
    pub(super) fn push(&mut self, path: PathRef<'_>, to_path: impl FnOnce() -> Path) {
        let likely = self.known.paths().get(self.next).filter(|_| self.paths.is_empty());
        if likely.is_some_and(|likely| likely.is(path)) {
            self.next += 1;
        } else {
            self.push_other(path, to_path);
        }
    }

    /// Takes a path with which no known shape goes on that begins with those before it, or the first one.
    fn push_other(&mut self, path: PathRef<'_>, to_path: impl FnOnce() -> Path) {
        let Self { count, next, known, paths } = self;
        let has = |shape: &Shape| shape.paths().get(*next).is_some_and(|known| known.is(path));
        if paths.is_empty() {
            let so_far = &known.paths()[..*next];
            let is_it = |it: &Shape| {
                has(it)
                    && count.is_none_or(|count| it.paths().len() == count)
                    && (*next == 0 || it.paths().starts_with(so_far))
            };
            let other = Shape::find(is_it).unwrap_or_default();
            if other.0.is_none() {
                paths.reserve(count.unwrap_or_default());
                paths.extend_from_slice(so_far);
            }
            *known = other;
        }
        if known.0.is_none() {
            paths.push(to_path());
        }
        *next += 1;
    }

    /// How many paths there are likely to be.
    pub(super) fn likely(&self) -> usize {
        self.count.unwrap_or_else(|| self.known.paths().len())
    }

    /// Whether they are in order, each once: those of a known shape are.
    pub(super) fn is_in_order(&self) -> bool {
        self.paths.is_sorted_by(|one, other| one < other)
    }

    /// All that have come, where they are not in order.
    pub(super) fn into_paths(self) -> Vec<Path> {
        self.paths
    }

    pub(super) fn into_shape(self) -> Shape {
        let Self { next, known, paths, .. } = self;
        match known.paths().get(..next) {
            _ if !paths.is_empty() => Shape::of(paths),
            Some(some) if next < known.paths().len() => Shape::of(some.to_vec()),
            _ => known,
        }
    }
}

/// Whether other records are likely to have a shape: elements come and go.
fn is_common(paths: &[Path]) -> bool {
    paths.len() <= PATHS_MAX && paths.iter().all(|path| path.element.is_none())
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.paths(), other.paths()) || self.paths() == other.paths()
    }
}

impl Eq for Shape {}
