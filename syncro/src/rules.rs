//! Permissions out of closures.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use syncro_core::{
    Attempt, Claim, Fields, FieldsReader, ModelChannels, NodeId, Permissions, Principal, Record,
    RecordKey, Refusal, ScribeModel, Trial,
};

/// What peers may do, put together of closures: one that says who they are, and for each model one that says what may
/// become of its records.
///
/// A peer that is let in may change a record if its principal may write into one of the
/// [channels](ScribeModel::CHANNELS) that the record is in, and let it enter or leave only those into which it may write. Of what that allows
/// the rules refuse more: they see each record as it was, and as it would be. A change that does not fit its type is
/// refused too, and one of a model that was not named here.
///
/// The closures are called in the middle of a step of the node: they answer from memory, and do not use the node. What
/// one panics on is set aside: [`Node::quarantine`](crate::Node::quarantine).
///
/// ```
/// use syncro::{Access, Node, Pattern, Principal, Refusal, Rules, ScribeModel};
///
/// #[derive(ScribeModel)]
/// #[scribe(channel = "list/{list}")]
/// struct Todo { id: String, list: String, title: String }
///
/// # fn main() -> Result<(), syncro::Error> {
/// let lists = Pattern::new("list/*")?;
/// let rules = Rules::new(move |claim| {
///     let ann = Principal::new("ann").may_read(Access::All).may_write([lists.clone()]);
///     (claim.credentials == b"secret").then_some(ann)
/// })
/// .rule(|change: &syncro::Proposed<'_, Todo>| match &change.after {
///     Some(todo) if todo.title.is_empty() => Err(Refusal::new(100, "a todo needs a title")),
///     _ => Ok(()),
/// });
/// let server = Node::builder().name("server").rules(rules).open_on(syncro::store::Memory::new())?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
pub struct Rules {
    authenticate: Box<Authenticate>,
    author: Box<Author>,
    attempt: Box<Authorize>,
    models: BTreeMap<&'static str, (ModelChannels, Box<Rule>)>,
}

type Authenticate = dyn Fn(&Claim<'_>) -> Option<Principal> + Send + Sync;
type Author = dyn Fn(NodeId) -> Option<Principal> + Send + Sync;
type Authorize = dyn Fn(&Attempt<'_>) -> Result<(), Refusal> + Send + Sync;
type Rule = dyn Fn(&Principal, &Trial) -> Result<(), Refusal> + Send + Sync;

/// What would become of one record, as its type shows it.
#[derive(Debug)]
pub struct Proposed<'a, M> {
    /// By whose rights.
    pub principal: &'a Principal,
    /// The record as it is; `None` when there is none, or none that fits the type.
    pub before: Option<M>,
    /// The record as it would be; `None` when it would be destroyed.
    pub after: Option<M>,
    /// What was written, and the record with everything that the type does not know.
    pub trial: &'a Trial,
}

impl Rules {
    /// Rules for the peers to whom the closure gives a principal: nobody else is let in. They may change nothing but
    /// records of models that are [named](Self::model).
    pub fn new(
        authenticate: impl Fn(&Claim<'_>) -> Option<Principal> + Send + Sync + 'static,
    ) -> Self {
        Self {
            authenticate: Box::new(authenticate),
            author: Box::new(|_| None),
            attempt: Box::new(|_| Ok(())),
            models: BTreeMap::new(),
        }
    }

    /// Says by whose rights a transaction is judged that a [relay](Principal::relays) brings; otherwise by the relay's. For
    /// those of whom it says that they may see everything, [bundles](crate::Node::export_for) may be written.
    #[must_use]
    pub fn authors(
        mut self,
        author: impl Fn(NodeId) -> Option<Principal> + Send + Sync + 'static,
    ) -> Self {
        self.author = Box::new(author);
        self
    }

    /// Names a model: whoever may write into its records' channels may change them as long as they fit the type.
    #[must_use]
    pub fn model<M: ScribeModel + 'static>(self) -> Self {
        self.rule(|_: &Proposed<'_, M>| Ok(()))
    }

    /// Names a model, and says what may become of its records.
    #[must_use]
    pub fn rule<M: ScribeModel + 'static>(
        mut self,
        rule: impl Fn(&Proposed<'_, M>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        let judge = move |principal: &Principal, trial: &Trial| {
            let key = trial.key();
            let read = |record: &Record| read::<M>(key, record);
            let before = trial.before.as_deref().map(read).and_then(Result::ok).flatten();
            let after = read(&trial.after)?;
            rule(&Proposed { principal, before, after, trial })
        };
        self.models.insert(M::MODEL, (ModelChannels::of::<M>(), Box::new(judge)));
        self
    }

    /// Says what may become of anything, after the models' own rules have been asked.
    #[must_use]
    pub fn node(
        mut self,
        attempt: impl Fn(&Attempt<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.attempt = Box::new(attempt);
        self
    }

    /// The channels of the models.
    pub(crate) fn models(&self) -> impl Iterator<Item = ModelChannels> {
        self.models.values().map(|(channels, _)| channels.clone())
    }

    fn judge(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        for trial in attempt.trials {
            let key = trial.key();
            match self.models.get(key.model.as_str()) {
                Some((_, rule)) => rule(attempt.principal, trial)?,
                // The engine has let it pass: of these it knows more.
                None if key.model.is_reserved() => {}
                None => {
                    let message = format!(
                        "{key}: nobody may write records of {}, which the authority's rules do not name: name the model \
                         there with `Rules::rule`, or with `Rules::model` where there is nothing more to say",
                        key.model
                    );
                    return Err(Refusal::new(Refusal::SILENCE, message));
                }
            }
        }
        (self.attempt)(attempt)
    }
}

/// The instance that a record shows; `None` when it is not alive.
fn read<M: ScribeModel>(key: &RecordKey, record: &Record) -> Result<Option<M>, Refusal> {
    if !record.is_alive() {
        return Ok(None);
    }
    let instance = FieldsReader::instance(&key.id, &Fields::of(record));
    instance.map(Some).map_err(|error| Refusal::new(Refusal::MISFIT, error.to_string()))
}

impl Permissions for Rules {
    fn authenticate(&self, claim: &Claim<'_>) -> Option<Arc<Principal>> {
        let principal = catch_unwind(AssertUnwindSafe(|| (self.authenticate)(claim)));
        principal.ok().flatten().map(Arc::new)
    }

    fn author(&self, node: NodeId) -> Option<Arc<Principal>> {
        let principal = catch_unwind(AssertUnwindSafe(|| (self.author)(node)));
        // Nobody in place of somebody whom a closure could not name: the relay's own rights would be too many.
        principal.unwrap_or_else(|_| Some(Principal::new("unknown"))).map(Arc::new)
    }

    fn authorize(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge(attempt)));
        judged.unwrap_or_else(|_| {
            Err(Refusal::new(Refusal::FAILED, "a rule of the authority failed"))
        })
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models: Vec<_> = self.models.keys().collect();
        f.debug_struct(type_name::<Self>()).field("models", &models).finish_non_exhaustive()
    }
}
