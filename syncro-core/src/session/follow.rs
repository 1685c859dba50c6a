//! Following a source: what it shows of the channels that this node, a view, has subscribed to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Open, Outbox};
use crate::channel::Channel;
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::engine::key_bytes;
use crate::engine::{Effects, Event, Own, Place, SessionId, Showing, Subscription, view_events};
use crate::id::RecordKey;
use crate::limits::MESSAGE_STATES_BYTES_MAX;
use crate::message::{Items, Message, States, Told, Wanted};
use crate::record::Record;
use crate::stamp::Now;
use crate::store::{StoreError, View};

/// Channels asked for in one message: 350 bytes each at most.
const AT_ONCE: usize = 512;

/// How far this node is with the source that it follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Follow {
    /// The channels asked for in this session, by number.
    numbers: BTreeMap<u64, Digest>,
    last_number: u64,
    progress: Progress,
}

/// What one message changes of it.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The records said of channels that are being filled, beyond what was reached.
    confirmed: BTreeMap<u64, BTreeSet<RecordKey>>,
    /// A record of which there is more to come.
    part: Option<(RecordKey, Record)>,
    /// The channels of which it was told that they are here.
    current: BTreeSet<u64>,
    is_caught_up: bool,
}

impl Follow {
    /// Asks for every channel.
    pub(super) fn begin(&mut self, own: &Own, outbox: &mut Outbox, effects: &mut Effects) {
        let all: Vec<Wanted> =
            own.subscriptions().map(|subscription| self.wanted(subscription)).collect();
        let mut rest = &all[..];
        loop {
            let (some, more) = rest.split_at(rest.len().min(AT_ONCE));
            let has_more = !more.is_empty();
            outbox.send(&Message::Subscribe { channels: some.to_vec(), has_more }, effects);
            if !has_more {
                return;
            }
            rest = more;
        }
    }

    /// Asks for one channel more.
    pub(super) fn subscribe(
        &mut self,
        subscription: &Subscription,
        outbox: &mut Outbox,
        effects: &mut Effects,
    ) {
        let channels = vec![self.wanted(subscription)];
        outbox.send(&Message::Subscribe { channels, has_more: false }, effects);
    }

    /// Asks for a channel no more.
    pub(super) fn unsubscribe(
        &mut self,
        channel: Digest,
        outbox: &mut Outbox,
        effects: &mut Effects,
    ) {
        let numbers = self.numbers.iter().filter(|(_, known)| **known == channel);
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        for number in &numbers {
            self.numbers.remove(number);
            self.progress.confirmed.remove(number);
        }
        outbox.send(&Message::Unsubscribe { numbers }, effects);
    }

    fn wanted(&mut self, subscription: &Subscription) -> Wanted {
        self.last_number += 1;
        let Subscription { channel, place, sum } = subscription.clone();
        self.numbers.insert(self.last_number, channel.hash());
        let (point, after) = match place {
            Place::At(point) => (point, None),
            // Nothing was reached: it may as well begin anew.
            Place::Filling { after: None, .. } => (Point::START, None),
            Place::Filling { floor, after } => {
                // It goes on from there: what is said from now on is confirmed.
                self.progress.confirmed.insert(self.last_number, BTreeSet::new());
                (floor, after)
            }
        };
        Wanted { number: self.last_number, channel, point, sum, after }
    }
}

impl Progress {
    /// Takes what a source shows.
    fn take<V: View>(
        &mut self,
        items: &Items,
        numbers: &BTreeMap<u64, Digest>,
        showing: &mut Showing<'_, V>,
        news: &mut Vec<News>,
    ) -> Result<(), Fault> {
        let channel = |number: &u64| numbers.get(number).copied();
        let mut bytes = 0;
        for told in items.iter() {
            match told? {
                Told::State { key, numbers: said, is_whole, record: piece } => {
                    bytes += piece.held_bytes();
                    if bytes > MESSAGE_STATES_BYTES_MAX {
                        return Err(Fault::peer(CloseReason::Flow));
                    }
                    let record = match self.part.take() {
                        Some((known, mut record)) if known == key => {
                            record.merge(&piece);
                            record
                        }
                        _ => piece,
                    };
                    if !is_whole {
                        self.part = Some((key, record));
                        continue;
                    }
                    for number in &said {
                        if let Some(confirmed) = self.confirmed.get_mut(number) {
                            confirmed.insert(key.clone());
                        }
                    }
                    let mut channels: Vec<Digest> = said.iter().filter_map(channel).collect();
                    channels.sort_unstable();
                    channels.dedup();
                    showing.show(&key, &channels, record)?;
                }
                Told::Evict { key } => showing.evict(&key)?,
                Told::Point { number, point, sum } => {
                    let Some(channel) = channel(&number) else { continue };
                    let has = showing.subscription(channel).map(|it| it.sum);
                    if let Some((sum, has)) = sum.zip(has) {
                        if sum != has {
                            showing.change(channel, |it| it.place = Place::At(Point::START));
                            news.push(News::Differs(channel));
                            continue;
                        }
                        if self.current.insert(number) {
                            news.push(News::Current(channel));
                        }
                    }
                    showing.change(channel, |it| it.place = Place::At(point));
                }
                Told::Fill { number, floor } => {
                    let Some(channel) = channel(&number) else { continue };
                    self.confirmed.insert(number, BTreeSet::new());
                    showing.change(channel, |it| it.place = Place::Filling { floor, after: None });
                }
                Told::Reached { number, key } => {
                    let Some(channel) = channel(&number) else { continue };
                    self.reach(number, channel, Some(key), showing)?;
                }
                Told::Filled { number } => {
                    let Some(channel) = channel(&number) else { continue };
                    self.reach(number, channel, None, showing)?;
                }
                Told::Withheld { number } => {
                    let Some(channel) = channel(&number) else { continue };
                    showing.confirm(channel, None, None, |_| false)?;
                    showing.change(channel, |it| it.place = Place::At(Point::START));
                    news.push(News::Withheld(channel));
                }
            }
        }
        Ok(())
    }

    /// A channel is filled up to a record, or wholly.
    fn reach<V: View>(
        &mut self,
        number: u64,
        channel: Digest,
        until: Option<RecordKey>,
        showing: &mut Showing<'_, V>,
    ) -> Result<(), Fault> {
        let place = showing.subscription(channel).map(|it| it.place.clone());
        let Some(Place::Filling { floor, after }) = place else {
            return Err(Fault::peer(CloseReason::Unexpected));
        };
        let confirmed = self.confirmed.entry(number).or_default();
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::ResetMerges) {
            confirmed.extend(showing.members(channel)?);
        }
        showing.confirm(channel, after.as_ref(), until.as_ref(), |key| confirmed.contains(key))?;
        match &until {
            // Of the rest some may have been said already, for other channels.
            Some(until) => {
                let until = key_bytes(until);
                confirmed.retain(|key| key_bytes(key) > until);
            }
            None => _ = self.confirmed.remove(&number),
        }
        showing.change(channel, |it| {
            it.place = match until {
                Some(_) => Place::Filling { floor, after: until },
                None => Place::At(floor),
            };
        });
        Ok(())
    }
}

/// What is to be told once a message was taken.
enum News {
    /// All that the source has of the channel is here.
    Current(Digest),
    /// The source does not let this node see the channel, or not any more.
    Withheld(Digest),
    /// What is here of the channel is not what the source has.
    Differs(Digest),
}

impl Open {
    /// Begins to follow this session's peer, on a view.
    pub(super) fn follow(
        &mut self,
        now: Now,
        outbox: &mut Outbox,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let mut intake = own.intake();
        let Some(mut showing) = own.showing(&mut intake, view) else { return Ok(()) };
        showing.follow(self.peer);
        if let Some(held) = self.push.resumed() {
            showing.uncover(held, own)?;
        }
        let shown = showing.finish()?;
        own.commit_shown(now, shown, intake, view, effects)?;
        let mut follow = Follow::default();
        follow.begin(own, outbox, effects);
        self.follow = Some(follow);
        Ok(())
    }

    /// On a view: the source that is followed holds this node's log up to an offset. If it held more of it before, it was
    /// restored, and what it has lost is pending again.
    pub(super) fn uncover(
        &mut self,
        now: Now,
        held: u64,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let mut intake = own.intake();
        let Some(mut showing) = own.showing(&mut intake, view) else { return Ok(()) };
        if !showing.uncover(held, own)? {
            return Ok(());
        }
        let shown = showing.finish()?;
        own.commit_shown(now, shown, intake, view, effects)?;
        Ok(())
    }

    /// Takes what the source shows.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only name it twice"
    )]
    pub(super) fn on_states(
        &mut self,
        now: Now,
        states: States,
        bytes: usize,
        session: SessionId,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let received = self.pull.received(bytes)?;
        let Some(follow) = &self.follow else {
            return Err(Fault::peer(CloseReason::Unexpected));
        };
        let mut progress = follow.progress.clone();
        let mut intake = own.intake();
        let mut news = Vec::new();
        let Some(mut showing) = own.showing(&mut intake, view) else {
            return Err(Fault::peer(CloseReason::Unexpected));
        };
        progress.take(&states.items, &follow.numbers, &mut showing, &mut news)?;
        #[cfg(all(feature = "planted", debug_assertions))]
        let states = match crate::planted::is_planted(crate::planted::Planted::SettledByAcks) {
            true => States { covers: self.push.receipt(), ..states },
            false => states,
        };
        if let Some(covers) = states.covers {
            if covers > own.end().offset {
                return Err(Fault::peer(CloseReason::Unexpected));
            }
            showing.cover(covers)?;
        }
        let shown = showing.finish()?;
        own.append_shown(now, shown, &mut intake, Some(session), view)?;
        // From here on nothing fails.
        for event in &intake.events {
            if let Event::Changed(changed) = event {
                effects.events.extend(own.note_shown(now, changed));
            }
        }
        let differs = self.tell(&news, session, own, effects);
        view_events(&mut intake, own.author().node, effects);
        if states.is_end && !std::mem::replace(&mut progress.is_caught_up, true) {
            effects.events.push(Event::CaughtUp { session, peer: self.peer });
        }
        effects.commit = Some(own.commit(intake, Vec::new()));
        if let Some(follow) = &mut self.follow {
            follow.progress = progress;
        }
        self.pull.took(received, own);
        match differs {
            Some(channel) => {
                let detail = format!("what is here of {channel} was not what the peer has of it");
                Err(Fault::Peer { reason: CloseReason::Digest, detail })
            }
            None => Ok(()),
        }
    }

    /// Tells the application. Returns the channel that is not as it should be.
    fn tell(
        &self,
        news: &[News],
        session: SessionId,
        own: &Own,
        effects: &mut Effects,
    ) -> Option<Channel> {
        let peer = self.peer;
        let mut differs = None;
        for news in news {
            let (News::Current(hash) | News::Withheld(hash) | News::Differs(hash)) = news;
            let Some(channel) = own.subscription(*hash).map(|it| it.channel.clone()) else {
                continue;
            };
            // It is followed without anybody's asking.
            let is_own = channel == Channel::of_node(own.author().node);
            match news {
                News::Current(_) | News::Withheld(_) if is_own => {}
                News::Current(_) => {
                    effects.events.push(Event::Current { session, peer, channel });
                }
                News::Withheld(_) => {
                    effects.events.push(Event::Withheld { session, peer, channel });
                }
                News::Differs(_) => differs = Some(channel),
            }
        }
        differs
    }
}
