//! Answering, and telling peers what is new.

use serde_json::{Value as Json, json};
use syncro::RecordKey;

use super::link::{Link, State, Told};
use super::{Answer, Confirmation, Hub, UnknownFrom};
use crate::attributes::{self, Attributes};
use crate::base::Base;
use crate::class::{DEFAULT_RPC, FAILED, NO_CLASS, NO_METHOD, Seen, Uid};
use crate::error::Error;
use crate::event::{Event, SessionId};
use crate::json::ascii;
use crate::limits::{
    ANSWER_BYTES_MAX, HISTORY_STEPS_MAX, ROWS_AT_ONCE, ROWS_PER_READ, STATE_RECORDS_MAX,
};
use crate::list::{Row, What, key_of};
use crate::message::{From, Scribe};
use crate::session::Input;

/// The answer to a `sync`, while it is put together.
struct Prefix {
    scribes: Vec<Json>,
    told: Vec<Told>,
    bytes: usize,
    bytes_max: usize,
}

impl Prefix {
    /// Takes one more scribe, if it fits.
    fn take(&mut self, scribe: &Scribe, key: &[u8]) -> bool {
        let json = scribe.clone().write();
        let bytes = self.bytes + ascii(&json).len() + 1;
        if bytes > self.bytes_max {
            return false;
        }
        self.bytes = bytes;
        self.scribes.push(json);
        self.told.push(told(scribe, key));
        true
    }
}

impl<N: Base> Hub<N> {
    /// Gives the answers that have waited for the flush.
    pub(super) fn answer(&mut self) -> Result<(), Error> {
        for (session, answer) in std::mem::take(&mut self.answers) {
            match answer {
                Answer::Played { request } => {
                    self.give(session, Input::Answer { request, result: Json::Bool(true) });
                }
                Answer::Refused { code } => {
                    self.give(session, Input::Refuse { code });
                }
                Answer::Sync { request, from } => self.answer_sync(session, request, from)?,
                Answer::Call { request, klass, method, args } => {
                    self.answer_call(session, request, &klass, &method, &args)?;
                }
            }
        }
        Ok(())
    }

    fn answer_call(
        &mut self,
        session: SessionId,
        request: Json,
        klass: &str,
        method: &str,
        args: &[Json],
    ) -> Result<(), Error> {
        let Some(uid) = self.links.get(&session).map(|link| link.uid.clone()) else {
            return Ok(());
        };
        let returned = if klass == DEFAULT_RPC {
            match method {
                "last_scribe_id" => Ok(match self.list.last_of(&uid).map_err(Error::List)? {
                    Some(last) => Json::String(last.to_string()),
                    None => Json::from(0),
                }),
                _ => Err((NO_METHOD, "there is no such method".to_owned())),
            }
        } else {
            match self.settings.tables.method(klass, method) {
                Ok(call) => call(args, &uid).map_err(|why| (FAILED, why)),
                Err(NO_CLASS) => Err((NO_CLASS, "there is no such class".to_owned())),
                Err(code) => Err((code, "there is no such method".to_owned())),
            }
        };
        let method: String = format!("{klass}.{method}").chars().take(80).collect();
        let failed = match returned {
            Ok(result) => {
                let (_, too_long) = self.give(session, Input::Answer { request, result });
                too_long.map(|bytes| (FAILED, format!("its answer has {bytes} bytes")))
            }
            Err(failed) => Some(failed),
        };
        if let Some((code, why)) = failed {
            self.tell_host(Event::CallFailed { session, uid, method, code, why });
            self.give(session, Input::Refuse { code });
        }
        Ok(())
    }

    /// Answers with the first of what follows, as much as an answer holds. The rest follows by itself.
    fn answer_sync(&mut self, session: SessionId, request: Json, from: From) -> Result<(), Error> {
        let Some(after) = self.begin_telling(session, from)? else {
            self.give(session, Input::Answer { request, result: json!([]) });
            return Ok(());
        };
        let Some(mut link) = self.links.remove(&session) else { return Ok(()) };
        let empty = json!({ "type": "response", "id": request, "result": [] });
        let bytes_max = link.session.bytes_max().unwrap_or(ANSWER_BYTES_MAX);
        let (scribes, told, bytes) = (Vec::new(), Vec::new(), ascii(&empty).len());
        let mut prefix = Prefix { scribes, told, bytes, bytes_max };
        link.cursor = after;
        let filled = self.fill(&mut link, &mut prefix);
        self.links.insert(session, link);
        filled?;
        self.give(session, Input::Answer { request, result: Json::Array(prefix.scribes) });
        let confirmed = match self.settings.confirmation {
            Confirmation::Noop if !prefix.told.is_empty() => self.give(session, Input::Noop).0,
            _ => None,
        };
        if let Some(link) = self.links.get_mut(&session) {
            match confirmed {
                Some(request) => link.note_told(request, prefix.told),
                None => link.note_answered(prefix.told),
            }
        }
        Ok(())
    }

    fn fill(&self, link: &mut Link, prefix: &mut Prefix) -> Result<(), Error> {
        while let Some((scribe, key)) = self.next_of_state(link)? {
            if !prefix.take(&scribe, &key) {
                link.put_back(key);
                return Ok(());
            }
        }
        let mut left = ROWS_AT_ONCE;
        while left > 0 {
            let rows = self.list.rows(link.cursor, ROWS_PER_READ).map_err(Error::List)?;
            if rows.is_empty() {
                return Ok(());
            }
            left = left.saturating_sub(rows.len());
            for (number, row) in &rows {
                if let Some((scribe, key)) = self.shown(link, *number, row)?
                    && !prefix.take(&scribe, &key)
                {
                    return Ok(());
                }
                link.cursor = *number;
            }
        }
        Ok(())
    }

    /// Finds the place from which a session is told; `None` where it is told nothing.
    fn begin_telling(&mut self, session: SessionId, from: From) -> Result<Option<u64>, Error> {
        let after = match &from {
            From::Start => Some(0),
            From::After(id) => match id.parse().ok().filter(|number| *number <= self.list.end()) {
                Some(number) if self.list.row(number).map_err(Error::List)?.is_some() => {
                    Some(number)
                }
                _ => None,
            },
        };
        let end = self.list.end();
        let Some(link) = self.links.get_mut(&session) else { return Ok(None) };
        (link.is_held, link.state) = (false, None);
        link.untold.clear();
        if let Some(after) = after {
            link.again = Some((after, end));
            return Ok(Some(after));
        }
        let uid = link.uid.clone();
        if let From::After(from) = from {
            self.tell_host(Event::UnknownFrom { session, uid: uid.clone(), from });
        }
        match self.settings.unknown_from {
            UnknownFrom::State => self.begin_state(session, &uid).map(Some),
            UnknownFrom::Nothing => Ok(None),
        }
    }

    /// Sets a session to the state of all records that it may see. Where there are too many it is set to the
    /// start of the list, which says the same in more words.
    fn begin_state(&mut self, session: SessionId, uid: &Uid) -> Result<u64, Error> {
        let (mut keys, mut after) = (Vec::new(), Vec::new());
        loop {
            let page = self.list.all_held(&after, ROWS_PER_READ).map_err(Error::List)?;
            let Some((last, _)) = page.last() else { break };
            after = last.to_vec();
            let seen = page.iter().filter(|(_, held)| held.by.has(uid));
            keys.extend(seen.map(|(key, _)| key.to_vec()));
            if keys.len() > STATE_RECORDS_MAX {
                return Ok(0);
            }
        }
        if keys.is_empty() {
            return Ok(self.list.end());
        }
        keys.reverse();
        let number = self.list.reserve(keys.len() as u64 - 1);
        let (klass, what) = (String::new(), What::Nothing);
        let row = Row { klass, what, by: None, previous: 0 };
        let end = self.list.append(&row).map_err(Error::List)?;
        self.list.write().map_err(Error::List)?;
        if let Some(link) = self.links.get_mut(&session) {
            link.again = None;
            link.state = Some(State { keys, number });
        }
        Ok(end)
    }

    /// The next record of the state that a session is told, as it is now. One that is not there any more, or not
    /// for this peer, is remembered: it must not be told of what happens to it.
    fn next_of_state(&self, link: &mut Link) -> Result<Option<(Scribe, Vec<u8>)>, Error> {
        while let Some(state) = &mut link.state {
            let Some(key) = state.keys.pop() else {
                link.state = None;
                return Ok(None);
            };
            let held = self.list.held(&key).map_err(Error::List)?;
            let row = self.list.row(held.last).map_err(Error::List)?;
            let number = state.number;
            state.number += 1;
            let shown = match row {
                Some(Row {
                    klass,
                    what: What::Record { id, .. } | What::Known { id, .. } | What::Undone { id, .. },
                    ..
                }) => self.now(&klass, &id, &link.uid)?.map(|all| (klass, all)),
                _ => None,
            };
            if let Some((klass, all)) = shown {
                return Ok(Some((create(klass, number, all), key)));
            }
            link.untold.insert(key);
        }
        Ok(None)
    }

    /// A record as it is, if this client may see it so.
    fn now(&self, klass: &str, id: &Json, uid: &Uid) -> Result<Option<Attributes>, Error> {
        let Some(class) = self.settings.tables.class(klass) else { return Ok(None) };
        let Some(record) = attributes::id_from_json(id) else { return Ok(None) };
        let key: RecordKey = self.key(class, record)?;
        let Some(fields) = self.get_record(&key)? else { return Ok(None) };
        let all = attributes::attributes(id, &fields);
        let seen = Seen { klass, id, attributes: &all };
        Ok(self.settings.policy.scribe_clients(seen).has(uid).then_some(all))
    }

    /// Tells every session what is new, as far as there is room.
    pub(super) fn tell(&mut self) -> Result<(), Error> {
        for session in self.sessions() {
            let mut left = ROWS_AT_ONCE;
            while let Some(link) = self.links.get_mut(&session)
                && link.may_be_told()
                && (link.state.is_some() || link.cursor < self.list.end())
            {
                if left == 0 {
                    self.effects.has_more = true;
                    break;
                }
                let Some(mut link) = self.links.remove(&session) else { break };
                let told = self.tell_some(&mut link, &mut left);
                self.links.insert(session, link);
                let Some((scribe, key)) = told? else { continue };
                self.tell_scribe(session, scribe, &key);
            }
        }
        Ok(())
    }

    /// The next thing to tell a session, if there is one among the next rows.
    fn tell_some(
        &self,
        link: &mut Link,
        left: &mut usize,
    ) -> Result<Option<(Scribe, Vec<u8>)>, Error> {
        if let Some(next) = self.next_of_state(link)? {
            return Ok(Some(next));
        }
        let rows = self.list.rows(link.cursor, ROWS_PER_READ.min(*left)).map_err(Error::List)?;
        if rows.is_empty() {
            // Numbers that stand for nothing end the list.
            link.cursor = self.list.end();
        }
        for (number, row) in &rows {
            *left -= 1;
            link.cursor = *number;
            if let Some(shown) = self.shown(link, *number, row)? {
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }

    fn tell_scribe(&mut self, session: SessionId, scribe: Scribe, key: &[u8]) {
        let number = scribe.id.as_deref().and_then(|id| id.parse().ok()).unwrap_or_default();
        let told = told(&scribe, key);
        let (request, too_long) = self.give(session, Input::Tell(scribe));
        let Some(link) = self.links.get_mut(&session) else { return };
        if let Some(request) = request {
            link.note_told(request, vec![told]);
        }
        if let Some(bytes) = too_long {
            let uid = link.uid.clone();
            self.tell_host(Event::TooLong { session, uid, scribe: number, bytes });
        }
    }

    /// What a row says to a peer, and the record that it is about.
    fn shown(
        &self,
        link: &mut Link,
        number: u64,
        row: &Row,
    ) -> Result<Option<(Scribe, Vec<u8>)>, Error> {
        if link.own.has(number) && !self.is_told_again(link, number, row)? {
            return Ok(None);
        }
        let uid = &link.uid;
        let klass = row.klass.clone();
        let (id, was, to, changed, all, is_doubtful) = match &row.what {
            What::Nothing => return Ok(None),
            What::Custom { kind, data, to } => {
                let (kind, id, data) = (kind.clone(), Some(number.to_string()), data.clone());
                let scribe = Scribe { klass, kind, id, data };
                return Ok(to.has(uid).then_some((scribe, Vec::new())));
            }
            What::Known { is_of_client: true, .. } if link.is_told_all(number) => return Ok(None),
            What::Known { id, to, .. } => {
                let key = key_of(&klass, id);
                let overtaking = self.overtaking(link, &key, number)?;
                // It is there for the row after it.
                let is_told = to.has(uid) && overtaking.is_none_or(|row| row.previous == number);
                let all = Attributes::from_iter([("id".to_owned(), id.clone())]);
                return Ok(is_told.then(|| (create(klass, number, all), key)));
            }
            What::Gone { .. } if link.is_told_all(number) => return Ok(None),
            What::Gone { id, to } => {
                let key = key_of(&klass, id);
                let is_told = to.has(uid) && self.overtaking(link, &key, number)?.is_none();
                return Ok(is_told.then(|| (of(klass, "destroy", number, json!([id])), key)));
            }
            What::Undone { id, to, written, is_there } => {
                let key = key_of(&klass, id);
                if !to.has(uid) || self.overtaking(link, &key, number)?.is_some() {
                    return Ok(None);
                }
                let scribe = match is_there {
                    true => create(klass.clone(), number, self.undone(&klass, id, written, uid)?),
                    false => of(klass, "destroy", number, json!([id])),
                };
                return Ok(Some((scribe, key)));
            }
            What::Record { id, was, to, changed, all, is_doubtful } => {
                (id, was, to, changed, all, *is_doubtful)
            }
        };
        let key = key_of(&klass, id);
        if self.overtaking(link, &key, number)?.is_some() {
            return Ok(None);
        }
        let holds = was.has(uid) && !link.untold.contains(&key);
        let scribe = match (holds, to.has(uid)) {
            (false, false) => return Ok(None),
            (true, false) => of(klass, "destroy", number, json!([id])),
            (true, true) if changed.is_empty() => return Ok(None),
            (true, true) if is_doubtful => {
                let mut known = changed.clone();
                known.insert("id".to_owned(), id.clone());
                create(klass, number, known)
            }
            (true, true) => of(klass, "update", number, json!([id, changed])),
            (false, true) => {
                let all = match all {
                    Some(all) => Some(all.clone()),
                    None => self.now(&klass, id, uid)?,
                };
                let Some(all) = all else { return Ok(None) };
                link.untold.remove(&key);
                create(klass, number, all)
            }
        };
        Ok(Some((scribe, key)))
    }

    /// A record as a client has to see it that has written some attributes of it in vain. Of one that is gone meanwhile, or
    /// not for this client, it is the id: what has become of it is told next.
    fn undone(
        &self,
        klass: &str,
        id: &Json,
        written: &[String],
        uid: &Uid,
    ) -> Result<Attributes, Error> {
        let Some(mut all) = self.now(klass, id, uid)? else {
            return Ok(Attributes::from_iter([("id".to_owned(), id.clone())]));
        };
        for name in written {
            all.entry(name.clone()).or_insert(Json::Null);
        }
        Ok(all)
    }

    /// The row of the client's destroy, or one that tells it anew, before which a row may find no record there.
    fn overtaking(&self, link: &Link, key: &[u8], number: u64) -> Result<Option<Row>, Error> {
        let is_told_all = link.is_told_all(number);
        let mut later = self.list.held(key).map_err(Error::List)?.last;
        for _ in 0..HISTORY_STEPS_MAX {
            if later <= number {
                return Ok(None);
            }
            let Some(row) = self.list.row(later).map_err(Error::List)? else { return Ok(None) };
            let is_destroy = row.is_destroy_by(&link.uid) && (!is_told_all || link.own.has(later));
            let is_anew = row.is_anew_for(&link.uid) && (!is_told_all || link.undone.has(later));
            if is_destroy || is_anew {
                return Ok(Some(row));
            }
            later = row.previous;
        }
        Ok(None)
    }

    /// Whether a peer that asks again from an earlier place is told what came from itself: it is, where it is
    /// told of something between that would otherwise undo it.
    fn is_told_again(&self, link: &Link, number: u64, row: &Row) -> Result<bool, Error> {
        let Some((after, _)) = link.again.filter(|(_, end)| number <= *end) else {
            return Ok(false);
        };
        // What came before its own destroy is left out instead.
        if row.is_destroy_by(&link.uid) || matches!(row.what, What::Known { .. }) {
            return Ok(false);
        }
        let mut previous = row.previous;
        for _ in 0..HISTORY_STEPS_MAX {
            if previous <= after {
                return Ok(false);
            }
            if !link.own.has(previous) {
                return Ok(true);
            }
            previous = self.list.row(previous).map_err(Error::List)?.map_or(0, |row| row.previous);
        }
        Ok(true)
    }
}

impl Link {
    /// Puts back a record of the state that did not fit.
    fn put_back(&mut self, key: Vec<u8>) {
        if let Some(state) = &mut self.state {
            state.keys.push(key);
            state.number -= 1;
        }
    }
}

fn told(scribe: &Scribe, key: &[u8]) -> Told {
    let (is_create, is_destroy) = (scribe.kind == "create", scribe.kind == "destroy");
    Told { key: key.to_vec(), is_create, is_destroy }
}

fn create(klass: String, number: u64, all: Attributes) -> Scribe {
    of(klass, "create", number, Json::Object(all))
}

fn of(klass: String, kind: &str, number: u64, data: Json) -> Scribe {
    Scribe { klass, kind: kind.to_owned(), id: Some(number.to_string()), data }
}
