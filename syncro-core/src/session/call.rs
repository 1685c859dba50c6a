//! Calls of the host's own, and the replies to them.
//!
//! Each side has at most [`CALLS_MAX`] calls under way that the other has not answered, and every call is answered once:
//! by the host, or when its time is over by the engine. So whoever asks knows how much it may ask, whatever becomes of
//! its own patience.

use std::collections::{BTreeMap, VecDeque};

use super::{Fault, Open, Outbox};
use crate::call::{CallFailure, CallId, Called};
use crate::close::CloseReason;
use crate::engine::{Effects, Event, Usage};
use crate::id::Name;
use crate::limits::{CALLS_BYTES_MAX, CALLS_MAX, VALUE_BYTES_MAX};
use crate::message::{Call, Message};
use crate::stamp::Now;
use crate::value::Encoded;

/// The calls of a session, both ways.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    /// Whether the peer knows calls.
    is_known: bool,
    /// The number that this side's next call gets.
    next: u64,
    /// This side's calls that the peer has not answered, by their numbers.
    placed: BTreeMap<u64, Placed>,
    placed_bytes: usize,
    /// The number that the peer's next call has at least.
    next_taken: u64,
    /// The peer's calls whose replies are not sent.
    taken: BTreeMap<u64, Taken>,
    taken_bytes: usize,
    /// Bytes of the replies that wait.
    reply_bytes: usize,
    /// What is to be sent, in order.
    waiting: VecDeque<Waiting>,
}

/// A call that this side has made.
#[derive(Clone, Debug)]
struct Placed {
    /// What the host calls it, until it has been told how it ended.
    call: Option<CallId>,
    until_ms: u64,
    bytes: usize,
}

/// A call that the peer has made.
#[derive(Clone, Debug)]
struct Taken {
    until_ms: u64,
    bytes: usize,
    is_answered: bool,
}

/// A message that waits for room.
#[derive(Clone, Debug)]
enum Waiting {
    Call(Call),
    Reply { call: u64, answer: Result<Encoded, CallFailure> },
}

impl Calls {
    pub(super) fn new(is_known: bool) -> Self {
        Self {
            is_known,
            next: 0,
            placed: BTreeMap::new(),
            placed_bytes: 0,
            next_taken: 0,
            taken: BTreeMap::new(),
            taken_bytes: 0,
            reply_bytes: 0,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn count(&self, usage: &mut Usage) {
        usage.calls_placed += self.placed.len();
        usage.calls_taken += self.taken.len();
    }

    /// Makes a call.
    ///
    /// # Errors
    ///
    /// Why it cannot be made: nothing was sent.
    fn place(
        &mut self,
        now: Now,
        call: CallId,
        name: Name,
        value: Encoded,
        within_ms: u64,
    ) -> Result<(), CallFailure> {
        let bytes = value.as_bytes().len();
        if !self.is_known {
            return Err(CallFailure::new(CallFailure::UNKNOWN, "the peer's version has no calls"));
        }
        if bytes > VALUE_BYTES_MAX {
            return Err(too_large("call", bytes));
        }
        if self.placed.len() >= CALLS_MAX || self.placed_bytes + bytes > CALLS_BYTES_MAX {
            let message = "too many calls to this peer are not answered yet";
            return Err(CallFailure::new(CallFailure::BUSY, message));
        }
        let number = self.next;
        self.next += 1;
        self.placed_bytes += bytes;
        let until_ms = now.monotonic_ms.saturating_add(within_ms);
        self.placed.insert(number, Placed { call: Some(call), until_ms, bytes });
        self.waiting.push_back(Waiting::Call(Call { call: number, name, value, within_ms }));
        Ok(())
    }

    /// Takes a call of the peer.
    fn take(&mut self, now: Now, call: &Call) -> Result<(), Fault> {
        if call.call < self.next_taken {
            return Err(Fault::peer(CloseReason::Unexpected));
        }
        let bytes = call.value.as_bytes().len();
        if self.taken.len() >= CALLS_MAX || self.taken_bytes + bytes > CALLS_BYTES_MAX {
            let detail = "too many calls at once".to_owned();
            return Err(Fault::Peer { reason: CloseReason::Flow, detail });
        }
        // The last number there is may be used, once.
        self.next_taken = call.call.checked_add(1).ok_or_else(|| {
            let detail = "there are no more numbers for calls".to_owned();
            Fault::Peer { reason: CloseReason::Unexpected, detail }
        })?;
        self.taken_bytes += bytes;
        let until_ms = now.monotonic_ms.saturating_add(call.within_ms);
        self.taken.insert(call.call, Taken { until_ms, bytes, is_answered: false });
        Ok(())
    }

    /// Answers a call of the peer, unless that has been done.
    pub(super) fn answer(&mut self, call: u64, mut answer: Result<Encoded, CallFailure>) {
        let Some(taken) = self.taken.get_mut(&call).filter(|taken| !taken.is_answered) else {
            return;
        };
        taken.is_answered = true;
        let bytes = answer.as_ref().map_or(0, |value| value.as_bytes().len());
        if bytes > VALUE_BYTES_MAX {
            answer = Err(too_large("reply", bytes));
        } else if self.reply_bytes + bytes > CALLS_BYTES_MAX {
            let message = "the replies before this one were not read";
            answer = Err(CallFailure::new(CallFailure::BUSY, message));
        } else {
            self.reply_bytes += bytes;
        }
        self.waiting.push_back(Waiting::Reply { call, answer });
    }

    /// Takes the peer's answer. One to a call that nobody waits for says nothing.
    fn on_reply(&mut self, call: u64) -> Option<CallId> {
        // What was never sent is not answered.
        let is_waiting =
            |waiting: &Waiting| matches!(waiting, Waiting::Call(it) if it.call == call);
        if self.waiting.iter().any(is_waiting) {
            return None;
        }
        let placed = self.placed.remove(&call)?;
        self.placed_bytes -= placed.bytes;
        placed.call
    }

    /// Ends what has not been answered in time. Returns this side's calls among it.
    fn expire(&mut self, now: Now) -> Vec<CallId> {
        let is_over = |until_ms: u64| now.monotonic_ms >= until_ms;
        let over = self.placed.iter_mut().filter(|(_, placed)| is_over(placed.until_ms));
        let over: Vec<_> = over.filter_map(|(n, placed)| Some((*n, placed.call.take()?))).collect();
        for (number, _) in &over {
            // What has been sent keeps its place: the peer still has to do with it.
            let is_it =
                |waiting: &Waiting| matches!(waiting, Waiting::Call(it) if it.call == *number);
            if let Some(place) = self.waiting.iter().position(is_it) {
                self.waiting.remove(place);
                if let Some(placed) = self.placed.remove(number) {
                    self.placed_bytes -= placed.bytes;
                }
            }
        }
        let late = self.taken.iter().filter(|(_, it)| !it.is_answered && is_over(it.until_ms));
        for call in late.map(|(call, _)| *call).collect::<Vec<_>>() {
            self.answer(call, Err(expired()));
        }
        over.into_iter().map(|(_, call)| call).collect()
    }

    /// When the first call has to have been answered.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let placed = self.placed.values().filter(|placed| placed.call.is_some());
        let taken = self.taken.values().filter(|taken| !taken.is_answered);
        placed.map(|it| it.until_ms).chain(taken.map(|it| it.until_ms)).min()
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn pump(&mut self, outbox: &mut Outbox, effects: &mut Effects) {
        while outbox.has_room_for_calls() {
            let message = match self.waiting.pop_front() {
                None => return,
                Some(Waiting::Call(call)) => Message::Call(call),
                Some(Waiting::Reply { call, answer }) => {
                    self.reply_bytes -= answer.as_ref().map_or(0, |value| value.as_bytes().len());
                    if let Some(taken) = self.taken.remove(&call) {
                        self.taken_bytes -= taken.bytes;
                    }
                    Message::Reply { call, answer }
                }
            };
            outbox.say(&message, effects);
        }
    }
}

impl Open {
    /// Makes a call of the host, or tells it why not.
    pub(super) fn place(
        &mut self,
        now: Now,
        outbox: &Outbox,
        (call, name, value, within_ms): (CallId, Name, Encoded, u64),
        effects: &mut Effects,
    ) {
        if let Err(failure) = self.calls.place(now, call, name, value, within_ms) {
            effects.replied(outbox.session, call, Err(failure));
        }
    }

    /// Takes a call of the peer, and tells the host.
    pub(super) fn on_call(
        &mut self,
        now: Now,
        call: Call,
        outbox: &Outbox,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        self.calls.take(now, &call)?;
        let Call { call, name, value, within_ms } = call;
        let (session, peer, principal) = (outbox.session, self.peer, self.principal.clone());
        let called = Called { session, peer, principal, call, name, value, within_ms };
        effects.events.push(Event::Called(called));
        Ok(())
    }

    /// Tells the host of an answer.
    pub(super) fn on_reply(
        &mut self,
        call: u64,
        answer: Result<Encoded, CallFailure>,
        outbox: &Outbox,
        effects: &mut Effects,
    ) {
        if let Some(call) = self.calls.on_reply(call) {
            effects.replied(outbox.session, call, answer);
        }
    }

    /// Ends calls that were not answered in time.
    pub(super) fn expire_calls(&mut self, now: Now, outbox: &Outbox, effects: &mut Effects) {
        for call in self.calls.expire(now) {
            effects.replied(outbox.session, call, Err(expired()));
        }
    }

    /// Tells the host of each of its calls that it will not be answered.
    pub(super) fn cut_calls(&mut self, outbox: &Outbox, effects: &mut Effects) {
        for placed in std::mem::take(&mut self.calls.placed).into_values() {
            if let Some(call) = placed.call {
                effects.replied(outbox.session, call, Err(cut()));
            }
        }
    }
}

/// What becomes of a call over a session that is not there.
pub(crate) fn cut() -> CallFailure {
    CallFailure::new(CallFailure::CUT, "the session ended before the answer came")
}

fn expired() -> CallFailure {
    CallFailure::new(CallFailure::EXPIRED, "no answer came in time")
}

fn too_large(what: &str, bytes: usize) -> CallFailure {
    let message = format!("the value has {bytes} bytes; that of a {what} has {VALUE_BYTES_MAX}");
    CallFailure::new(CallFailure::TOO_LARGE, message)
}
