//! Playing what peers push, and what they answer to a pull.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use syncro::{Edit, Fields, Mark, Name, Principal, Proposal, RecordId, RecordKey, Refusal, View};
use uuid::Uuid;

use super::{Answer, Cause, Hub};
use crate::attributes::{self, Attributes, Unfit};
use crate::base::Base;
use crate::class::{Class, FAILED, FORBIDDEN, Uid};
use crate::error::Error;
use crate::event::{Event, SessionId};
use crate::hub::link::{Link, Pull};
use crate::limits::{ASKED_MAX, PLAYED_AT_ONCE, REPLAYS_MAX};
use crate::list::{Ahead, Row, What, key_of};
use crate::message::{Scribe, is_of_record, scribe_id};
use crate::session::Ask;

/// What became of a scribe.
enum Played {
    /// It was recorded, or says nothing new.
    Yes,
    /// It is about a record that the node has never heard of, and a pull is under way that will bring both.
    Later,
    /// It cannot be: the code of the `error`, and why.
    No(u16, String),
}

/// A scribe of a record, understood.
enum Deed {
    Create(RecordKey, Attributes),
    Update(RecordKey, Attributes),
    Destroy(RecordKey),
}

impl Deed {
    fn key(&self) -> &RecordKey {
        match self {
            Self::Create(key, _) | Self::Update(key, _) | Self::Destroy(key) => key,
        }
    }
}

impl<N: Base> Hub<N> {
    /// Deals with what has come, one thing of each session in turn, as long as there is room.
    pub(super) fn play(&mut self) -> Result<(), Error> {
        let mut sessions = self.sessions();
        // Those that have asked for something that may fill all the room there is.
        let mut done = BTreeSet::new();
        let mut left = PLAYED_AT_ONCE;
        while left > 0
            && let Some(session) = sessions.pop_front()
        {
            self.ask_waiting(session, &mut done)?;
            let Some(link) = self.links.get_mut(&session) else { continue };
            if let Some(scribe) = link.pulled.pop_front() {
                left -= 1;
                self.on_pulled_scribe(session, scribe)?;
                sessions.push_back(session);
                continue;
            }
            if let Pull::Answered(scribes) = link.pull {
                self.on_pull_over(session, scribes)?;
                sessions.push_back(session);
                continue;
            }
            if link.has_room()
                && !done.contains(&session)
                && let Some(ask) = link.came.pop_front()
            {
                left -= 1;
                if matches!(ask, Ask::Call { .. }) {
                    done.insert(session);
                }
                self.on_ask(session, ask)?;
                sessions.push_back(session);
            }
        }
        let waits =
            |link: &Link| link.has_room() && (!link.came.is_empty() || link.can_be_answered());
        self.effects.has_more |= left == 0 || self.links.values().any(waits);
        Ok(())
    }

    /// Moves a request to be told on to the answers, if nothing keeps it waiting.
    fn ask_waiting(
        &mut self,
        session: SessionId,
        done: &mut BTreeSet<SessionId>,
    ) -> Result<(), Error> {
        let Some(link) = self.links.get_mut(&session) else { return Ok(()) };
        if link.can_be_answered()
            && link.has_room()
            && !done.contains(&session)
            && let Some((request, from)) = link.asked.pop_front()
        {
            done.insert(session);
            self.answers.push((session, Answer::Sync { request, from }));
            let (gone, uid) = (std::mem::take(&mut link.gone), link.uid.clone());
            let cause = Cause { session, uid, is_pulled: false };
            for key in gone {
                self.tell_anew(&cause, &key)?;
            }
        }
        Ok(())
    }

    fn on_ask(&mut self, session: SessionId, ask: Ask) -> Result<(), Error> {
        let Some(link) = self.links.get_mut(&session) else { return Ok(()) };
        let uid = link.uid.clone();
        match ask {
            Ask::Sync { request, from } => {
                link.ask(request, from);
                // Whoever asks so often does not wait for anything.
                link.is_patient &= link.asked.len() < ASKED_MAX;
            }
            Ask::Play { request, scribe } => {
                let answer = self.on_push(session, &uid, request, scribe)?;
                self.answers.push((session, answer));
            }
            Ask::Call { request, klass, method, args } => {
                self.answers.push((session, Answer::Call { request, klass, method, args }));
            }
            Ask::Pulled(Some(scribes)) => {
                link.pull = Pull::Answered(scribes.len());
                link.pulled = scribes.into();
            }
            Ask::Pulled(None) => {
                link.pull = Pull::Done;
                self.tell_host(Event::PeerFailed { session, uid, code: None });
            }
            Ask::Taken(request) => link.on_taken(request),
            Ask::Returned(result) => self.on_uptodate(session, uid, &result)?,
            Ask::Failed(code) => self.tell_host(Event::PeerFailed { session, uid, code }),
        }
        Ok(())
    }

    fn on_push(
        &mut self,
        session: SessionId,
        uid: &Uid,
        request: Json,
        scribe: Option<Scribe>,
    ) -> Result<Answer, Error> {
        let cause = Cause { session, uid: uid.clone(), is_pulled: false };
        let played = match &scribe {
            Some(scribe) => self.play_scribe(&cause, scribe)?,
            None => Played::No(FAILED, "it is no scribe".to_owned()),
        };
        Ok(match played {
            Played::Yes => {
                if let Some(scribe) = scribe {
                    self.move_point(session, uid, &scribe)?;
                }
                Answer::Played { request }
            }
            // An error would throw an exception at a peer that has done nothing wrong. The point stays before it.
            Played::Later => Answer::Played { request },
            Played::No(code, why) => {
                self.tell_host(Event::NotPlayed { session, uid: uid.clone(), code, why });
                Answer::Refused { code }
            }
        })
    }

    /// A push moves the point, but not past a pull that is under way: what that brings would be lost with the
    /// connection.
    fn move_point(&mut self, session: SessionId, uid: &Uid, scribe: &Scribe) -> Result<(), Error> {
        let Some(id) = scribe.id.clone() else { return Ok(()) };
        let mut peer = self.list.peer(uid).map_err(Error::List)?;
        match self.links.get(&session).map(|link| link.pull) {
            Some(Pull::Done) => peer.advance(id, self.node.end()),
            _ => peer.note_ahead(Ahead { id, sum: sum(scribe) }),
        }
        self.list.set_peer(uid, &peer);
        Ok(())
    }

    fn on_pulled_scribe(
        &mut self,
        session: SessionId,
        scribe: Option<Scribe>,
    ) -> Result<(), Error> {
        let Some(uid) = self.links.get(&session).map(|link| link.uid.clone()) else {
            return Ok(());
        };
        let Some(scribe) = scribe else {
            let (code, why) = (FAILED, "it is no scribe".to_owned());
            self.tell_host(Event::NotPlayed { session, uid, code, why });
            return Ok(());
        };
        let mut peer = self.list.peer(&uid).map_err(Error::List)?;
        let ahead = scribe.id.clone().map(|id| Ahead { id, sum: sum(&scribe) });
        let is_known = ahead.as_ref().is_some_and(|ahead| peer.ahead.contains(ahead));
        // Something older of the same record was played over it: it is played again.
        let (key, end) = (self.record_of(&scribe)?, self.node.end());
        let played = self.links.get(&session).map(|link| &link.pulled_records);
        let is_undone = played.zip(key.as_ref()).is_some_and(|(played, key)| played.contains(key));
        let cause = Cause { session, uid: uid.clone(), is_pulled: true };
        if is_known && !is_undone {
            // It was played when it was pushed.
        } else if !is_undone && self.is_orphan(&uid, &scribe)? {
            self.note_orphan(&cause, &scribe)?;
        } else {
            // One that cannot be played counts as taken: it would be met again for ever.
            if let Played::No(code, why) = self.play_scribe(&cause, &scribe)? {
                self.tell_host(Event::NotPlayed { session, uid: uid.clone(), code, why });
            }
        }
        if self.node.end() != end
            && let Some(link) = self.links.get_mut(&session)
        {
            link.pulled_records.extend(key);
        }
        if let Some(ahead) = ahead {
            // What was pushed meanwhile, and comes later in the peer's log, is still ahead.
            let played = peer.ahead.iter().position(|known| *known == ahead);
            peer.ahead.drain(..played.map_or(0, |at| at + 1));
            peer.advance(ahead.id, self.node.end());
            self.list.set_peer(&uid, &peer);
        }
        Ok(())
    }

    /// Notes that a client has destroyed something before a crash: the list has it from the log, which does not say so.
    /// What is there again is told to it.
    fn note_orphan(&mut self, cause: &Cause, scribe: &Scribe) -> Result<(), Error> {
        let Some(class) = self.settings.tables.class(&scribe.klass).cloned() else { return Ok(()) };
        let Some(Deed::Destroy(key)) = self.deed(&class, scribe)? else { return Ok(()) };
        let id = attributes::id_to_json(&key.id);
        match self.get_record(&key)? {
            None => self.tell_of_vain_destroy(cause, &class, &id),
            Some(_) => self.tell_how_it_is(cause, &class, &id, Vec::new()),
        }
    }

    /// The record that a scribe is about.
    fn record_of(&self, scribe: &Scribe) -> Result<Option<Vec<u8>>, Error> {
        let Some(class) = self.settings.tables.class(&scribe.klass) else { return Ok(None) };
        let deed = self.deed(class, scribe)?;
        Ok(deed.map(|deed| key_of(class.klass(), &attributes::id_to_json(&deed.key().id))))
    }

    /// The answer to the pull is played. It becomes durable with this step, and with it what was pushed past it.
    fn on_pull_over(&mut self, session: SessionId, scribes: usize) -> Result<(), Error> {
        let Some(link) = self.links.get_mut(&session) else { return Ok(()) };
        link.on_pull_over();
        let uid = link.uid.clone();
        let mut peer = self.list.peer(&uid).map_err(Error::List)?;
        if let Some(last) = peer.ahead.pop() {
            peer.ahead.clear();
            peer.advance(last.id, self.node.end());
            self.list.set_peer(&uid, &peer);
        }
        self.pulled_from.insert(uid.clone());
        self.tell_host(Event::Pulled { session, uid, scribes });
        Ok(())
    }

    fn on_uptodate(&mut self, session: SessionId, uid: Uid, result: &Json) -> Result<(), Error> {
        let Some(id) = scribe_id(result) else {
            self.tell_host(Event::PeerFailed { session, uid, code: None });
            return Ok(());
        };
        let mut peer = self.list.peer(&uid).map_err(Error::List)?;
        if id != "0" {
            peer.advance(id, self.node.end());
            self.list.set_peer(&uid, &peer);
        }
        Ok(())
    }

    fn play_scribe(&mut self, cause: &Cause, scribe: &Scribe) -> Result<Played, Error> {
        let tables = &mut self.settings.tables;
        if !tables.knows(&scribe.klass) {
            return Ok(Played::No(FORBIDDEN, format!("class {:?} is not shared", scribe.klass)));
        }
        if !self.settings.policy.scribe_authorized(scribe, &cause.uid) {
            let what = format!("{} of {:?}", scribe.kind, scribe.klass);
            return Ok(Played::No(FAILED, format!("{what} is not allowed to this client")));
        }
        match tables.class(&scribe.klass).cloned() {
            Some(class) if is_of_record(&scribe.kind) => self.play_record(cause, &class, scribe),
            _ => self.play_custom(cause, scribe),
        }
    }

    /// One without a player is acknowledged, has no effect and is not relayed.
    fn play_custom(&mut self, cause: &Cause, scribe: &Scribe) -> Result<Played, Error> {
        let Some(player) = self.settings.tables.player(&scribe.klass, &scribe.kind) else {
            return Ok(Played::Yes);
        };
        let to = match player(scribe, &cause.uid) {
            Ok(to) => to,
            Err(why) => return Ok(Played::No(FAILED, why)),
        };
        if !to.is_nobody() {
            let what = What::Custom { kind: scribe.kind.clone(), data: scribe.data.clone(), to };
            let (klass, by) = (scribe.klass.clone(), Some(cause.uid.clone()));
            let row =
                self.list.append(&Row { klass, what, by, previous: 0 }).map_err(Error::List)?;
            if let Some(link) = self.links.get_mut(&cause.session) {
                link.own.add(row);
            }
        }
        Ok(Played::Yes)
    }

    fn play_record(
        &mut self,
        cause: &Cause,
        class: &Class,
        scribe: &Scribe,
    ) -> Result<Played, Error> {
        let Some(deed) = self.deed(class, scribe)? else {
            let why =
                format!("{} of {:?} with data that makes no sense", scribe.kind, scribe.klass);
            return Ok(Played::No(FAILED, why));
        };
        let proposal = match self.proposal(class, &deed)? {
            Ok(Some(proposal)) => proposal,
            Ok(None) => {
                if let Deed::Destroy(key) = &deed {
                    self.tell_of_vain_destroy(cause, class, &attributes::id_to_json(&key.id))?;
                }
                return Ok(Played::Yes);
            }
            Err(Unfit::Unknown(_)) if self.is_pulling(cause) => return Ok(Played::Later),
            // It may be of a create that was refused.
            Err(Unfit::Unknown(why)) if self.node.is_authority() => {
                let refusal = Refusal::new(Refusal::GONE, format!("{why} is not there"));
                return self.undo(cause, class, &deed, refusal);
            }
            Err(unfit) => return Ok(Played::No(FAILED, unfit.to_string())),
        };
        let rights = self.rights_of(&cause.uid);
        let committed = match self.node.propose(rights.as_ref(), proposal) {
            Ok(committed) => committed,
            Err(syncro::Error::Refused(refusal)) => return self.undo(cause, class, &deed, refusal),
            Err(syncro::Error::Data(error)) => return Ok(Played::No(FAILED, error.to_string())),
            // The peer is not to blame: it gets no answer, and sends it again.
            Err(error) => return Err(error.into()),
        };
        if let Some(committed) = committed {
            self.played.insert(committed.offset - 1, cause.clone());
            self.replays.insert(committed.stamp, cause.uid.clone());
            if self.replays.len() > REPLAYS_MAX {
                self.replays.pop_first();
            }
            self.record_until(committed.offset)?;
        }
        if let Deed::Destroy(key) = &deed {
            let id = attributes::id_to_json(&key.id);
            if self.may_have_heard_of(cause, &key_of(class.klass(), &id)) {
                self.tell_how_it_is(cause, class, &id, Vec::new())?;
            }
        }
        Ok(Played::Yes)
    }

    /// By whose rights a client writes; `None` where the node limits nobody.
    fn rights_of(&self, uid: &Uid) -> Option<Principal> {
        let assigned = || self.settings.policy.principal(uid);
        let is_asked = self.node.is_authority();
        is_asked.then(|| assigned().unwrap_or_else(|| Principal::new(uid.as_str())))
    }

    /// Tells a client how a record is that it may not change so. What it wrote counts as played: an error would throw an
    /// exception at a peer that cannot know what it may, and a pull would meet it again.
    fn undo(
        &mut self,
        cause: &Cause,
        class: &Class,
        deed: &Deed,
        refusal: Refusal,
    ) -> Result<Played, Error> {
        let written = match deed {
            Deed::Create(_, given) | Deed::Update(_, given) => given.keys().cloned().collect(),
            Deed::Destroy(_) => Vec::new(),
        };
        self.tell_how_it_is(cause, class, &attributes::id_to_json(&deed.key().id), written)?;
        let (session, uid) = (cause.session, cause.uid.clone());
        self.tell_host(Event::Undone { session, uid, refusal });
        Ok(Played::Yes)
    }

    /// Whether what a peer has pushed will come once more, with the answer to a pull.
    fn is_pulling(&self, cause: &Cause) -> bool {
        let link = self.links.get(&cause.session);
        !cause.is_pulled && link.is_some_and(|link| link.pull != Pull::Done)
    }

    /// What a scribe wants; `None` if it makes no sense.
    fn deed(&self, class: &Class, scribe: &Scribe) -> Result<Option<Deed>, Error> {
        let list = scribe.data.as_array().map(Vec::as_slice);
        let (id, attributes) = match (scribe.kind.as_str(), &scribe.data, list) {
            ("create", Json::Object(attributes), _) => (attributes.get("id"), Some(attributes)),
            ("update", _, Some([id, Json::Object(attributes)])) => (Some(id), Some(attributes)),
            ("destroy", _, Some([id, ..])) => (Some(id), None),
            _ => (None, None),
        };
        let Some(id) = id.and_then(attributes::id_from_json) else { return Ok(None) };
        let key = self.key(class, id)?;
        let is_other = |attributes: &Attributes| {
            attributes.get("id").is_some_and(|id| *id != attributes::id_to_json(&key.id))
        };
        Ok(match (scribe.kind.as_str(), attributes.cloned()) {
            (_, None) => Some(Deed::Destroy(key)),
            (_, Some(attributes)) if is_other(&attributes) => None,
            ("create", Some(attributes)) => Some(Deed::Create(key, attributes)),
            (_, Some(attributes)) => Some(Deed::Update(key, attributes)),
        })
    }

    /// The record that a peer means. Text that reads as a UUID is one if the node knows a record of it.
    pub(super) fn key(&self, class: &Class, id: RecordId) -> Result<RecordKey, Error> {
        let model: Name = class.model_name().clone();
        if let RecordId::Text(text) = &id
            && let Ok(uuid) = Uuid::parse_str(text.as_str())
            && uuid.to_string() == text.as_str()
        {
            let key = RecordKey { model: model.clone(), id: uuid.into() };
            if self.is_known(&key)? {
                return Ok(key);
            }
        }
        Ok(RecordKey { model, id })
    }

    /// Whether the node has, or had, a record.
    fn is_known(&self, key: &RecordKey) -> Result<bool, Error> {
        let record = self.node.reader().record(key).map_err(syncro::Error::from)?;
        Ok(record.is_some_and(|record| !record.is_unknown()))
    }

    /// What the node is to record; `None` if there is nothing to.
    fn proposal(
        &self,
        class: &Class,
        deed: &Deed,
    ) -> Result<Result<Option<Proposal>, Unfit>, Error> {
        let now = self.get_record(deed.key())?;
        let key = || deed.key().clone();
        let mut proposal = Proposal::default();
        let done = match (deed, now) {
            (Deed::Create(_, given) | Deed::Update(_, given), Some(now)) => {
                attributes::edits(class, &now, given)
                    .and_then(|edits: Vec<Edit>| Ok(proposal.update(key(), edits)?))
            }
            (Deed::Create(_, given), None) => attributes::fields(class, given)
                .and_then(|fields: Fields| Ok(proposal.create(key(), &fields)?)),
            // An update never revives: one that a destroy has overtaken is done with.
            (Deed::Update(..), None) if self.is_known(deed.key())? => return Ok(Ok(None)),
            (Deed::Update(..), None) => {
                return Ok(Err(Unfit::Unknown(key().to_string())));
            }
            (Deed::Destroy(_), Some(_)) => proposal.destroy(key()).map_err(Unfit::from),
            (Deed::Destroy(_), None) => return Ok(Ok(None)),
        };
        Ok(done.map(|()| Some(proposal)))
    }

    /// Whether a scribe is one that was played before a crash, and of which the list knows nothing.
    fn is_orphan(&mut self, uid: &Uid, scribe: &Scribe) -> Result<bool, Error> {
        if self.orphans.is_empty() || self.pulled_from.contains(uid) {
            return Ok(false);
        }
        let Some(class) = self.settings.tables.class(&scribe.klass) else { return Ok(false) };
        let Some(deed) = self.deed(class, scribe)? else { return Ok(false) };
        let found = self.orphans.iter().position(|(_, logged)| {
            let (given, fits) = match &deed {
                Deed::Create(_, given) => (Some(given), logged.mark != Mark::Destroy),
                Deed::Update(_, given) => (Some(given), logged.mark == Mark::Update),
                Deed::Destroy(_) => (None, logged.mark == Mark::Destroy),
            };
            logged.key == *deed.key()
                && fits
                && logged.fields.iter().all(|(path, value)| {
                    let said = given.and_then(|given| given.get(path.field.as_str()));
                    said.is_some_and(|said| {
                        path.element.is_some() || attributes::to_value(said).encode() == *value
                    })
                })
        });
        Ok(found.map(|at| self.orphans.remove(at)).is_some())
    }
}

/// Tells scribes of one id apart.
fn sum(scribe: &Scribe) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [&scribe.klass, &scribe.kind, &scribe.data.to_string()] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize()
}
