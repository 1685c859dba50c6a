//! What the host opens to classic peers: closed tables of classes, types and methods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use syncro::{DataError, Name, Principal};

use crate::attributes::Attributes;
use crate::error::Error;
use crate::limits::NAME_BYTES_MAX;
use crate::message::{Scribe, is_of_record};

/// Who a classic peer is: 1 to 255 bytes. The host decides it, per connection; nothing on the wire says so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uid(String);

impl Uid {
    /// Checks and takes a uid.
    ///
    /// # Errors
    ///
    /// [`DataError::NameLength`] when the text is empty or longer than 255 bytes.
    pub fn new(text: &str) -> Result<Self, DataError> {
        Name::new(text).map(|name| Self(name.as_str().to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Who is told of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Every client, those that appear later among them.
    Everyone,
    /// These; one that is not known yet finds it waiting. Nobody, if there is none.
    Only(BTreeSet<Uid>),
}

impl Audience {
    /// Nobody: what happens to such a record is not recorded for classic peers.
    pub const NOBODY: Self = Self::Only(BTreeSet::new());

    /// Whether a client is told.
    pub fn has(&self, uid: &Uid) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(uids) => uids.contains(uid),
        }
    }

    /// Whether nobody is told.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Only(uids) if uids.is_empty())
    }
}

/// A record as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The class.
    pub klass: &'a str,
    /// The id, as classic peers see it.
    pub id: &'a Json,
    /// The attributes, `id` among them.
    pub attributes: &'a Attributes,
}

/// What the host decides for classic peers. Every question is asked in the thread that plays and tells, so the
/// answers should be quick; they should follow from what is asked alone.
pub trait Policy: Send + 'static {
    /// Who is told of a record, as it is now (the original's `scribe_clients`).
    fn scribe_clients(&self, record: Seen<'_>) -> Audience {
        let _ = record;
        Audience::Everyone
    }

    /// Whether a peer may do this (the original's `scribe_authorized?`).
    fn scribe_authorized(&self, scribe: &Scribe, from: &Uid) -> bool {
        let _ = (scribe, from);
        true
    }

    /// By whose rights a client writes, on a node that limits them ([`Node::is_authority`](syncro::Node::is_authority)):
    /// what the node's rules refuse to this principal is not recorded, and undone at the peer. `None` may change nothing
    /// there. A node without rules does not ask.
    fn principal(&self, uid: &Uid) -> Option<Principal> {
        let _ = uid;
        None
    }

    /// Whether changes of this record are told at all.
    fn is_recorded(&self, record: Seen<'_>) -> bool {
        let _ = record;
        true
    }
}

/// Tells everyone, and lets everyone do what the classes allow; on a node that limits its peers nobody may change anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Policy for Open {}

/// What a field of a record is beyond a plain value. It matters where a classic peer creates a record: of one
/// that exists, the fields say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A sum that all raise.
    Counter,
    /// Members that come and go one by one.
    Set,
    /// Entries that change one by one.
    Map,
}

/// Which sorts of changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Creates, and what enters somebody's view.
    pub creates: bool,
    /// Updates.
    pub updates: bool,
    /// Destroys, and what leaves somebody's view.
    pub destroys: bool,
}

impl Recorded {
    /// All of them.
    pub const ALL: Self = Self { creates: true, updates: true, destroys: true };
}

/// A class that classic peers share, and the model of the node that it is.
#[derive(Clone, Debug)]
pub struct Class {
    klass: String,
    model: Name,
    shapes: BTreeMap<String, Shape>,
    recorded: Recorded,
}

impl Class {
    /// A class that is the model of the same name.
    ///
    /// # Errors
    ///
    /// [`DataError::NameLength`] for a name outside 1 to 255 bytes.
    pub fn new(klass: &str) -> Result<Self, DataError> {
        let (shapes, recorded) = (BTreeMap::new(), Recorded::ALL);
        Ok(Self { klass: klass.to_owned(), model: Name::new(klass)?, shapes, recorded })
    }

    /// Gives the model another name.
    pub fn model(mut self, model: Name) -> Self {
        self.model = model;
        self
    }

    /// Says that a field is a counter, a set or a map where a classic peer creates a record.
    pub fn field(mut self, name: &str, shape: Shape) -> Self {
        self.shapes.insert(name.to_owned(), shape);
        self
    }

    /// Limits what is told of changes.
    pub fn recorded(mut self, recorded: Recorded) -> Self {
        self.recorded = recorded;
        self
    }

    pub(crate) fn klass(&self) -> &str {
        &self.klass
    }

    pub(crate) fn model_name(&self) -> &Name {
        &self.model
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Shape> {
        self.shapes.get(name).copied()
    }

    pub(crate) fn is_recorded(&self) -> Recorded {
        self.recorded
    }
}

/// Plays a scribe of a type of the host's own, and says to whom it is relayed; an error is that it failed.
pub type Player = dyn FnMut(&Scribe, &Uid) -> Result<Audience, String> + Send;

/// A method that peers may call; an error is that it failed.
pub type Method = dyn FnMut(&[Json], &Uid) -> Result<Json, String> + Send;

/// What classic peers may name. Nothing else reaches the host: in the original, any method of an exposed class
/// could be called.
#[derive(Default)]
pub struct Tables {
    classes: BTreeMap<String, Class>,
    models: BTreeMap<Name, String>,
    players: BTreeMap<String, BTreeMap<String, Box<Player>>>,
    methods: BTreeMap<String, BTreeMap<String, Box<Method>>>,
}

impl Tables {
    /// Lets peers share the records of a class.
    ///
    /// # Errors
    ///
    /// [`Error::Twice`] for a class or a model that is shared already.
    pub fn allow(mut self, class: Class) -> Result<Self, Error> {
        let (klass, model) = (class.klass.clone(), class.model.clone());
        if self.classes.contains_key(&klass) || self.models.contains_key(&model) {
            return Err(Error::Twice { name: klass });
        }
        self.models.insert(model, klass.clone());
        self.classes.insert(klass, class);
        Ok(self)
    }

    /// Plays the scribes of a type of the host's own. The class need not be one of records.
    ///
    /// # Errors
    ///
    /// [`Error::Twice`] for a type that is played already, [`Error::Reserved`] for `create`, `update` and
    /// `destroy`, [`Error::Node`] for a name that is too long.
    pub fn play(
        mut self,
        klass: &str,
        kind: &str,
        player: impl FnMut(&Scribe, &Uid) -> Result<Audience, String> + Send + 'static,
    ) -> Result<Self, Error> {
        for name in [klass, kind] {
            Name::new(name)?;
        }
        if is_of_record(kind) {
            return Err(Error::Reserved { name: kind.to_owned() });
        }
        let players = self.players.entry(klass.to_owned()).or_default();
        if players.insert(kind.to_owned(), Box::new(player)).is_some() {
            return Err(Error::Twice { name: format!("{klass}.{kind}") });
        }
        Ok(self)
    }

    /// Lets peers call a method.
    ///
    /// # Errors
    ///
    /// [`Error::Twice`] for a method that is there already, [`Error::Reserved`] for the class of the built-in
    /// ones.
    pub fn expose(
        mut self,
        klass: &str,
        method: &str,
        call: impl FnMut(&[Json], &Uid) -> Result<Json, String> + Send + 'static,
    ) -> Result<Self, Error> {
        if klass == DEFAULT_RPC {
            return Err(Error::Reserved { name: klass.to_owned() });
        }
        let methods = self.methods.entry(klass.to_owned()).or_default();
        if methods.insert(method.to_owned(), Box::new(call)).is_some() {
            return Err(Error::Twice { name: format!("{klass}.{method}") });
        }
        Ok(self)
    }

    pub(crate) fn class(&self, klass: &str) -> Option<&Class> {
        self.classes.get(klass)
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.values()
    }

    pub(crate) fn class_of(&self, model: &Name) -> Option<&Class> {
        self.classes.get(self.models.get(model)?)
    }

    /// Whether peers may name a class at all.
    pub(crate) fn knows(&self, klass: &str) -> bool {
        self.classes.contains_key(klass) || self.players.contains_key(klass)
    }

    pub(crate) fn player(&mut self, klass: &str, kind: &str) -> Option<&mut Box<Player>> {
        self.players.get_mut(klass)?.get_mut(kind)
    }

    /// The method, or the code of the error: 404 for the class, 405 for the method.
    pub(crate) fn method(&mut self, klass: &str, method: &str) -> Result<&mut Box<Method>, u16> {
        let methods = self.methods.get_mut(klass).ok_or(NO_CLASS)?;
        methods.get_mut(method).ok_or(NO_METHOD)
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("classes", &self.classes.keys()).finish_non_exhaustive()
    }
}

/// The class of the built-in methods.
pub(crate) const DEFAULT_RPC: &str = "Syncro::RPC::Default";

/// The codes of an `error`.
pub(crate) const FAILED: u16 = 0;
pub(crate) const FORBIDDEN: u16 = 403;
pub(crate) const NO_CLASS: u16 = 404;
pub(crate) const NO_METHOD: u16 = 405;

const _: () = assert!(NAME_BYTES_MAX == 255, "as long as a `Name`");
