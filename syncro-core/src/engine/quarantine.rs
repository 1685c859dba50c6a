//! Deciding on what was set aside.

use super::{Bearer, Effects, Event, Intake, Own, SessionId, Taken};
use crate::digest::Digest;
use crate::error::{Error, UsageError};
use crate::principal::Refusal;
use crate::quarantine::{self, Parked};
use crate::scribe::Transaction;
use crate::stamp::Now;
use crate::store::View;

/// The session of what is taken long after its own has ended.
const PAST: SessionId = SessionId(0);

impl Own {
    /// Tries a transaction again that was set aside.
    pub(super) fn retry(
        &mut self,
        now: Now,
        id: Digest,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let parked = self.parked(id, view)?;
        let transaction = Transaction::decode(parked.transaction.clone())
            .map_err(|error| UsageError::Unplayable { reason: error.to_string() })?;
        let mut intake = self.intake();
        let taken = match &parked.principal {
            None => intake.take(&transaction, PAST, view)?,
            Some(principal) => {
                let (peer, is_view) = (parked.bearer, false);
                let bearer = Bearer { session: PAST, peer, principal, is_view };
                self.take_judged(now, &mut intake, &transaction, bearer, view)?
            }
        };
        if taken == Taken::Parked {
            return Err(UsageError::Unplayable { reason: parked.reason }.into());
        }
        if let Taken::New { .. } = taken {
            let stamp = transaction.stamp();
            if let Some(skew_ms) = self.observe(stamp.time, now) {
                effects.events.push(Event::FutureStamp { stamp, skew_ms });
            }
        }
        self.release(id, intake, view, effects)
    }

    /// Gives up a transaction that was set aside. What an authority can read of it, it refuses.
    pub(super) fn discard(
        &mut self,
        id: Digest,
        reason: String,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let parked = self.parked(id, view)?;
        let mut intake = self.intake();
        if let Ok(transaction) = Transaction::decode(parked.transaction.clone())
            && parked.principal.is_some()
        {
            let refusal = Refusal::new(Refusal::FAILED, reason);
            self.refuse_parked(&mut intake, &transaction, refusal, view)?;
        }
        self.release(id, intake, view, effects)
    }

    fn parked(&self, id: Digest, view: &impl View) -> Result<Parked, Error> {
        Ok(Parked::find(id, view)?.ok_or(UsageError::NotParked)?)
    }

    fn release(
        &mut self,
        id: Digest,
        mut intake: Intake,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.note_changes(&mut intake, view)?;
        intake.rows.delete(quarantine::key(id));
        effects.events = std::mem::take(&mut intake.events);
        effects.commit = Some(self.commit(intake, Vec::new()));
        Ok(())
    }
}
