//! Deciding on what peers send: taken, or refused, undone and told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::followed::scribes;
use super::intake::Found;
use super::{Intake, Own, SessionId, Taken, repair};
use crate::channel::{MODELS, Templates};
use crate::fields::{Field, Fields};
use crate::id::{Name, NodeId, RecordKey};
use crate::limits::{FUTURE_MS, REPAIR_BYTES_MAX, REPAIR_BYTES_PER_S, REPAIR_LEAD_MS};
use crate::model::{FieldsReader, FieldsWriter, ScribeModel};
use crate::principal::{Access, Attempt, Permissions, Principal, Refusal, Trial};
use crate::quarantine::Parked;
use crate::record::{Element, Path, Record};
use crate::scribe::{Mark, Scribe, Transaction};
use crate::stamp::{Author, Now, Stamp, Time};
use crate::store::{StoreError, View};
use crate::verdict::Verdict;

/// What a node that is an authority goes by.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) permissions: Arc<dyn Permissions>,
    pub(super) templates: Templates,
    /// By principal: bytes of what was written lately in place of what it may not do, and until when that was counted.
    spent: BTreeMap<String, (u64, u64)>,
}

/// Who brings transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    pub(crate) session: SessionId,
    pub(crate) peer: NodeId,
    pub(crate) principal: &'a Principal,
    /// Whether it is a view: then what is refused has gone nowhere else, and the view shows it no longer.
    pub(crate) is_view: bool,
}

/// How much of a refused transaction is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// All of it, wherever it may have gone.
    All,
    /// What the author's running totals will go on containing.
    Totals,
    Nothing,
}

/// Records of a model read at once.
const READ_AT_ONCE: usize = 256;

impl Judge {
    /// Reads the templates of every model.
    pub(super) fn new(
        permissions: Arc<dyn Permissions>,
        view: &impl View,
    ) -> Result<Self, StoreError> {
        let mut templates = Templates::default();
        let (models, mut after) = (Name::fixed(MODELS), None);
        loop {
            let records = view.records(&models, after.as_ref(), READ_AT_ONCE)?;
            let Some((last, _)) = records.last() else {
                return Ok(Self { permissions, templates, spent: BTreeMap::new() });
            };
            after = Some(last.clone());
            records.iter().for_each(|(id, record)| templates.take(id, record));
        }
    }

    /// Bytes that may be written in place of what a principal may not do.
    pub(crate) fn left(&self, principal: &Principal, now: Now) -> usize {
        let spent = self.spent.get(&principal.name).map_or(0, |spent| still_spent(*spent, now));
        REPAIR_BYTES_MAX.saturating_sub(spent as usize)
    }

    /// Notes that so many bytes were written.
    pub(crate) fn spend(&mut self, principal: &Principal, bytes: usize, now: Now) {
        if bytes == 0 {
            return;
        }
        self.spent.retain(|_, spent| still_spent(*spent, now) > 0);
        let spent = self.spent.entry(principal.name.clone()).or_insert((0, now.monotonic_ms));
        *spent = (still_spent(*spent, now) + bytes as u64, now.monotonic_ms);
    }

    /// Notes what has become of the templates of a model.
    pub(super) fn note(&mut self, key: &RecordKey, record: &Record) {
        if key.model.as_str() == MODELS {
            self.templates.take(&key.id, record);
        }
    }

    pub(super) fn judge(
        &self,
        now: Now,
        stamp: Stamp,
        trials: &[Trial],
        bearer: Bearer<'_>,
    ) -> Result<(), Refusal> {
        let is_relayed = stamp.author.node != bearer.peer;
        let author = is_relayed.then(|| self.permissions.author(stamp.author.node)).flatten();
        // The bearer's own rights last as long as its session.
        if author.as_ref().is_some_and(|author| author.is_over(now)) {
            return Err(Refusal::new(Refusal::SILENCE, "its author's rights have ended"));
        }
        let principal = author.as_deref().unwrap_or(bearer.principal);
        let skew_ms = skew_ms(stamp, now);
        if skew_ms > FUTURE_MS && principal.write != Access::All {
            let message =
                format!("its stamp is {skew_ms} ms in the future: its author's clock is wrong");
            return Err(Refusal::new(Refusal::FUTURE, message));
        }
        trials.iter().try_for_each(|trial| self.judge_trial(stamp.author, trial, principal))?;
        self.permissions.authorize(&Attempt { principal, stamp, now, trials })
    }

    /// What no application needs to be asked about.
    fn judge_trial(
        &self,
        author: Author,
        trial: &Trial,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        if principal.write == Access::All || trial.is_idle() {
            return Ok(());
        }
        let (key, mark) = (trial.key(), trial.scribe.mark);
        // Somebody else was first: there is nothing left to be forbidden.
        let is_destroyed = trial.before.as_ref().is_some_and(|before| before.destroyed().is_some());
        if mark == Mark::Destroy && is_destroyed && !trial.was_alive() {
            return Ok(());
        }
        if key.model.is_reserved() {
            let message = || format!("{key}: only an authority writes records of {}", key.model);
            let is_dealt_with = mark == Mark::Destroy && verdict_of(trial) == Some(author.node);
            return match is_dealt_with {
                true => Ok(()),
                false => Err(Refusal::new(Refusal::RESERVED, message())),
            };
        }
        let others = trial.scribe.fields.iter().any(
            |(path, _)| matches!(path.element, Some(Element::Author(other)) if other != author),
        );
        if others {
            let message = format!("{key}: it raises a counter in another's name");
            return Err(Refusal::new(Refusal::FORGED, message));
        }
        if !trial.was_alive() && !mark.creates() {
            let message = format!("{key} is not there, or not any more");
            return Err(Refusal::new(Refusal::GONE, message));
        }
        let before = self.templates.channels(key, trial.before.as_deref());
        let after = self.templates.channels(key, Some(&trial.after));
        let Some((before, after)) = before.zip(after) else {
            let message = format!("{key} is in more channels than a record may be");
            return Err(Refusal::new(Refusal::CHANNEL, message));
        };
        let may_write = |channel| principal.write.has(channel);
        // Whoever may write into one of the channels that it is in may change a record. To let it enter or leave one takes
        // the right to that one.
        let is_moved =
            |channel: &_| mark.destroys() || before.contains(channel) != after.contains(channel);
        let all: BTreeSet<_> = before.union(&after).collect();
        let forbidden = all.iter().find(|channel| is_moved(**channel) && !may_write(**channel));
        if let Some(channel) = forbidden {
            let hint = match self.templates.has(&key.model) {
                true => "",
                false => {
                    ", where all records of a model are whose channels the authority was not told: name the model \
                     there (`NodeBuilder::model`, or `Rules::model`), or let the author write into that channel"
                }
            };
            let message = format!("{key}: its author may not write into channel {channel}{hint}");
            return Err(Refusal::new(Refusal::CHANNEL, message));
        }
        let mut home = if trial.was_alive() { before.iter() } else { after.iter() };
        if !home.any(may_write) {
            let message = format!("{key} is in no channel into which its author may write");
            return Err(Refusal::new(Refusal::CHANNEL, message));
        }
        Ok(())
    }
}

/// What would become of each record.
pub(super) fn trials(
    intake: &Intake,
    stamp: Stamp,
    scribes: Vec<Scribe>,
    view: &impl View,
) -> Result<Vec<Trial>, StoreError> {
    let trials = scribes.into_iter().map(|scribe| {
        let (key, part) = scribe.clone().into_record(stamp);
        let before = intake.record(&key, view)?;
        let mut after = before.as_deref().cloned().unwrap_or_default();
        after.merge(&part);
        Ok(Trial { scribe, before, after: Arc::new(after) })
    });
    trials.collect()
}

/// Whom a verdict is for that the trial is about.
fn verdict_of(trial: &Trial) -> Option<NodeId> {
    let before =
        trial.before.as_deref().filter(|_| trial.key().model.as_str() == Verdict::MODEL)?;
    let verdict = FieldsReader::instance::<Verdict>(&trial.key().id, &Fields::of(before));
    verdict.ok().map(|verdict| verdict.to)
}

impl Own {
    /// Takes a transaction from a peer that may not do everything. What is refused is not taken: what is written in its
    /// place undoes it wherever else it may be, and tells its author.
    pub(crate) fn take_judged(
        &mut self,
        now: Now,
        intake: &mut Intake,
        transaction: &Transaction,
        bearer: Bearer<'_>,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        let collides = match intake.find(transaction, view)? {
            Found::Held(held) => return Ok(held),
            Found::New { collides } => collides,
        };
        let stamp = transaction.stamp();
        if !self.may_bring(bearer, stamp.author) {
            return Ok(Taken::Forged);
        }
        if stamp.author.node == self.author().node {
            return intake.take_new(transaction, collides, bearer.session, view);
        }
        let trials = trials(intake, stamp, scribes(transaction)?, view)?;
        // What changes nothing needs no leave, and nobody needs it: it was refused before, or comes too late.
        if trials.iter().all(Trial::is_idle) {
            return Ok(Taken::Aside { bytes: 0 });
        }
        let judged = match &self.judge {
            Some(judge) => judge.judge(now, stamp, &trials, bearer),
            None => Ok(()),
        };
        match judged {
            Ok(()) => intake.take_new(transaction, collides, bearer.session, view),
            Err(refusal) if refusal.code == Refusal::FAILED => {
                let parked = Parked {
                    // It outlives what it came with.
                    transaction: Bytes::copy_from_slice(transaction.bytes()),
                    bearer: bearer.peer,
                    principal: Some(bearer.principal.clone()),
                    since_ms: now.wall_ms,
                    reason: refusal.message,
                };
                intake.park(parked, view)
            }
            Err(refusal) => {
                // What is written above a stamp of the future can itself be written over only there.
                let undo = match skew_ms(stamp, now) <= REPAIR_LEAD_MS {
                    false => Undo::Nothing,
                    true if bearer.is_view && stamp.author.node == bearer.peer => Undo::Totals,
                    true => Undo::All,
                };
                let told = Time::from_ms(now.wall_ms);
                self.refuse(intake, transaction, refusal, (&trials, undo), told, view)
            }
        }
    }

    /// Whether somebody may bring what an author wrote. What this node wrote itself, and has lost, it takes from those who
    /// may do everything. Of what else was lost nobody can tell whether it is forged: nobody is blamed, and its author may
    /// bring it.
    pub(crate) fn may_bring(&self, bearer: Bearer<'_>, author: Author) -> bool {
        let Principal { relays, write, .. } = bearer.principal;
        if author.node == self.author().node {
            return *relays && *write == Access::All;
        }
        *relays || author.node == bearer.peer
    }

    /// Refuses a transaction that was set aside, if it would still make a difference.
    pub(super) fn refuse_parked(
        &mut self,
        intake: &mut Intake,
        transaction: &Transaction,
        refusal: Refusal,
        view: &impl View,
    ) -> Result<(), StoreError> {
        let trials = trials(intake, transaction.stamp(), scribes(transaction)?, view)?;
        let told = self.clock();
        self.refuse(intake, transaction, refusal, (&trials, Undo::All), told, view)?;
        Ok(())
    }

    /// Writes what undoes a transaction, and the verdict: where nothing is undone, with a stamp about that of the
    /// transaction, but no later than it is `told`.
    fn refuse(
        &mut self,
        intake: &mut Intake,
        transaction: &Transaction,
        refusal: Refusal,
        (trials, undo): (&[Trial], Undo),
        told: Time,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        let stamp = transaction.stamp();
        // Above the end of time nothing can be written.
        let undo = if stamp.time.next() < Time::END { undo } else { Undo::Nothing };
        let mut repairs = Vec::new();
        for trial in trials.iter().filter(|trial| !trial.is_idle()) {
            match undo {
                Undo::All => repairs.extend(repair::repair(trial, stamp)),
                Undo::Totals => repairs.extend(repair::settlement(trial, stamp)),
                Undo::Nothing => {}
            }
            if repair::bytes(&repairs) > REPAIR_BYTES_MAX {
                // Too much for anybody: its author goes on seeing it.
                repairs.clear();
                break;
            }
        }
        // Others' activity, which shows in the clock, is nothing that the author should see.
        let time = if repairs.is_empty() { stamp.time.min(told) } else { stamp.time };
        let floor = Stamp { time, ..stamp };
        let records = trials.iter().map(|trial| trial.key().clone());
        let verdict = Verdict::new(stamp.author.node, transaction, refusal, records);
        let key = verdict.key();
        let mut scribes = Vec::new();
        // Whoever was told before, and has dismissed it, is not told again.
        if intake.record(&key, view)?.is_none() {
            scribes.extend(creation(&verdict, key));
        }
        scribes.append(&mut repairs);
        let packs = repair::packed(scribes);
        let mut bytes = 0;
        for (stamp, scribes) in self.repairs.stamps_above(floor, packs.len()).into_iter().zip(packs)
        {
            let transaction = Transaction::new(stamp, &scribes);
            bytes += transaction.bytes().len();
            intake.append_read(transaction, None, view)?;
        }
        Ok(Taken::Aside { bytes })
    }
}

/// What is left of what was spent up to a time.
fn still_spent((bytes, at_ms): (u64, u64), now: Now) -> u64 {
    let passed_ms = now.monotonic_ms.saturating_sub(at_ms);
    bytes.saturating_sub(passed_ms.saturating_mul(REPAIR_BYTES_PER_S) / 1000)
}

/// By how many milliseconds a stamp leads the wall clock.
fn skew_ms(stamp: Stamp, now: Now) -> u64 {
    stamp.time.ms().saturating_sub(now.wall_ms)
}

/// The scribe that creates a verdict.
fn creation(verdict: &Verdict, key: RecordKey) -> Option<Scribe> {
    let mut fields = Vec::new();
    let written = FieldsWriter::fields_of(verdict).ok()?;
    for (name, field) in written.iter() {
        if let Field::Value(value) = field {
            fields.push((Path::field(name.clone()), value.clone()));
        }
    }
    Some(Scribe { key, mark: Mark::Create, fields })
}
