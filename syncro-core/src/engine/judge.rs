//! Deciding on what peers send: taken, or refused, undone and told.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::intake::Found;
use super::{Intake, Own, SessionId, Taken, repair};
use crate::channel::{MODELS, Templates};
use crate::fields::{Field, Fields};
use crate::id::{Name, NodeId, RecordKey};
use crate::limits::{FUTURE_MS, REPAIR_BYTES_MAX};
use crate::model::{FieldsReader, FieldsWriter, ScribeModel};
use crate::principal::{Access, Attempt, Permissions, Principal, Refusal, Trial};
use crate::record::{Element, Path, Record};
use crate::scribe::{Mark, Scribe, Transaction};
use crate::stamp::{Author, Now, Stamp, Time};
use crate::store::{Held, StoreError, View};
use crate::verdict::{Verdict, is_reserved};

/// What a node that is an authority goes by.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) permissions: Arc<dyn Permissions>,
    templates: Templates,
}

/// Who brings transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    pub(crate) session: SessionId,
    pub(crate) peer: NodeId,
    pub(crate) principal: &'a Principal,
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
                return Ok(Self { permissions, templates });
            };
            after = Some(last.clone());
            records.iter().for_each(|(id, record)| templates.take(id, record));
        }
    }

    /// Notes what has become of the templates of a model.
    pub(super) fn note(&mut self, key: &RecordKey, record: &Record) {
        if key.model.as_str() == MODELS {
            self.templates.take(&key.id, record);
        }
    }

    fn judge(
        &self,
        now: Now,
        stamp: Stamp,
        trials: &[Trial],
        bearer: Bearer<'_>,
    ) -> Result<(), Refusal> {
        let is_relayed = stamp.author.node != bearer.peer;
        if is_relayed && !bearer.principal.relays {
            let message = "the transaction was written by another node than the one that brings it";
            return Err(Refusal::new(Refusal::FORGED, message));
        }
        let skew_ms = stamp.time.ms().saturating_sub(now.wall_ms);
        if skew_ms > FUTURE_MS && bearer.principal.write != Access::All {
            let message =
                format!("its stamp is {skew_ms} ms in the future: its author's clock is wrong");
            return Err(Refusal::new(Refusal::FUTURE, message));
        }
        let author = is_relayed.then(|| self.permissions.author(stamp.author.node)).flatten();
        let principal = author.as_deref().unwrap_or(bearer.principal);
        if principal.is_over(now) {
            return Err(Refusal::new(Refusal::SILENCE, "its author's rights have ended"));
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
        if principal.write == Access::All {
            return Ok(());
        }
        let (key, mark) = (trial.key(), trial.scribe.mark);
        if is_reserved(&key.model) {
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
        let may_write = |channel| principal.write.has(channel);
        // Whoever may write into one of its channels may change a record. To let it enter or leave one takes the right
        // to that one.
        let is_moved =
            |channel: &_| mark.destroys() || before.contains(channel) != after.contains(channel);
        let all: BTreeSet<_> = before.union(&after).collect();
        let forbidden = all.iter().find(|channel| is_moved(**channel) && !may_write(**channel));
        if let Some(channel) = forbidden {
            let message = format!("{key}: its author may not write into channel {channel}");
            return Err(Refusal::new(Refusal::CHANNEL, message));
        }
        if !all.into_iter().any(may_write) {
            let message = format!("{key} is in no channel into which its author may write");
            return Err(Refusal::new(Refusal::CHANNEL, message));
        }
        Ok(())
    }
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
        &self,
        now: Now,
        intake: &mut Intake,
        transaction: &Transaction,
        scribes: Vec<Scribe>,
        bearer: Bearer<'_>,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        let Some(judge) = self.judge.as_ref() else {
            return intake.take(transaction, scribes, bearer.session, view);
        };
        if let Found::Held(held) = intake.find(transaction, view)? {
            return Ok(held);
        }
        let stamp = transaction.stamp();
        let trials = scribes.iter().map(|scribe| {
            let before = intake.record(&scribe.key, view)?;
            let (_, after) = scribe.clone().play(before.as_deref(), stamp);
            Ok(Trial { scribe: scribe.clone(), before, after: Arc::new(after) })
        });
        let trials = trials.collect::<Result<Vec<_>, StoreError>>()?;
        // What this node has lost itself it takes from those who may bring it, and takes it ill of nobody else.
        if stamp.author.node == self.author().node && !bearer.principal.relays {
            return Ok(Taken::Aside { bytes: 0 });
        }
        // What changes nothing needs no leave, and nobody needs it: it was refused before, or comes too late.
        if trials.iter().all(|trial| trial.before.as_ref() == Some(&trial.after)) {
            return Ok(Taken::Aside { bytes: 0 });
        }
        match judge.judge(now, stamp, &trials, bearer) {
            Ok(()) => intake.take(transaction, scribes, bearer.session, view),
            Err(refusal) => self.refuse(intake, transaction, refusal, &trials, bearer, view),
        }
    }

    /// Writes what undoes a transaction, and the verdict. A forgery is not undone: whoever else has it has it from
    /// somebody who may send it.
    fn refuse(
        &self,
        intake: &mut Intake,
        transaction: &Transaction,
        refusal: Refusal,
        trials: &[Trial],
        bearer: Bearer<'_>,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        let stamp = transaction.stamp();
        let is_forged = refusal.code == Refusal::FORGED && stamp.author.node != bearer.peer;
        let to = if is_forged { bearer.peer } else { stamp.author.node };
        // What is written above a stamp of the future could itself be written over only there.
        let is_undone =
            !is_forged && refusal.code != Refusal::FUTURE && stamp.time.next() < Time::END;
        let (mut scribes, mut bytes) = (Vec::new(), 0);
        let records = trials.iter().map(|trial| trial.key().clone());
        let verdict = Verdict::new(to, transaction, refusal, records);
        let key = verdict.key();
        let known = intake.record(&key, view)?;
        if !known.is_some_and(|known| known.is_alive()) {
            scribes.extend(creation(&verdict, key));
        }
        for trial in trials.iter().filter(|_| is_undone) {
            scribes.extend(repair::repair(trial, stamp));
            bytes += trial.before.as_ref().map_or(0, |before| before.bytes());
            if bytes > REPAIR_BYTES_MAX {
                return Ok(Taken::Beyond);
            }
        }
        let floor = if is_undone { stamp } else { Stamp { time: self.clock(), ..stamp } };
        let packs = repair::packed(scribes);
        let mut bytes = 0;
        for (stamp, scribes) in self.stamps(floor, &packs, intake, view)?.into_iter().zip(packs) {
            let transaction = Transaction::new(stamp, &scribes);
            bytes += transaction.bytes().len();
            intake.note(&transaction);
            intake.append(transaction, scribes, None, |key| view.record(key))?;
        }
        Ok(Taken::Aside { bytes })
    }

    /// Stamps of this node's immediately above another, in rising order: above it, and below whatever its author writes
    /// next. Each moment has many of them, since each has an epoch of its own in which nothing else is written.
    fn stamps(
        &self,
        floor: Stamp,
        packs: &[Vec<Scribe>],
        intake: &Intake,
        view: &impl View,
    ) -> Result<BTreeSet<Stamp>, StoreError> {
        let mut stamps = BTreeSet::new();
        for number in 0_u64.. {
            let Some(scribes) = packs.get(stamps.len()) else {
                break;
            };
            let author = Author { node: self.author().node, epoch: self.repair_epoch(number) };
            let time = if author > floor.author { floor.time } else { floor.time.next() };
            let stamp = Stamp { time, author };
            if !intake.has_stamp(stamp) && view.held(&Transaction::new(stamp, scribes))? == Held::No
            {
                stamps.insert(stamp);
            }
        }
        Ok(stamps)
    }
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
