//! What somebody would be told who is not a peer: the host's own callers have rights too.

use super::judge::{Bearer, trials};
use super::{Engine, Own, SessionId};
use crate::error::Error;
use crate::principal::{Principal, Refusal};
use crate::proposal::Proposal;
use crate::stamp::{Now, Stamp};
use crate::store::View;

impl Engine {
    /// Asks this node's permissions about a proposal that it is to record for somebody else. Nothing happens: it is proposed
    /// after that, in the same moment. A node without permissions refuses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for what cannot be recorded by anybody, [`Error::Store`] when the store cannot be read.
    pub fn appraise(
        &self,
        now: Now,
        principal: &Principal,
        proposal: &Proposal,
        view: &impl View,
    ) -> Result<Result<(), Refusal>, Error> {
        self.own.appraise(now, principal, proposal, view)
    }
}

impl Own {
    fn appraise(
        &self,
        now: Now,
        principal: &Principal,
        proposal: &Proposal,
        view: &impl View,
    ) -> Result<Result<(), Refusal>, Error> {
        let Some(judge) = &self.judge else { return Ok(Ok(())) };
        if principal.is_over(now) {
            return Ok(Err(Refusal::new(Refusal::SILENCE, "its author's rights have ended")));
        }
        let (author, mut newest, mut scribes) = (self.author(), None, Vec::new());
        let changes = proposal.clone().into_changes().into_iter();
        for (key, mut change) in changes.filter(|(_, change)| !change.is_taken_back) {
            let record = view.record(&key)?;
            newest = newest.max(record.as_ref().and_then(|record| record.newest_time()));
            change.settle(&key, record.as_deref(), author)?;
            if change.is_something() {
                scribes.push(change.into_scribe(key));
            }
        }
        // Without a time that is left it cannot be recorded, which is told then.
        let Some(time) = self.clock.next(now.wall_ms, newest) else { return Ok(Ok(())) };
        let stamp = Stamp { time, author };
        let trials = trials(&self.intake(), stamp, scribes, view)?;
        let (session, peer) = (SessionId(0), author.node);
        let bearer = Bearer { session, peer, principal, is_view: false };
        Ok(judge.judge(now, stamp, &trials, bearer))
    }
}
