//! Stories and crashes as chance has them.

use syncro_core::{Error, View};

use crate::behind;
use crate::crash::numbers;
use crate::disk::Disk;
use crate::node::{Closing, Node, Settings};
use crate::peer::{Link, Peer};
use crate::proof::{Proof, Provable, Question, Tally};
use crate::scenarios::{destroy, fill, fresh, put, put_many, raise};

/// How many crashes each story gets.
const CRASHES: u64 = 60;

/// Tells a story by its seed, and crashes it here and there.
pub(crate) fn crash_at_random(seed: u64, question: &Question) -> Tally {
    let mut random = numbers(seed);
    let (name, question) = (format!("random-{seed}"), question.clone().for_random());
    if seed.is_multiple_of(3) {
        return crash_by_chance(&behind::random_proof(&name, &mut random, question), &mut random);
    }
    let settings = Settings {
        cache_bytes: 32 << (10 + random() % 4),
        journal_bytes: [0, 8, 40, 1024][random() as usize % 4] << 10,
        overlay_bytes: 8 << (10 + random() % 8),
    };
    let mut node = Node::new(settings, Disk::default());
    tell(&mut node, &mut random).unwrap();
    crash_by_chance(&Proof::new(&name, settings, node.past(), question), &mut random)
}

fn crash_by_chance(proof: &impl Provable, random: &mut impl FnMut() -> u64) -> Tally {
    (0..CRASHES).for_each(|_| proof.crash_by(random()));
    proof.tally()
}

/// Does whatever a node may do, in any order.
fn tell(node: &mut Node, random: &mut impl FnMut() -> u64) -> Result<(), Error> {
    let mut peer = Peer::new();
    node.open()?;
    for step in 0..20 + random() % 40 {
        let id = (random() % 20) as i64;
        match random() % 20 {
            0..6 => put(node, id, (random() % 2_000) as usize)?,
            6 => put(node, id, (random() % (200 << 10)) as usize)?,
            7 => put_many(node, id..id + (random() % 80) as i64, 200)?,
            8 => fill(node, id, 2, (random() % 30_000) as usize)?,
            9 if is_alive(node, id)? => destroy(node, id)?,
            10 if is_alive(node, id)? => raise(node, id)?,
            11 => node.begin_checkpoint()?,
            12 => node.checkpoint()?,
            13 | 14 => node.write_behind()?,
            15 => {
                node.close(if random().is_multiple_of(2) {
                    Closing::Tidy
                } else {
                    Closing::Abrupt
                })?;
                node.open()?;
            }
            16 => node.compact()?,
            17 => {
                (0..random() % 5).for_each(|at| peer.propose(fresh((step * 10 + at) as i64, 500)));
                let (messages_max, messages_per_sync) = (random() % 12, 1 + random() % 3);
                Link::new(step).run(
                    node,
                    &mut peer,
                    messages_max as usize,
                    messages_per_sync as usize,
                )?;
            }
            _ => node.sync()?,
        }
    }
    node.close(Closing::Abrupt)
}

fn is_alive(node: &Node, id: i64) -> Result<bool, Error> {
    let record = node.store().record(&crate::scenarios::note(id))?;
    Ok(record.is_some_and(|record| record.is_alive()))
}
