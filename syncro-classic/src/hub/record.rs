//! From the node's log to the list.

use serde_json::Value as Json;
use syncro::{Change, Fields, Point, RecordKey, UsageError, View};

use super::{Cause, Hub};
use crate::attributes::{self, Attributes};
use crate::base::Base;
use crate::class::{Audience, Class, Seen, Uid};
use crate::error::Error;
use crate::event::{Event, SessionId};
use crate::limits::{CHANGES_AT_ONCE, FRAME_BYTES_MAX, UNMARKED_MAX};
use crate::list::{Held, Row, What, key_of};
use crate::message::Scribe;

/// What a change is for classic peers.
struct Seeing {
    klass: String,
    id: Json,
    key: Vec<u8>,
    held: Held,
    /// Who holds the record after it.
    to: Audience,
    /// All attributes; `None` when it is not alive.
    all: Option<Attributes>,
    changed: Attributes,
    by: Option<Cause>,
}

impl<N: Base> Hub<N> {
    /// Puts what has changed into the list, once it is durable. Returns whether there is more.
    pub(super) fn record(&mut self) -> Result<bool, Error> {
        let is_behind = self.node.end().offset > self.list.mark().offset;
        if !is_behind && !self.list.is_staged() {
            return Ok(false);
        }
        // A peer cannot check, after a crash, whether what it was told still is. So it is told of nothing that a
        // crash could take.
        let end = self.node.make_durable()?;
        let mut left = CHANGES_AT_ONCE;
        while left > 0
            && let Some(change) = self.change_before(end.offset)?
        {
            self.on_change(change)?;
            left -= 1;
        }
        if self.list.is_staged() || self.unmarked >= UNMARKED_MAX {
            self.unmarked = 0;
            self.list.write().map_err(Error::List)?;
        }
        Ok(left == 0)
    }

    /// Looks at all changes before an offset.
    pub(super) fn record_until(&mut self, offset: u64) -> Result<(), Error> {
        while let Some(change) = self.change_before(offset)? {
            self.on_change(change)?;
        }
        Ok(())
    }

    fn change_before(&mut self, offset: u64) -> Result<Option<Change<Fields>>, Error> {
        if self.next_change.is_none() {
            match self.node.next_of(&mut self.watch) {
                Ok(change) => self.next_change = change,
                Err(error) => self.on_watch_error(error)?,
            }
        }
        Ok(self.next_change.take_if(|change| change.offset < offset))
    }

    pub(super) fn on_watch_error(&mut self, error: syncro::Error) -> Result<(), Error> {
        match error {
            // The node was repaired, and goes on from another end.
            syncro::Error::Usage(UsageError::UnknownPoint { .. }) => {
                self.compare_with_store(self.node.end())
            }
            error => Err(error.into()),
        }
    }

    fn on_change(&mut self, change: Change<Fields>) -> Result<(), Error> {
        self.list.cover(change.resume);
        self.unmarked += 1;
        let by = self.played.remove(&change.offset);
        let is_left_out = self.left_out.remove(&change.stamp);
        let Some(class) = self.settings.tables.class_of(&change.key.model).cloned() else {
            return Ok(());
        };
        let seeing = self.seeing(&class, &change, by)?;
        let is_recorded = !is_left_out && self.is_recorded(&class, &seeing);
        if is_recorded { self.tell_of(seeing) } else { Ok(()) }
    }

    fn seeing(
        &self,
        class: &Class,
        change: &Change<Fields>,
        by: Option<Cause>,
    ) -> Result<Seeing, Error> {
        let id = attributes::id_to_json(&change.key.id);
        let shown = |fields: &Option<Fields>| {
            fields.as_ref().map(|fields| attributes::attributes(&id, fields))
        };
        let (before, all) = (shown(&change.before), shown(&change.after));
        let key = key_of(class.klass(), &id);
        let held = self.list.held(&key).map_err(Error::List)?;
        let to = self.audience(class, &id, all.as_ref());
        let mut changed = match (&before, &all) {
            (Some(before), Some(all)) => attributes::changed(before, all),
            // What it was is not known any more: all of it may have changed.
            (None, Some(all)) => all.clone(),
            (_, None) => Attributes::new(),
        };
        changed.remove("id");
        Ok(Seeing { klass: class.klass().to_owned(), id, key, held, to, all, changed, by })
    }

    fn audience(&self, class: &Class, id: &Json, all: Option<&Attributes>) -> Audience {
        all.map_or(Audience::NOBODY, |attributes| {
            self.settings.policy.scribe_clients(Seen { klass: class.klass(), id, attributes })
        })
    }

    fn is_recorded(&self, class: &Class, seeing: &Seeing) -> bool {
        let sorts = class.is_recorded();
        let is_of_sort = match &seeing.all {
            None => sorts.destroys,
            Some(_) if seeing.held.by.is_nobody() => sorts.creates,
            Some(_) => sorts.updates,
        };
        let (klass, id) = (&*seeing.klass, &seeing.id);
        let asks = |attributes: &Attributes| {
            self.settings.policy.is_recorded(Seen { klass, id, attributes })
        };
        is_of_sort && seeing.all.as_ref().is_none_or(asks)
    }

    /// Puts a change into the list, if anybody is to hear of it.
    fn tell_of(&mut self, seeing: Seeing) -> Result<(), Error> {
        let Seeing { klass, id, key, held, to, all, changed, by } = seeing;
        let is_same_view = held.by == to;
        if (is_same_view && changed.is_empty()) || (held.by.is_nobody() && to.is_nobody()) {
            return Ok(());
        }
        let is_destroy = all.is_none();
        // Whose own change hides the record from it is told so like anybody else.
        let hides = |cause: &Cause| !is_destroy && held.by.has(&cause.uid) && !to.has(&cause.uid);
        let by = by.filter(|cause| !hides(cause));
        let mut rows = Vec::new();
        // Nobody can destroy what it lacks; and whoever destroyed it lacks it, but another device of the same
        // client does not.
        let uid = by.as_ref().map(|cause| cause.uid.clone());
        let lacking = match &uid {
            _ if held.is_doubtful && !is_same_view => held.by.clone(),
            Some(uid) if is_destroy && held.by.has(uid) => Audience::Only([uid.clone()].into()),
            _ => Audience::NOBODY,
        };
        if !lacking.is_nobody() {
            let is_of_client = !held.is_doubtful;
            rows.push(What::Known { id: id.clone(), to: lacking, is_of_client });
        }
        let all = all.filter(|_| !is_same_view);
        let is_too_long = all.as_ref().is_some_and(|all| is_too_long(&klass, all));
        let (was, is_doubtful) = (held.by, held.is_doubtful);
        rows.push(What::Record { id, was, to: to.clone(), changed, all, is_doubtful });
        let is_own = match &by {
            Some(cause) => !self.is_contested(cause, &key, held.last, is_destroy)?,
            None => false,
        };
        let is_doubtful = !is_destroy && (is_doubtful || is_too_long);
        let session = by.filter(|_| is_own).map(|cause| cause.session);
        let last = self.append(&klass, rows, uid, held.last, session)?;
        self.list.set_held(&key, &Held { by: to, last, is_doubtful });
        Ok(())
    }

    /// Puts rows of one record into the list, of which the session that they came from is not told. Returns the
    /// last one.
    fn append(
        &mut self,
        klass: &str,
        rows: Vec<What>,
        by: Option<Uid>,
        mut last: u64,
        own: Option<SessionId>,
    ) -> Result<u64, Error> {
        for what in rows {
            let row = Row { klass: klass.to_owned(), what, by: by.clone(), previous: last };
            last = self.list.append(&row).map_err(Error::List)?;
            if let Some(link) = own.and_then(|session| self.links.get_mut(&session)) {
                link.own.add(last);
            }
        }
        Ok(last)
    }

    /// Notes that a client has destroyed what was destroyed before: it must not be told of that, nor of what
    /// happened to the record before, in any later session.
    pub(super) fn tell_of_vain_destroy(
        &mut self,
        cause: &Cause,
        class: &Class,
        id: &Json,
    ) -> Result<(), Error> {
        let key = key_of(class.klass(), id);
        let held = self.list.held(&key).map_err(Error::List)?;
        let row = self.list.row(held.last).map_err(Error::List)?;
        if row.is_none_or(|row| row.is_destroy_by(&cause.uid)) {
            return Ok(());
        }
        // It may hold it all the same: what it has pushed since was played before this.
        let peer = self.list.peer(&cause.uid).map_err(Error::List)?;
        let has_pushed = cause.is_pulled && !peer.ahead.is_empty();
        if has_pushed || self.may_have_heard_of(cause, &key) {
            return self.tell_how_it_is(cause, class, id, Vec::new());
        }
        let only = Audience::Only([cause.uid.clone()].into());
        let rows = vec![
            What::Known { id: id.clone(), to: only.clone(), is_of_client: true },
            What::Gone { id: id.clone(), to: only },
        ];
        let is_own = !self.is_contested(cause, &key, held.last, true)?;
        let own = Some(cause.session).filter(|_| is_own);
        let last = self.append(class.klass(), rows, Some(cause.uid.clone()), held.last, own)?;
        self.list.set_held(&key, &Held { last, ..held });
        Ok(())
    }

    /// Whether a peer may have heard of a record after what it did in a session that was lost.
    pub(super) fn may_have_heard_of(&self, cause: &Cause, key: &[u8]) -> bool {
        let link = self.links.get(&cause.session);
        cause.is_pulled && link.is_some_and(|link| link.unheard.contains(key))
    }

    /// Notes that a client has to be told how a record is, whatever it has made of it: this client alone, and on every
    /// device, since any of them may have done that.
    pub(super) fn tell_how_it_is(
        &mut self,
        cause: &Cause,
        class: &Class,
        id: &Json,
        written: Vec<String>,
    ) -> Result<(), Error> {
        let uid = &cause.uid;
        let key = key_of(class.klass(), id);
        let held = self.list.held(&key).map_err(Error::List)?;
        let (id, to) = (id.clone(), Audience::Only([uid.clone()].into()));
        let is_there = held.by.has(uid);
        let mut rows = Vec::new();
        if !is_there {
            // Nobody can destroy what it lacks, and another device does.
            rows.push(What::Known { id: id.clone(), to: to.clone(), is_of_client: false });
        }
        rows.push(What::Undone { id, to, written, is_there });
        let last = self.append(class.klass(), rows, None, held.last, None)?;
        self.list.set_held(&key, &Held { last, ..held });
        if let Some(link) = self.links.get_mut(&cause.session) {
            link.undone.add(last);
        }
        Ok(())
    }

    /// Notes that a client has to be told anew of a record, since nobody knows whether it holds it.
    pub(super) fn tell_anew(&mut self, cause: &Cause, key: &[u8]) -> Result<(), Error> {
        let held = self.list.held(key).map_err(Error::List)?;
        let row = self.list.row(held.last).map_err(Error::List)?;
        let Some((klass, id)) = row.and_then(id_of) else { return Ok(()) };
        match self.settings.tables.class(&klass).cloned() {
            Some(class) => self.tell_how_it_is(cause, &class, &id, Vec::new()),
            None => Ok(()),
        }
    }

    /// Whether the peer that caused a change may play something older over it, and so has to be told of its own.
    fn is_contested(
        &self,
        cause: &Cause,
        key: &[u8],
        last: u64,
        is_destroy: bool,
    ) -> Result<bool, Error> {
        let Some(link) = self.links.get(&cause.session) else { return Ok(false) };
        // It cannot destroy once more what it has destroyed, unless it is about to create it.
        if is_destroy {
            return Ok(link.will_have(key));
        }
        if link.is_unsettled(key, last) {
            return Ok(true);
        }
        // What was pulled is older than this session: it may have been done before the peer played the last
        // change of somebody else.
        let row = if cause.is_pulled { self.list.row(last).map_err(Error::List)? } else { None };
        Ok(row.is_some_and(|row| row.by.as_ref() != Some(&cause.uid)))
    }

    /// Compares the list with the node's records, where the node's log is not the one that the list was made
    /// from. What is alive is told again. What the node does not know any more is left with whoever has it: it
    /// may come back from a peer.
    pub(super) fn compare_with_store(&mut self, end: Point) -> Result<(), Error> {
        self.tell_host(Event::StoreChanged);
        for class in self.settings.tables.classes().cloned().collect::<Vec<_>>() {
            for (id, fields) in self.list_records(class.model_name())? {
                self.tell_again(&class, &attributes::id_to_json(&id), Some(&fields))?;
            }
        }
        self.tell_destroyed()?;
        self.list.cover(end);
        self.list.write().map_err(Error::List)
    }

    fn tell_again(
        &mut self,
        class: &Class,
        id: &Json,
        fields: Option<&Fields>,
    ) -> Result<(), Error> {
        let key = key_of(class.klass(), id);
        let held = self.list.held(&key).map_err(Error::List)?;
        let all = fields.map(|fields| attributes::attributes(id, fields));
        let to = self.audience(class, id, all.as_ref());
        let mut changed = all.clone().unwrap_or_default();
        changed.remove("id");
        let (klass, id, by) = (class.klass().to_owned(), id.clone(), None);
        self.tell_of(Seeing { klass, id, key, held, to, all, changed, by })
    }

    /// Tells of the records that the node knows to be destroyed, and that somebody holds.
    fn tell_destroyed(&mut self) -> Result<(), Error> {
        let mut after = Vec::new();
        loop {
            let page = self.list.all_held(&after, CHANGES_AT_ONCE).map_err(Error::List)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = last.to_vec();
            for (_, held) in page.iter().filter(|(_, held)| !held.by.is_nobody()) {
                let row = self.list.row(held.last).map_err(Error::List)?;
                let Some((klass, id)) = row.and_then(id_of) else { continue };
                let Some(class) = self.settings.tables.class(&klass).cloned() else { continue };
                let Some(record) = attributes::id_from_json(&id) else { continue };
                if self.is_destroyed(&self.key(&class, record)?)? {
                    self.tell_again(&class, &id, None)?;
                }
            }
        }
    }

    fn is_destroyed(&self, key: &RecordKey) -> Result<bool, Error> {
        let record = self.node.reader().record(key).map_err(syncro::Error::from)?;
        Ok(record.is_some_and(|record| !record.is_alive() && record.destroyed().is_some()))
    }
}

/// The class and the id of the record that a row is about.
fn id_of(row: Row) -> Option<(String, Json)> {
    match row.what {
        What::Record { id, .. }
        | What::Known { id, .. }
        | What::Gone { id, .. }
        | What::Undone { id, .. } => Some((row.klass, id)),
        What::Custom { .. } | What::Nothing => None,
    }
}

/// Whether a create of these attributes does not fit a frame, whatever its numbers.
fn is_too_long(klass: &str, all: &Attributes) -> bool {
    let (kind, id) = ("create".to_owned(), Some(u64::MAX.to_string()));
    let scribe = Scribe { klass: klass.to_owned(), kind, id, data: Json::Object(all.clone()) };
    let message =
        serde_json::json!({ "type": "add_scribe", "scribe": scribe.write(), "id": u64::MAX });
    crate::json::ascii(&message).len() > FRAME_BYTES_MAX
}
