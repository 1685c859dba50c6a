//! A view: what its source shows of the channels that it follows, joined with what it wrote itself and the source does
//! not cover yet.
//!
//! Of a record to which there are no own writes of that sort, the store has the copy: the source's state of it. Of the
//! others a row, *pending*, has the copy and the own part, and the store has them joined. Whatever the source changes in
//! what is shown goes into this node's log, as a transaction that no peer gets; so watchers see it, and a crash keeps
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::followed::{
    AT_ONCE, Followed, Following, MEMBER, PENDING, PENDING_UNTIL, Place, SHOWN, SUBSCRIPTION,
    Subscription, UNCOVERED_BYTES, VIEW_ROW, member_key, note_own, pending, scribes, shown_row,
    write_followed, write_subscription,
};
use super::index::{damaged, key_bytes, read_key};
use super::{Changed, Effects, Event, Intake, Own, SessionId};
use crate::channel::{Channel, Sum};
use crate::digest::{Digest, Point};
use crate::error::{Error, UsageError};
use crate::id::{NodeId, RecordKey};
use crate::limits::{SUBSCRIPTIONS_MAX, TRANSACTION_SCRIBES_MAX};
use crate::record::Record;
use crate::scribe::Transaction;
use crate::stamp::{Now, Stamp};
use crate::state;
use crate::store::{StoreError, View};
use crate::verdict::Verdict;

/// What one step makes of a view.
pub(crate) struct Showing<'a, V> {
    pub(crate) intake: &'a mut Intake,
    followed: &'a Followed,
    pub(crate) following: Following,
    view: &'a V,
    /// What the source shows of records from here on.
    copies: BTreeMap<RecordKey, Option<Arc<Record>>>,
}

impl<'a, V: View> Showing<'a, V> {
    pub(crate) fn new(followed: &'a Followed, intake: &'a mut Intake, view: &'a V) -> Self {
        let Followed { source, covered, .. } = *followed;
        let following = Following { source, covered, changed: BTreeMap::new() };
        Self { intake, followed, following, view, copies: BTreeMap::new() }
    }

    /// A subscription as it is after what was changed so far.
    pub(crate) fn subscription(&self, channel: Digest) -> Option<&Subscription> {
        match self.following.changed.get(&channel) {
            Some(changed) => changed.as_ref(),
            None => self.followed.subscriptions.get(&channel),
        }
    }

    /// Changes a subscription, if it is there.
    pub(crate) fn change(&mut self, channel: Digest, change: impl FnOnce(&mut Subscription)) {
        if let Some(mut subscription) = self.subscription(channel).cloned() {
            change(&mut subscription);
            self.following.changed.insert(channel, Some(subscription));
        }
    }

    /// Follows a channel from here on, unless it is followed already. Returns whether it was not.
    pub(crate) fn subscribe(&mut self, channel: Channel) -> bool {
        let hash = channel.hash();
        let is_new = self.subscription(hash).is_none();
        if is_new {
            let place = Place::At(Point::START);
            let subscription = Subscription { channel, place, sum: Sum::default() };
            self.following.changed.insert(hash, Some(subscription));
        }
        is_new
    }

    /// Follows a channel no more. Returns whether it was followed.
    pub(crate) fn unsubscribe(&mut self, channel: Digest) -> Result<bool, StoreError> {
        let was_there = self.subscription(channel).is_some();
        self.confirm(channel, None, None, |_| false)?;
        self.following.changed.insert(channel, None);
        Ok(was_there)
    }

    /// Follows a source from here on: of another one than before the points are unknown.
    pub(crate) fn follow(&mut self, source: NodeId) {
        if self.followed.source == Some(source) {
            return;
        }
        self.following.source = Some(source);
        for hash in self.followed.subscriptions.keys() {
            self.change(*hash, |it| it.place = Place::At(Point::START));
        }
    }

    /// The source shows a record, in these of the channels that are followed.
    pub(crate) fn show(
        &mut self,
        key: &RecordKey,
        channels: &[Digest],
        record: Record,
    ) -> Result<(), StoreError> {
        if channels.is_empty() || record.is_unknown() {
            return self.evict(key);
        }
        let (before, old) = self.shown(key)?;
        let new = state::hash(key, &record);
        #[cfg(all(feature = "planted", debug_assertions))]
        let new = match pending(key, &self.intake.rows, self.view)? {
            Some(pending) if crate::planted::is_planted(crate::planted::Planted::MergedSum) => {
                let mut merged = record.clone();
                merged.merge(&pending.own);
                state::hash(key, &merged)
            }
            _ => new,
        };
        for channel in before.iter().filter(|channel| !channels.contains(channel)) {
            self.leave(*channel, key, old);
        }
        for channel in channels {
            let was_in = before.contains(channel);
            self.change(*channel, |subscription| {
                if was_in {
                    subscription.sum.subtract(old);
                }
                subscription.sum.add(new);
            });
            if !was_in {
                self.intake.rows.put(member_key(*channel, key), Bytes::new());
            }
        }
        let row = shown_row(new, channels);
        self.intake.rows.put([SHOWN, &key_bytes(key)].concat(), row);
        self.copies.insert(key.clone(), Some(Arc::new(record)));
        Ok(())
    }

    /// The source shows a record no more.
    pub(crate) fn evict(&mut self, key: &RecordKey) -> Result<(), StoreError> {
        let (channels, hash) = self.shown(key)?;
        if channels.is_empty() {
            return Ok(());
        }
        for channel in channels {
            self.leave(channel, key, hash);
        }
        self.intake.rows.delete([SHOWN, &key_bytes(key)].concat());
        self.copies.insert(key.clone(), None);
        Ok(())
    }

    /// The records of a channel whose keys lie between two are these; what else was shown of it there has left it.
    pub(crate) fn confirm(
        &mut self,
        channel: Digest,
        after: Option<&RecordKey>,
        until: Option<&RecordKey>,
        confirmed: impl Fn(&RecordKey) -> bool,
    ) -> Result<(), StoreError> {
        let prefix = [MEMBER, &channel.0].concat();
        let until = until.map(key_bytes);
        let mut after: Option<Vec<u8>> = after.map(|after| member_key(channel, after));
        loop {
            let rows = &self.intake.rows;
            let (found, next) = rows.list(&prefix, after.as_deref(), AT_ONCE, self.view)?;
            for (row, _) in &found {
                let bytes = row.get(prefix.len()..).unwrap_or_default();
                if until.as_deref().is_some_and(|until| bytes > until) {
                    return Ok(());
                }
                let key = read_key(bytes).ok_or_else(|| damaged("a record that is shown"))?;
                if !confirmed(&key) {
                    self.leave_one(channel, &key)?;
                }
            }
            match next {
                None => return Ok(()),
                Some(next) => after = Some(next.to_vec()),
            }
        }
    }

    /// A record has left one channel; it may be in others.
    fn leave_one(&mut self, left: Digest, key: &RecordKey) -> Result<(), StoreError> {
        let (channels, hash) = self.shown(key)?;
        let rest: Vec<Digest> = channels.iter().copied().filter(|it| *it != left).collect();
        if rest.is_empty() {
            return self.evict(key);
        }
        self.leave(left, key, hash);
        self.intake.rows.put([SHOWN, &key_bytes(key)].concat(), shown_row(hash, &rest));
        Ok(())
    }

    fn leave(&mut self, channel: Digest, key: &RecordKey, hash: Digest) {
        self.intake.rows.delete(member_key(channel, key));
        self.change(channel, |subscription| subscription.sum.subtract(hash));
    }

    /// The channels in which the source shows a record, and the hash of what it shows.
    fn shown(&self, key: &RecordKey) -> Result<(Vec<Digest>, Digest), StoreError> {
        let row = self.intake.rows.get(&[SHOWN, &key_bytes(key)].concat(), self.view)?;
        let Some(row) = row else {
            return Ok((Vec::new(), Digest::EMPTY));
        };
        let (hashes, rest) = row.as_chunks();
        match hashes.split_first() {
            Some((hash, channels)) if rest.is_empty() => {
                Ok((channels.iter().map(|channel| Digest(*channel)).collect(), Digest(*hash)))
            }
            _ => Err(damaged("a record that is shown")),
        }
    }

    /// The source covers this node's log up to an offset.
    pub(crate) fn cover(&mut self, covered: u64) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        'all: loop {
            let rows = &self.intake.rows;
            let (found, next) = rows.list(PENDING_UNTIL, after.as_deref(), AT_ONCE, self.view)?;
            for (row, _) in &found {
                let rest = row.get(PENDING_UNTIL.len()..).and_then(<[u8]>::split_first_chunk);
                let (until, key) = rest.ok_or_else(|| damaged("what is pending"))?;
                if u64::from_be_bytes(*until) > covered {
                    break 'all;
                }
                let key = read_key(key).ok_or_else(|| damaged("what is pending"))?;
                let pending = pending(&key, &self.intake.rows, self.view)?;
                self.intake.rows.delete(row.to_vec());
                self.intake.rows.delete([PENDING, &key_bytes(&key)].concat());
                if let Some(pending) = pending {
                    let copy = pending.copy.filter(|_| !pending.is_gone);
                    self.copies.entry(key).or_insert(copy.map(Arc::new));
                }
            }
            match next {
                None => break,
                Some(next) => after = Some(next.to_vec()),
            }
        }
        self.following.covered = covered;
        Ok(())
    }

    /// The source covers less of this node's log than was known: it was restored, or another one has taken its place. What
    /// it does not cover is pending again. Returns whether that is so.
    pub(crate) fn uncover(&mut self, covered: u64, own: &Own) -> Result<bool, StoreError> {
        let end = self.followed.covered;
        let mut at = covered;
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::CoveredForEver) {
            return Ok(false);
        }
        while at < end {
            let (transactions, _) = own.transactions(at, UNCOVERED_BYTES, self.view)?;
            if transactions.is_empty() {
                return Err(damaged("the log that was covered"));
            }
            for transaction in transactions {
                at += transaction.len();
                if at > end || transaction.is_local() {
                    continue;
                }
                note_own(&transaction, at, &mut self.intake.rows, self.view)?;
                for scribe in scribes(&transaction)? {
                    let pending = pending(&scribe.key, &self.intake.rows, self.view)?;
                    let pending = pending.filter(|pending| !pending.is_gone);
                    let copy = pending.and_then(|pending| pending.copy).map(Arc::new);
                    self.copies.insert(scribe.key, copy);
                }
            }
        }
        if covered < end {
            self.following.covered = covered;
        }
        Ok(covered < end)
    }

    #[cfg(all(feature = "planted", debug_assertions))]
    pub(crate) fn members(&self, channel: Digest) -> Result<Vec<RecordKey>, StoreError> {
        let prefix = [MEMBER, &channel.0].concat();
        let (rows, _) = self.intake.rows.list(&prefix, None, usize::MAX, self.view)?;
        Ok(rows.iter().filter_map(|(key, _)| read_key(&key[prefix.len()..])).collect())
    }

    /// Ends the step: what is shown of the records follows from what the source shows and what is pending. Returns what
    /// changes.
    pub(crate) fn finish(self) -> Result<Vec<(RecordKey, Arc<Record>)>, StoreError> {
        let Self { intake, following, view, copies, .. } = self;
        let mut shown = Vec::new();
        for (key, copy) in copies {
            let mut after = copy.clone().unwrap_or_default();
            if let Some(mut pending) = pending(&key, &intake.rows, view)? {
                // What the source shows no more goes on being shown until the own writes to it are covered.
                pending.is_gone = copy.is_none();
                if let Some(copy) = copy {
                    pending.copy = Some(Record::clone(&copy));
                } else if let Some(last) = &pending.copy {
                    after = Arc::new(last.clone());
                }
                Arc::make_mut(&mut after).merge(&pending.own);
                intake.rows.put([PENDING, &key_bytes(&key)].concat(), pending.write());
            }
            let before = intake.record(&key, view)?.unwrap_or_default();
            if before != after {
                shown.push((key, after));
            }
        }
        let Following { source, covered, changed } = &following;
        intake.rows.put(VIEW_ROW.to_vec(), write_followed(*source, *covered));
        for (channel, subscription) in changed {
            let key = [SUBSCRIPTION, &channel.0].concat();
            match subscription {
                Some(subscription) => intake.rows.put(key, write_subscription(subscription)),
                None => intake.rows.delete(key),
            }
        }
        intake.following = Some(following);
        Ok(shown)
    }
}

impl Own {
    /// On a view: what it has written itself is pending until its source covers it.
    pub(super) fn note_pending(
        &self,
        intake: &mut Intake,
        view: &impl View,
    ) -> Result<(), StoreError> {
        if self.followed.is_none() {
            return Ok(());
        }
        let own = intake.entries.iter().filter(|entry| !entry.transaction.is_local());
        let own: Vec<_> =
            own.map(|entry| (entry.end().offset, entry.transaction.clone())).collect();
        own.into_iter().try_for_each(|(end, it)| note_own(&it, end, &mut intake.rows, view))
    }

    /// Whether the node is a view.
    pub(crate) fn is_view(&self) -> bool {
        self.followed.is_some()
    }

    /// What the node follows, if it is a view.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.followed.iter().flat_map(|followed| followed.subscriptions.values())
    }

    /// One of the channels that the node follows.
    pub(crate) fn subscription(&self, channel: Digest) -> Option<&Subscription> {
        self.followed.as_ref()?.subscriptions.get(&channel)
    }

    /// Follows a channel from here on. Returns whether it was not followed before.
    pub(super) fn subscribe(
        &mut self,
        channel: Channel,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<bool, Error> {
        let mut intake = self.intake();
        let mut showing = self.showing(&mut intake, view).ok_or(UsageError::NoView)?;
        if !showing.subscribe(channel) {
            return Ok(false);
        }
        if showing.followed.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(UsageError::TooManySubscriptions.into());
        }
        showing.finish()?;
        effects.commit = Some(self.commit(intake, Vec::new()));
        Ok(true)
    }

    /// Follows a channel no more. Returns whether it was followed.
    pub(super) fn unsubscribe(
        &mut self,
        now: Now,
        channel: Digest,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<bool, Error> {
        if channel == Channel::of_node(self.author().node).hash() {
            return Ok(false);
        }
        let mut intake = self.intake();
        let mut showing = self.showing(&mut intake, view).ok_or(UsageError::NoView)?;
        if !showing.unsubscribe(channel)? {
            return Ok(false);
        }
        let shown = showing.finish()?;
        self.commit_shown(now, shown, intake, view, effects)?;
        Ok(true)
    }

    /// Begins a step of a view; `None` on a node that is none.
    pub(crate) fn showing<'a, V: View>(
        &'a self,
        intake: &'a mut Intake,
        view: &'a V,
    ) -> Option<Showing<'a, V>> {
        Some(Showing::new(self.followed.as_ref()?, intake, view))
    }

    /// Ends a step of a view that no message has asked for: what it shows from here on goes into the log, is told and
    /// committed.
    pub(crate) fn commit_shown(
        &mut self,
        now: Now,
        shown: Vec<(RecordKey, Arc<Record>)>,
        mut intake: Intake,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        self.append_shown(now, shown, &mut intake, None, view)?;
        view_events(&mut intake, self.author().node, effects);
        effects.commit = Some(self.commit(intake, Vec::new()));
        Ok(())
    }

    /// Notes in the log what a view shows from here on.
    pub(crate) fn append_shown(
        &mut self,
        now: Now,
        shown: Vec<(RecordKey, Arc<Record>)>,
        intake: &mut Intake,
        session: Option<SessionId>,
        view: &impl View,
    ) -> Result<(), StoreError> {
        #[cfg(all(feature = "planted", debug_assertions))]
        let shown = match crate::planted::is_planted(crate::planted::Planted::EvictionsInMemory) {
            true => intake.shown_in_memory(shown),
            false => shown,
        };
        for shown in shown.chunks(TRANSACTION_SCRIBES_MAX) {
            let Some(time) = self.clock.next(now.wall_ms, None) else {
                return Err(StoreError::Corrupt { what: "the clock is at its end".to_owned() });
            };
            // That a step fails after this costs a time and nothing else.
            self.clock.issued(time, now.wall_ms);
            let transaction = Transaction::local(Stamp { time, author: self.author() }, shown);
            intake.append_read(transaction, session, view)?;
        }
        Ok(())
    }

    /// Follows the stamps of what a source shows, and notices when somebody else writes in this node's name and epoch.
    pub(crate) fn note_shown(&mut self, now: Now, changed: &Changed) -> Option<Event> {
        let stamps = changed.after.stamps();
        let mut forked = None;
        for stamp in stamps {
            if stamp.author == self.author() && stamp.time > self.issued() {
                forked = forked.or(self.note_fork(
                    &changed.after.created().map_or([0; 8], |it| it.time.bits().to_be_bytes()),
                ));
            }
            // Stamps of the future move no clock.
            let _ = self.observe(stamp.time, now);
        }
        forked
    }
}

/// Moves what a step tells to its effects, with the verdicts that it has brought.
pub(crate) fn view_events(intake: &mut Intake, node: NodeId, effects: &mut Effects) {
    let verdicts = intake.events.iter().filter_map(|event| Verdict::of_event(event, node));
    let refused: Vec<Event> = verdicts.map(Event::Refused).collect();
    effects.events.append(&mut intake.events);
    effects.events.extend(refused);
}
