//! The moments at which a disk may crash, and what it may hold then.

use std::fmt;
use std::sync::OnceLock;

use crate::disk::Disk;
use crate::image::Image;
use crate::operation::Operation;

/// What a disk was told from the first operation to the last.
#[derive(Debug)]
pub(crate) struct Tape {
    first: Image,
    operations: Vec<Operation>,
    /// What is safe from each of the syncs on: the number of operations, and what they made. Most tapes are
    /// never crashed, so it is made when it is needed.
    safe: OnceLock<Vec<(usize, Image)>>,
}

/// A crash: after how many operations, and what became of those that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) done: usize,
    pub(crate) fate: Fate,
}

/// What becomes of the operations since the last sync. Numbers are those of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    AllLost,
    AllKept,
    /// All are kept but one.
    Lost(usize),
    /// All are lost but one.
    Kept(usize),
    /// The last one is torn: only so many of its sectors are kept, the others before it too.
    Head(usize),
    /// The last one is torn: so many of its first sectors are lost.
    Tail(usize),
    /// Only so many sectors of the last one are kept, and nothing else.
    HeadAlone(usize),
    /// All is lost but the last one, and so many of its first sectors are lost as well.
    TailAlone(usize),
    /// Sector by sector, as chance has it.
    Random(u64),
}

/// How much of what is conceivable is enumerated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Up to how many unsynced operations each is lost alone at every moment. Beyond that it is the newest of
    /// them, and at the last moment before the sync all.
    pub(crate) lost_max: usize,
    /// Up to how many sectors a write is torn at each of them. Beyond that it is after a power of two of
    /// them, and before the last. 0 tears nothing.
    pub(crate) torn_max: usize,
    /// Whether what is torn is also found with all else lost.
    pub(crate) tears_alone: bool,
}

impl Tape {
    pub(crate) fn of(disk: &Disk) -> Self {
        let (first, operations) = disk.tape();
        Self { first, operations, safe: OnceLock::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Returns how often the length of the disk was set.
    pub(crate) fn resized(&self) -> usize {
        let is_it = |operation: &&Operation| matches!(operation, Operation::SetLen(_));
        self.operations.iter().filter(is_it).count()
    }

    /// Returns what the disk holds after a crash.
    pub(crate) fn image(&self, crash: Crash) -> Image {
        let (start, safe) = self.safe_at(crash.done);
        let mut image = safe.clone();
        let unsynced = &self.operations[*start..crash.done];
        let mut coin = crash.fate.coin();
        for (at, operation) in (*start..).zip(unsynced) {
            let is_last = at + 1 == crash.done;
            let is_kept = match crash.fate {
                Fate::AllLost => false,
                Fate::AllKept => true,
                Fate::Lost(lost) => at != lost,
                Fate::Kept(kept) => at == kept,
                Fate::Head(_) | Fate::Tail(_) if !is_last => true,
                Fate::HeadAlone(_) | Fate::TailAlone(_) if !is_last => false,
                Fate::Head(cut) | Fate::HeadAlone(cut) => {
                    operation.apply_sectors(&mut image, |sector| sector < cut);
                    continue;
                }
                Fate::Tail(cut) | Fate::TailAlone(cut) => {
                    operation.apply_sectors(&mut image, |sector| sector >= cut);
                    continue;
                }
                Fate::Random(_) => {
                    operation.apply_sectors(&mut image, |_| coin());
                    continue;
                }
            };
            if is_kept {
                operation.apply(&mut image);
            }
        }
        image
    }

    /// Returns what may become of a crash after `done` operations, but for what an earlier crash may become
    /// as well.
    pub(crate) fn fates(&self, done: usize, scope: &Scope) -> Vec<Fate> {
        let start = self.safe_at(done).0;
        let mut fates = vec![Fate::AllKept];
        let Some(last) = (start..done).next_back() else { return fates };
        if last == start {
            fates.push(Fate::AllLost);
        } else {
            fates.push(Fate::Kept(last));
            let is_end = self.operations.get(done).is_none_or(Operation::is_sync);
            let is_few = done - start <= scope.lost_max || is_end;
            let newest = if is_few { start } else { done - scope.lost_max };
            fates.extend((newest..last).map(Fate::Lost));
        }
        for cut in cuts(self.operations[last].sectors(), scope.torn_max) {
            fates.extend([Fate::Head(cut), Fate::Tail(cut)]);
            if scope.tears_alone && last > start {
                fates.extend([Fate::HeadAlone(cut), Fate::TailAlone(cut)]);
            }
        }
        fates
    }

    fn safe_at(&self, done: usize) -> &(usize, Image) {
        let safe = self.safe.get_or_init(|| self.all_safe());
        let after = safe.partition_point(|(operations, _)| *operations <= done);
        &safe[after - 1]
    }

    fn all_safe(&self) -> Vec<(usize, Image)> {
        let mut content = self.first.clone();
        let mut safe = vec![(0, content.clone())];
        for (at, operation) in self.operations.iter().enumerate() {
            operation.apply(&mut content);
            if operation.is_sync() {
                safe.push((at + 1, content.clone()));
            }
        }
        safe
    }
}

impl Fate {
    fn coin(self) -> impl FnMut() -> bool {
        let Self::Random(seed) = self else { return coin(0) };
        coin(seed)
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.done, self.fate)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllLost => f.write_str("all-lost"),
            Self::AllKept => f.write_str("all-kept"),
            Self::Lost(operation) => write!(f, "lost-{operation}"),
            Self::Kept(operation) => write!(f, "kept-{operation}"),
            Self::Head(cut) => write!(f, "head-{cut}"),
            Self::Tail(cut) => write!(f, "tail-{cut}"),
            Self::HeadAlone(cut) => write!(f, "head-alone-{cut}"),
            Self::TailAlone(cut) => write!(f, "tail-alone-{cut}"),
            Self::Random(seed) => write!(f, "random-{seed}"),
        }
    }
}

/// Where a write of some sectors is torn.
fn cuts(sectors: usize, most: usize) -> impl Iterator<Item = usize> {
    let is_few = sectors <= most;
    (1..sectors)
        .filter(move |cut| most > 0 && (is_few || sectors - cut == 1 || cut.is_power_of_two()))
}

/// Mostly heads, mostly tails, or anything between.
fn coin(seed: u64) -> impl FnMut() -> bool {
    let mut random = numbers(seed);
    let share = random() % 101;
    move || random() % 100 < share
}

/// SplitMix64.
pub(crate) fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
