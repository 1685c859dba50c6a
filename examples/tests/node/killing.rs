//! A thousand kills: of either of two processes that write and sync, or of both, at any moment.

use std::ops::{AddAssign, Range};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;

use crate::gate::Gate;
use crate::load::Load;
use crate::shell::{Shell, say};

/// Kills of one run; the environment variable asks for more.
const KILLS: usize = 1000;
const KILLS_ASKED: &str = "SYNCRO_KILLS";

/// The seed of one run, to choose the same writes and moments again.
const SEED_ASKED: &str = "SYNCRO_SEED";

/// Pairs of processes at a time: they wait for each other most of the time.
const LANES: u64 = 6;

/// Writes of each process before a kill, more than it gets to answer more often than not.
const WRITES: Range<usize> = 1..150;

/// Kills over one pair of stores, before a new one begins small again.
const KILLS_PER_STORE: usize = 20;

/// Within so many milliseconds a process that is not waited for is killed: it starts and catches up in them.
const SHORT_MS: u64 = 25;

/// Both nodes of a pair write without a pause when one of them, or both, are killed: in the middle of writing,
/// of starting, of catching up. When it is started again, alone at first, what it had acknowledged is there;
/// when it has met the other, both hold the same.
#[test]
fn whenever_a_process_is_killed_what_it_acknowledged_is_there_and_peers_converge() {
    let kills = number(KILLS_ASKED).map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number(SEED_ASKED).unwrap_or_else(|| fastrand::u64(..1 << 32));
    say(&format!("{SEED_ASKED}={seed} {KILLS_ASKED}={kills}"));
    let began = Instant::now();
    let (left, seen) = (AtomicUsize::new(kills), Mutex::new(Seen::default()));
    let take = |most: usize| {
        let taken = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - left.min(most)));
        taken.unwrap().min(most)
    };
    let (take, seen) = (&take, &seen);
    let failed = thread::scope(|scope| {
        let lane = |lane: u64| {
            scope.spawn(move || {
                let encoding = if lane.is_multiple_of(2) { "msgpack" } else { "json" };
                let mut rng = Rng::with_seed(seed.wrapping_add(lane));
                loop {
                    let share = take(KILLS_PER_STORE);
                    if share == 0 {
                        return;
                    }
                    let mut pair = Pair::new(encoding);
                    while pair.seen.kills < share {
                        pair.round(&mut rng, share);
                    }
                    *seen.lock().unwrap() += pair.seen;
                }
            })
        };
        let lanes: Vec<_> = (0..LANES).map(lane).collect();
        lanes.into_iter().map(|lane| lane.join().is_err()).filter(|is_failed| *is_failed).count()
    });
    let (seen, seconds) = (*seen.lock().unwrap(), began.elapsed().as_secs());
    say(&format!("points {}/{kills} kills, in {seconds} s: {seen:?}", seen.kills));
    assert_eq!((seen.kills, failed), (kills, 0), "with {SEED_ASKED}={seed}");
    assert!(kills < KILLS || seen.is_enough(), "what never happens proves nothing");
}

/// What the kills met with.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    kills: usize,
    /// Writes were under way.
    writing: usize,
    /// A write survived that had not been acknowledged.
    unheard: usize,
    /// A write did not survive, for all that was in the store when the process began again.
    undone: usize,
    starting: usize,
    catching_up: usize,
    both: usize,
}

impl Seen {
    fn is_enough(self) -> bool {
        let Self { kills, writing, unheard, undone, starting, catching_up, both } = self;
        let rare = [unheard, undone, starting, catching_up, both];
        10 * writing > kills && rare.iter().all(|count| 100 * count > kills)
    }
}

impl AddAssign for Seen {
    fn add_assign(&mut self, more: Self) {
        self.kills += more.kills;
        self.writing += more.writing;
        self.unheard += more.unheard;
        self.undone += more.undone;
        self.starting += more.starting;
        self.catching_up += more.catching_up;
        self.both += more.both;
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

const LEFT: usize = 0;
const RIGHT: usize = 1;
const NAMES: [&str; 2] = ["left", "right"];

/// Two processes, of which the right one connects to the left.
struct Pair {
    shells: [Shell; 2],
    loads: [Load; 2],
    left_addr: String,
    place: Place,
    seen: Seen,
}

impl Pair {
    fn new(encoding: &'static str) -> Self {
        let place = Place { stores: Stores::new(), gate: Gate::new(), encoding };
        let shells = [LEFT, RIGHT].map(|side| place.start(side));
        let left_addr = shells[LEFT].logged("listening on ");
        let (loads, seen) = (NAMES.map(Load::new), Seen::default());
        let mut pair = Self { shells, loads, left_addr, place, seen };
        pair.shells[LEFT].ok("create both shared {}");
        pair.place.gate.open(&pair.left_addr);
        pair.converge();
        pair
    }

    /// Lets both write, kills one or both, and lets them find together; at most so many kills in all.
    fn round(&mut self, rng: &mut Rng, kills_max: usize) {
        for side in [LEFT, RIGHT] {
            let writes = rng.usize(WRITES);
            let lines = self.loads[side].more(rng, writes);
            self.shells[side].send_bytes(lines.as_bytes());
        }
        let mut killed = self.choose(rng, kills_max);
        self.moment(rng, killed[0]);
        self.kill(&killed);
        loop {
            for &side in &killed {
                self.shells[side] = self.place.start(side);
            }
            if self.seen.kills < kills_max && rng.u8(..4) == 0 {
                sleep(rng);
                self.seen.starting += 1;
                let again = killed.remove(rng.usize(..killed.len()));
                self.kill(&[again]);
                killed.iter().for_each(|side| self.look(*side));
                killed = vec![again];
                continue;
            }
            killed.iter().for_each(|side| self.look(*side));
            self.place.gate.open(&self.left_addr);
            if self.seen.kills == kills_max || rng.u8(..4) > 0 {
                break;
            }
            sleep(rng);
            killed = self.choose(rng, kills_max);
            self.seen.catching_up += 1;
            self.kill(&killed);
        }
        self.converge();
    }

    fn choose(&self, rng: &mut Rng, kills_max: usize) -> Vec<usize> {
        match rng.u8(..10) {
            0..3 if kills_max > self.seen.kills + 1 => vec![LEFT, RIGHT],
            0..6 => vec![LEFT],
            _ => vec![RIGHT],
        }
    }

    /// Waits for a moment to kill at: some time, or after some answers.
    fn moment(&mut self, rng: &mut Rng, side: usize) {
        if rng.bool() {
            return sleep(rng);
        }
        for _ in 0..rng.usize(..=self.loads[side].due()) {
            self.answer(side);
        }
    }

    fn answer(&mut self, side: usize) {
        let answer = self.shells[side].next_answer().expect("it answers");
        self.loads[side].answered(&answer);
    }

    /// Kills processes at once; what they had answered counts.
    fn kill(&mut self, sides: &[usize]) {
        self.place.gate.close();
        sides.iter().for_each(|side| self.shells[*side].strike());
        self.seen.kills += sides.len();
        self.seen.both += usize::from(sides.len() > 1);
        for &side in sides {
            self.shells[side].kill();
            let due = self.loads[side].due();
            for answer in self.shells[side].last_answers().iter().take(due) {
                self.loads[side].answered(answer);
            }
            self.seen.writing += usize::from(self.loads[side].due() > 0);
            self.loads[side].cut();
        }
    }

    /// Looks at what a process that has just begun has in its store, before its peer has told it anything.
    fn look(&mut self, side: usize) {
        if side == LEFT {
            self.left_addr = self.shells[LEFT].logged("listening on ");
        }
        let list = self.shells[side].ok(&format!("list {}", NAMES[side]));
        let load = &mut self.loads[side];
        let (sent, heard) = (load.sent(), load.durable());
        load.check(&list);
        self.seen.unheard += usize::from(load.durable() > heard);
        self.seen.undone += usize::from(load.durable() < sent);
    }

    /// Waits until each has confirmed all that the other has, and demands that they hold the same.
    fn converge(&mut self) {
        for side in [LEFT, RIGHT] {
            while self.loads[side].due() > 0 {
                self.answer(side);
            }
        }
        for (side, peer) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            self.shells[side].send(&format!("await {}", NAMES[peer]));
        }
        for shell in &mut self.shells {
            let answer = shell.next_answer().expect("it answers");
            assert_eq!(answer["ok"], true, "{answer}");
        }
        let digests = self.shells.each_mut().map(Shell::digest);
        assert_eq!(digests[LEFT], digests[RIGHT]);
        for (side, load) in self.loads.iter_mut().enumerate() {
            load.settle(&self.shells[1 - side].ok(&format!("list {}", NAMES[side])));
        }
        let shared = self.shells[LEFT].ok("get both shared");
        let sum = self.loads.iter().map(Load::shared).sum::<i64>();
        assert_eq!(shared["n"].as_i64().unwrap_or(0), sum);
    }
}

fn sleep(rng: &mut Rng) {
    thread::sleep(Duration::from_micros(rng.u64(..SHORT_MS * 1000)));
}

/// What outlives the processes of a pair.
struct Place {
    stores: Stores,
    gate: Gate,
    encoding: &'static str,
}

impl Place {
    fn start(&self, side: usize) -> Shell {
        let (store, addr) = (self.stores.path(NAMES[side]), self.gate.addr());
        let own = ["--name", NAMES[side], "--store", store.to_str().unwrap()];
        let way = match side {
            LEFT => vec!["--listen", "127.0.0.1:0"],
            _ => vec!["--connect", &addr, "--encoding", self.encoding],
        };
        Shell::start(&[&own[..], &way].concat())
    }
}

/// Where the stores are: in memory where that is a directory, since a kill leaves what was written to the
/// system wherever it is kept. Of a test that fails they are left behind.
struct Stores(Option<TempDir>);

impl Stores {
    fn new() -> Self {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() };
        Self(Some(dir.unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.as_ref().unwrap().path().join(name).with_extension("redb")
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(dir) = self.0.take()
        {
            say(&format!("the stores are left in {}", dir.keep().display()));
        }
    }
}
