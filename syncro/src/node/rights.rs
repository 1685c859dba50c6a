//! Who this node is to others, and what others may do here.

use std::sync::Arc;

use bytes::Bytes;
use syncro_core::limits::CREDENTIALS_BYTES_MAX;
use syncro_core::{
    Channel, DataError, Input, NodeId, Parked, Principal, Proposal, Scribe, StoreError, UsageError,
    Verdict,
};

use super::Node;
use crate::core::{Committed, Durability};
use crate::error::Error;

impl Node {
    /// Changes what shows peers who this node is. Sessions that are open go on; the next ones say it.
    ///
    /// # Errors
    ///
    /// [`UsageError::CredentialsTooLong`] for more than 2,048 bytes.
    pub fn set_credentials(&self, credentials: impl Into<Vec<u8>>) -> Result<(), Error> {
        let credentials = Bytes::from(credentials.into());
        check_credentials(&credentials)?;
        self.core.set_credentials(credentials);
        Ok(())
    }

    /// Changes what a peer may do in the sessions that it has, or with `None` ends them. Without a session it does nothing, and
    /// it is not kept: what the peer may do in its next session the [`Permissions`](crate::Permissions) say when it comes,
    /// which with `None` is at once. A peer that is to learn what became of its edits keeps a principal, without channels.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the node is closed, [`Error::Store`] when its store has failed.
    pub fn set_principal(&self, peer: NodeId, principal: Option<Principal>) -> Result<(), Error> {
        let principal = principal.map(Arc::new);
        let sessions: Vec<_> = self.core.engine(|engine| engine.sessions_with(peer).collect());
        for session in sessions {
            let principal = principal.clone();
            self.core.session_input(Input::Rights { session, principal })?;
        }
        Ok(())
    }

    /// Follows a channel such as `list/7`, from now on and after every opening: what its source has of it comes, and stays
    /// up to date. [`Notice::Current`](crate::Notice::Current) tells when all of it is here, and
    /// [`Notice::Withheld`](crate::Notice::Withheld) when the source does not let this node see it. What is written here to
    /// a channel that is not followed is shown until the source has it, and then no more.
    ///
    /// # Errors
    ///
    /// [`DataError::BadTemplate`](crate::DataError::BadTemplate) for a name that is empty, longer than 255 bytes or has a `*`,
    /// [`UsageError::NoView`] on a node that is no [view](crate::NodeBuilder::view),
    /// [`UsageError::TooManySubscriptions`] beyond 16,384 channels.
    pub fn subscribe(&self, channel: &str) -> Result<(), Error> {
        if channel.contains('*') {
            let reason =
                "a view follows channels by their names, and in none of them there is a `*`";
            let (template, reason) = (channel.to_owned(), reason.to_owned());
            return Err(DataError::BadTemplate { template, reason }.into());
        }
        let channel = Channel::new(channel)?;
        self.core.session_input(Input::Subscribe { channel })
    }

    /// Follows a channel no more: what is in no other one that is followed is shown no more, but for own writes that the
    /// source does not have yet.
    ///
    /// # Errors
    ///
    /// Like [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&self, channel: &str) -> Result<(), Error> {
        let channel = Channel::new(channel)?;
        self.core.session_input(Input::Unsubscribe { channel })
    }

    /// The channels that this node, a view, follows; among them that of what is for it alone, `node/` and its id.
    pub fn subscriptions(&self) -> Vec<Channel> {
        self.core.subscriptions()
    }

    /// Whether this node limits what peers may do: it was opened with [`Rules`](crate::Rules) or
    /// [`Permissions`](crate::Permissions).
    pub fn is_authority(&self) -> bool {
        self.core.has_rules()
    }

    /// Records a proposal that this node makes for somebody else, by the rights of that principal, as if a peer had sent
    /// it: for a host that takes changes by other ways than sessions. What the node's own rules refuse is not recorded; to
    /// undo it where it came from is up to the host. A node without rules refuses nothing.
    ///
    /// ```
    /// use syncro::{Durability, Error, Memory, Name, Node, Pattern, Principal, Proposal, Rules, ScribeModel};
    /// use syncro::{Fields, RecordId, RecordKey};
    ///
    /// #[derive(ScribeModel)]
    /// #[scribe(channel = "pages")]
    /// struct Page { id: String }
    ///
    /// let rules = Rules::new(|_| None).model::<Page>();
    /// let node = Node::builder().name("server").rules(rules).open_on(Memory::new())?;
    /// let page = || {
    ///     let key = RecordKey { model: Name::new("page")?, id: RecordId::text("1")? };
    ///     let mut proposal = Proposal::default();
    ///     proposal.create(key, &Fields::default())?;
    ///     Ok::<_, Error>(proposal)
    /// };
    /// let ann = Principal::new("ann");
    /// let refused = node.propose_as(&ann, page()?, Durability::Durable);
    /// assert!(matches!(refused, Err(Error::Refused(_))));
    /// let ann = ann.may_write([Pattern::new("pages")?]);
    /// assert!(node.propose_as(&ann, page()?, Durability::Durable)?.is_some());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], with what the author may be told; otherwise those of [`propose`](Self::propose).
    pub fn propose_as(
        &self,
        principal: &Principal,
        proposal: Proposal,
        durability: Durability,
    ) -> Result<Option<Committed>, Error> {
        self.core.propose(proposal, durability, Some(principal))
    }

    /// What authorities have refused of this node's transactions, and nobody has [dismissed](Self::dismiss) yet, in the order
    /// in which it was written. New ones are told as [`Notice::Refused`](crate::Notice::Refused), once.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when they cannot be read.
    pub fn verdicts(&self) -> Result<Vec<Verdict>, Error> {
        let own = self.id();
        let mut verdicts = self.list(|verdict: &Verdict| verdict.to == own)?;
        verdicts.sort_by_key(|verdict| verdict.stamp);
        Ok(verdicts)
    }

    /// What an authority has refused, as it was written: a scribe for each record. The records show nothing of it any more, or
    /// will when the repair is here; so this is where a user's edit is kept, to be shown or saved elsewhere. An edit that was
    /// made offline, and came too late because rights were withdrawn meanwhile, is one of these.
    ///
    /// A create has all fields, an update those that it wrote, a destroy none; of a counter there is the author's running
    /// total. None where this node's log does not have it: it wrote none of it, or was restored from before it.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when it cannot be read.
    pub fn refused(&self, verdict: &Verdict) -> Result<Vec<Scribe>, Error> {
        let written = self.core.reader.of_stamp(verdict.stamp)?;
        let refused = written.iter().find(|transaction| verdict.is_about(transaction));
        let scribes = refused.map_or(Ok(Vec::new()), |refused| refused.scribes());
        Ok(scribes.map_err(|error| StoreError::Corrupt { what: error.to_string() })?)
    }

    /// Destroys a verdict that has been dealt with.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`](crate::DataError::Missing) when it is dismissed already.
    pub fn dismiss(&self, verdict: &Verdict) -> Result<Option<Committed>, Error> {
        self.destroy::<Verdict>(&verdict.id)
    }

    /// What peers brought and could not be played, and nobody has decided on yet: what this version does not know or
    /// bear, and what a rule failed on ([`Refusal::FAILED`](crate::Refusal::FAILED)). Nothing waits behind it, and it
    /// takes part in nothing: peers do not get it from this node. New ones are told as
    /// [`Notice::Parked`](crate::Notice::Parked).
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when it cannot be read.
    pub fn quarantine(&self) -> Result<Vec<Parked>, Error> {
        let (mut parked, mut after) = (Vec::new(), None);
        loop {
            let some = Parked::list(after, PARKED_AT_ONCE, &self.core.reader)?;
            let Some(last) = some.last() else {
                return Ok(parked);
            };
            after = Some(last.id());
            parked.extend(some);
        }
    }

    /// Tries a transaction again that was set aside, by the rights with which it came. It is played, or refused, and in
    /// the quarantine no more.
    ///
    /// # Errors
    ///
    /// [`UsageError::Unplayable`] when it still cannot be played, and stays; [`UsageError::NotParked`] when it was decided
    /// on meanwhile.
    pub fn retry(&self, parked: &Parked) -> Result<(), Error> {
        self.core.session_input(Input::Retry { parked: parked.id() })
    }

    /// Gives up a transaction that was set aside. A node with rules refuses it, and tells its author the reason; on
    /// others it is forgotten here, and may come again from elsewhere.
    ///
    /// # Errors
    ///
    /// [`UsageError::NotParked`] when it was decided on meanwhile.
    pub fn discard(&self, parked: &Parked, reason: &str) -> Result<(), Error> {
        let (parked, reason) = (parked.id(), reason.to_owned());
        self.core.session_input(Input::Discard { parked, reason })
    }
}

/// Transactions read at once from the quarantine.
const PARKED_AT_ONCE: usize = 64;

pub(super) fn check_credentials(credentials: &Bytes) -> Result<(), Error> {
    let bytes = credentials.len();
    match bytes > CREDENTIALS_BYTES_MAX {
        true => Err(UsageError::CredentialsTooLong { bytes }.into()),
        false => Ok(()),
    }
}
