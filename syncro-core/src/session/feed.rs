//! Showing a view the channels that it asks for: catch-up and live changes are one stream.
//!
//! A view is told of present states only, never of what was: whatever was touched since its point is said once, as it is
//! now. How far it is in each channel is all that is kept for it, so a slow reader costs no more than a quick one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Fault, Outbox};
use crate::channel::{Channel, Templates};
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::engine::{Effects, Index, Own, Rows};
use crate::id::{NodeId, RecordKey};
use crate::limits::{BATCH_BYTES, LIVE_BYTES, SUBSCRIPTIONS_MAX};
use crate::message::{Items, Message, States, Told, Wanted};
use crate::principal::Principal;
use crate::state;
use crate::store::{StoreError, View};

/// Touches, or members, of a channel that are read at once.
const AT_ONCE: usize = 64;

/// Messages that are put together in one step, each of about a batch but the first.
const MESSAGES_MAX: usize = 8;

/// What reading a touch counts for in a batch, said or not: some thousands make one.
const TOUCH_BYTES: usize = 16;

/// What an item takes in a message besides a state, more or less.
const ITEM_BYTES: usize = 64;

/// How far a view is in this node's channels.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    channels: BTreeMap<u64, Fed>,
    numbers: BTreeMap<Digest, u64>,
    /// What the view may not read at present.
    withheld: BTreeMap<u64, Wanted>,
    /// What was asked for and not looked at yet.
    waiting: VecDeque<Wanted>,
    /// All that was asked for, the last number, and whether the view has not asked for all that it wants yet.
    asked: BTreeSet<Digest>,
    last_number: u64,
    is_asking: bool,
    /// The channels that may have more to say.
    dirty: BTreeSet<u64>,
    /// What is to be said, and its bytes, more or less.
    queue: VecDeque<Told>,
    queued_bytes: usize,
    /// The part of them that stands for what was read for it.
    read_bytes: usize,
    /// What was said of the view's own log, and whether it was said that there is nothing more.
    covers: Option<u64>,
    has_said_end: bool,
    /// Of which generation of the channels its points are.
    generation: u32,
    /// Bytes of `states` messages sent, and allowed.
    sent: u64,
    credit: u64,
}

#[derive(Clone, Debug)]
struct Fed {
    channel: Channel,
    hash: Digest,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// All records of the channel are said, in the order of their keys; then what was touched since the floor.
    Filling { after: Option<RecordKey>, floor: u64 },
    /// What was touched before this offset was said; whether a point was.
    At { offset: u64, has_point: bool },
}

/// Who the view is.
#[derive(Clone, Copy)]
pub(super) struct Viewer<'a> {
    pub(super) node: NodeId,
    pub(super) principal: &'a Principal,
}

impl Viewer<'_> {
    /// Whether it may read a channel. What is for its node alone, it may.
    fn may_read(&self, channel: &Channel) -> bool {
        self.principal.read.has(channel) || *channel == Channel::of_node(self.node)
    }
}

impl Feed {
    pub(super) fn new(credit: u64, generation: u32) -> Self {
        Self {
            channels: BTreeMap::new(),
            numbers: BTreeMap::new(),
            withheld: BTreeMap::new(),
            waiting: VecDeque::new(),
            asked: BTreeSet::new(),
            last_number: 0,
            is_asking: false,
            dirty: BTreeSet::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            read_bytes: 0,
            covers: None,
            has_said_end: false,
            generation,
            sent: 0,
            credit,
        }
    }

    pub(super) fn on_subscribe(
        &mut self,
        channels: Vec<Wanted>,
        has_more: bool,
    ) -> Result<(), Fault> {
        for wanted in channels {
            let is_new =
                wanted.number > self.last_number && self.asked.insert(wanted.channel.hash());
            if !is_new {
                return Err(Fault::peer(CloseReason::Unexpected));
            }
            if self.asked.len() > SUBSCRIPTIONS_MAX {
                let detail = format!("at most {SUBSCRIPTIONS_MAX} channels can be followed");
                return Err(Fault::Peer { reason: CloseReason::Forbidden, detail });
            }
            self.last_number = wanted.number;
            self.waiting.push_back(wanted);
        }
        self.is_asking = has_more;
        Ok(())
    }

    pub(super) fn on_unsubscribe(&mut self, numbers: &[u64]) {
        let numbers: BTreeSet<u64> = numbers.iter().copied().collect();
        let asked = &mut self.asked;
        self.waiting.retain(|wanted| {
            let is_kept = !numbers.contains(&wanted.number);
            if !is_kept {
                asked.remove(&wanted.channel.hash());
            }
            is_kept
        });
        for number in numbers {
            let channel = self.channels.get(&number).map(|fed| fed.hash);
            let withheld = self.withheld.remove(&number).map(|wanted| wanted.channel.hash());
            if let Some(channel) = channel.or(withheld) {
                self.asked.remove(&channel);
            }
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some(fed) = self.channels.remove(&number) {
            self.numbers.remove(&fed.hash);
            self.dirty.remove(&number);
        }
    }

    /// Whether the channels are others than when the view asked for them: it has to ask anew.
    pub(super) fn is_outdated(&self, own: &Own) -> bool {
        own.channels().is_none_or(|(index, _)| index.generation() != self.generation)
    }

    pub(super) fn on_ack(&mut self, point: Point, credit: u64) -> Result<(), Fault> {
        if point != Point::START {
            return Err(Fault::peer(CloseReason::Unexpected));
        }
        self.credit = self.credit.max(credit);
        Ok(())
    }

    /// Notes what the view may read from here on: of what it may not, nothing more is said, not even what was about to
    /// be. Returns whether the view has to ask anew, since what was about to be said cannot be told from that.
    pub(super) fn on_rights(&mut self, viewer: Viewer<'_>) -> bool {
        let lost = self.channels.iter().filter(|(_, fed)| !viewer.may_read(&fed.channel));
        let lost: Vec<u64> = lost.map(|(number, _)| *number).collect();
        for number in &lost {
            if let Some(fed) = self.channels.get(number) {
                self.withheld.insert(*number, Wanted::anew(*number, fed.channel.clone()));
            }
            self.forget(*number);
        }
        let is_lost = |number: &u64| lost.contains(number);
        let is_said = |told: &Told| match told {
            Told::State { numbers, .. } => numbers.iter().any(is_lost),
            _ => false,
        };
        if self.queue.iter().any(is_said) {
            return true;
        }
        self.queue.retain(|told| match told {
            Told::Point { number, .. }
            | Told::Fill { number, .. }
            | Told::Reached { number, .. }
            | Told::Filled { number } => !is_lost(number),
            Told::State { .. } | Told::Evict { .. } | Told::Withheld { .. } => true,
        });
        self.queued_bytes = self.queue.iter().map(size).sum::<usize>() + self.read_bytes;
        lost.into_iter().for_each(|number| self.tell(Told::Withheld { number }));
        let (given, kept) = std::mem::take(&mut self.withheld)
            .into_iter()
            .partition(|(_, wanted)| viewer.may_read(&wanted.channel));
        self.withheld = kept;
        let given: BTreeMap<u64, Wanted> = given;
        self.waiting.extend(given.into_values());
        false
    }

    /// Notes in which channels something was touched.
    pub(super) fn on_touched(&mut self, touched: &BTreeSet<Digest>) {
        let numbers = touched.iter().filter_map(|channel| self.numbers.get(channel));
        self.dirty.extend(numbers);
    }

    /// Says what there is to say, as far as credit and room go. `covers` is up to where this node holds the view's log
    /// durably.
    pub(super) fn pump(
        &mut self,
        viewer: Viewer<'_>,
        covers: Option<u64>,
        outbox: &mut Outbox,
        own: &Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let Some((index, templates)) = own.channels().filter(|(index, _)| index.is_built()) else {
            return Ok(());
        };
        if self.is_asking {
            return Ok(());
        }
        let mut source = Source {
            index,
            templates,
            view,
            said: BTreeSet::new(),
            #[cfg(all(feature = "planted", debug_assertions))]
            viewer: viewer.node,
        };
        // What is more follows when the view has answered.
        let mut messages = 0;
        // Whoever is up to date is told in one message of what one step has changed.
        let mut bytes_max = if self.has_said_end { LIVE_BYTES } else { BATCH_BYTES };
        while self.sent < self.credit && outbox.has_room() && messages < MESSAGES_MAX {
            if let Some(wanted) = self.waiting.pop_front() {
                self.begin(wanted, viewer, &source)?;
                continue;
            }
            while self.queued_bytes < bytes_max
                && let Some(number) = self.dirty.first().copied()
            {
                self.go_on(number, bytes_max, &mut source)?;
            }
            let (mut items, mut bytes) = (Vec::new(), 0);
            while bytes < bytes_max
                && let Some(told) = self.queue.pop_front()
            {
                bytes += size(&told);
                items.push(told);
            }
            self.queued_bytes -= bytes + std::mem::take(&mut self.read_bytes);
            let is_end = self.queue.is_empty() && self.dirty.is_empty();
            #[cfg(all(feature = "planted", debug_assertions))]
            let is_end = is_end || crate::planted::is_planted(crate::planted::Planted::CoversAhead);
            let covers = covers.filter(|covers| is_end && self.covers != Some(*covers));
            if items.is_empty() && covers.is_none() && (self.has_said_end || !is_end) {
                break;
            }
            messages += 1;
            bytes_max = BATCH_BYTES;
            self.covers = covers.or(self.covers);
            self.has_said_end = is_end;
            let items = Items::new(&items);
            let message = Message::States(States { items, covers, is_end });
            self.sent += outbox.send(&message, effects) as u64;
        }
        Ok(())
    }

    /// Looks at what the view has of a channel, and where to go on.
    fn begin<V: View>(
        &mut self,
        wanted: Wanted,
        viewer: Viewer<'_>,
        source: &Source<'_, V>,
    ) -> Result<(), StoreError> {
        let (number, hash) = (wanted.number, wanted.channel.hash());
        self.has_said_end = false;
        if !viewer.may_read(&wanted.channel) {
            self.withheld.insert(number, Wanted::anew(number, wanted.channel));
            self.tell(Told::Withheld { number });
            return Ok(());
        }
        let head = source.index.head(hash, &Rows::default(), source.view)?;
        let is_known = source.index.has(hash, wanted.point, source.view)?;
        let place = if is_known {
            match wanted.after {
                None => Place::At { offset: wanted.point.offset, has_point: false },
                after => Place::Filling { after, floor: wanted.point.offset },
            }
        } else if wanted.after.is_none() && wanted.sum == head.sum {
            // The same content, whatever its history.
            Place::At { offset: head.end.offset, has_point: false }
        } else {
            self.tell(Told::Fill { number, floor: head.end });
            Place::Filling { after: None, floor: head.end.offset }
        };
        self.numbers.insert(hash, number);
        self.channels.insert(number, Fed { channel: wanted.channel, hash, place });
        self.dirty.insert(number);
        Ok(())
    }

    /// Says some more of a channel.
    fn go_on<V: View>(
        &mut self,
        number: u64,
        bytes_max: usize,
        source: &mut Source<'_, V>,
    ) -> Result<(), StoreError> {
        let Some(Fed { hash, place, .. }) = self.channels.get(&number).cloned() else {
            self.dirty.remove(&number);
            return Ok(());
        };
        let next = match place {
            Place::Filling { after, floor } => {
                let keys = source.index.members(hash, after.as_ref(), AT_ONCE, source.view)?;
                let mut last = None;
                for key in keys {
                    self.say(&key, source)?;
                    last = Some(key);
                    if self.queued_bytes >= bytes_max {
                        break;
                    }
                }
                match last {
                    Some(key) => {
                        self.tell(Told::Reached { number, key: key.clone() });
                        Place::Filling { after: Some(key), floor }
                    }
                    None => {
                        self.tell(Told::Filled { number });
                        Place::At { offset: floor, has_point: false }
                    }
                }
            }
            Place::At { offset, has_point } => {
                let head = source.index.head(hash, &Rows::default(), source.view)?;
                let touches = source.index.touches(hash, offset, AT_ONCE, source.view)?;
                let mut last = None;
                for touch in &touches {
                    last = Some(touch.point);
                    self.queued_bytes += TOUCH_BYTES;
                    self.read_bytes += TOUCH_BYTES;
                    let member =
                        source.index.member(hash, &touch.key, &Rows::default(), source.view)?;
                    let is_last = match member {
                        Some(member) => member.touched == touch.point.offset,
                        None => !touch.is_in,
                    };
                    if is_last {
                        self.say(&touch.key, source)?;
                    }
                    if self.queued_bytes >= bytes_max {
                        break;
                    }
                }
                let point = last.unwrap_or(head.end);
                let is_end = point == head.end;
                if last.is_some() || !has_point {
                    self.tell(Told::Point { number, point, sum: is_end.then_some(head.sum) });
                }
                if is_end {
                    self.dirty.remove(&number);
                }
                Place::At { offset: point.offset, has_point: true }
            }
        };
        if let Some(fed) = self.channels.get_mut(&number) {
            fed.place = next;
        }
        Ok(())
    }

    /// Says what a record is now, or that it is in none of the view's channels; once in one step.
    fn say<V: View>(
        &mut self,
        key: &RecordKey,
        source: &mut Source<'_, V>,
    ) -> Result<(), StoreError> {
        if !source.said.insert(key.clone()) {
            return Ok(());
        }
        let record = source.view.record(key)?;
        let channels = source.templates.channels(key, record.as_deref()).unwrap_or_default();
        let numbers = channels.iter().filter_map(|channel| self.numbers.get(&channel.hash()));
        let numbers: Vec<u64> = numbers.copied().collect();
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::EnteringEcho)
            && record.as_ref().and_then(|record| record.newest()).map(|stamp| stamp.author.node)
                == Some(source.viewer)
        {
            return Ok(());
        }
        let (Some(record), false) = (record, numbers.is_empty()) else {
            self.tell(Told::Evict { key: key.clone() });
            return Ok(());
        };
        let mut pieces = state::pieces(&record).into_iter().peekable();
        while let Some(piece) = pieces.next() {
            let (key, numbers) = (key.clone(), numbers.clone());
            let is_whole = pieces.peek().is_none();
            self.tell(Told::State { key, numbers, is_whole, record: piece });
        }
        Ok(())
    }

    fn tell(&mut self, told: Told) {
        self.queued_bytes += size(&told);
        self.queue.push_back(told);
    }
}

/// The bytes of an item, more or less.
fn size(told: &Told) -> usize {
    match told {
        Told::State { record, .. } => ITEM_BYTES + record.bytes(),
        _ => ITEM_BYTES,
    }
}

/// What is shown, at the moment of one step.
struct Source<'a, V> {
    index: &'a Index,
    templates: &'a Templates,
    view: &'a V,
    /// The records that were said in this step.
    said: BTreeSet<RecordKey>,
    #[cfg(all(feature = "planted", debug_assertions))]
    viewer: NodeId,
}
