//! Getting to know the peer.

use std::sync::Arc;

use bytes::Bytes;

use super::call::Calls;
use super::pull::Pull;
use super::push::Push;
use super::{Fault, Open, Phase, Session};
use crate::close::CloseReason;
use crate::engine::{Effects, Event, Own, Role};
use crate::limits::{FRAME_BYTES_MAX, WINDOW_BYTES};
use crate::message::{Encoding, Hello, Message, PROTOCOL_VERSION, capability};
use crate::principal::{Access, Claim, Principal};
use crate::stamp::{Now, Time};
use crate::store::View;

/// The first message of this node in a session.
pub(crate) fn hello(
    own: &Own,
    nonce: u64,
    credentials: Bytes,
    peer: Option<&Principal>,
) -> Message {
    // Others' activity shows in the clock.
    let sees_all = peer.is_none_or(|peer| peer.read == Access::All);
    Message::Hello(Hello {
        version: PROTOCOL_VERSION,
        node: own.author().node,
        epoch: own.author().epoch,
        clock: if sees_all { own.clock() } else { Time::default() },
        nonce,
        name: own.name().cloned(),
        frame: FRAME_BYTES_MAX as u64,
        window: WINDOW_BYTES,
        encodings: Encoding::ALL.to_vec(),
        capabilities: capability::ALL.map(str::to_owned).to_vec(),
        credentials,
    })
}

/// Who the peer is, if it may be anybody, and the node asks.
fn authenticate(
    now: Now,
    hello: &Hello,
    role: Role,
    own: &Own,
) -> Result<Option<Arc<Principal>>, Fault> {
    let Some(permissions) = own.permissions() else {
        return Ok(None);
    };
    let Hello { node, epoch, credentials, .. } = hello;
    let claim = Claim { node: *node, epoch: *epoch, credentials, role, now };
    let principal = permissions.authenticate(&claim).filter(|principal| {
        // Nobody may be this node itself.
        let is_node = principal.node.is_none_or(|only| only == *node) && *node != own.author().node;
        is_node && !principal.is_over(now)
    });
    let principal = principal.ok_or_else(|| Fault::peer(CloseReason::Denied))?;
    if own.repair_left(Some(&principal), now) == 0 {
        let detail = "too much was refused lately: come back later".to_owned();
        return Err(Fault::Peer { reason: CloseReason::Forbidden, detail });
    }
    Ok(Some(principal))
}

impl Session {
    pub(super) fn on_hello(
        &mut self,
        now: Now,
        hello: Hello,
        encoding: Encoding,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        if self.role == Role::Accept {
            self.outbox.encoding = encoding;
        }
        if hello.version < PROTOCOL_VERSION || hello.frame < FRAME_BYTES_MAX as u64 {
            let detail = format!(
                "the peer speaks version {} with frames of {} bytes, this node version \
                 {PROTOCOL_VERSION} with frames of {FRAME_BYTES_MAX}",
                hello.version, hello.frame
            );
            return Err(Fault::Peer { reason: CloseReason::Version, detail });
        }
        if own.is_calling(hello.nonce) {
            // Not a clone of this machine, whose greeting would be as familiar: this engine itself.
            return Err(Fault::peer(CloseReason::Itself));
        }
        // Nothing of the store was read before, and what is wrong with credentials makes no difference.
        let principal = authenticate(now, &hello, self.role, own)?;
        own.meet(hello.node, view)?;
        match self.role {
            Role::Dial(_) => own.note_answer(self.nonce),
            Role::Accept => {
                let credentials = std::mem::take(&mut self.credentials);
                self.outbox.send(
                    &self::hello(own, self.nonce, credentials, principal.as_deref()),
                    effects,
                );
            }
        }
        let is_import = self.import.is_some();
        let is_double = (hello.node, hello.epoch) == (own.author().node, own.author().epoch);
        // A bundle of this node's own says nothing of clones: only what is in it may.
        if is_double && !is_import {
            // A machine that was cloned while it ran, met face to face. Clones may know all the same, but
            // what each hears is the other's nonce, which is not its own.
            effects.events.extend(own.note_fork(&hello.nonce.to_be_bytes()));
        }
        // Where the peer's log begins as this node's does, this node has what is in it.
        let sees_all = principal.as_ref().is_none_or(|principal| principal.read == Access::All);
        let end = sees_all.then(|| own.end());
        let row = own.peer_row(hello.node);
        row.name.clone_from(&hello.name);
        let held = (row.held, row.confirmed);
        let offered = row.ladder.offer(end);
        let first = row.ladder.first(&offered, hello.epoch);
        #[cfg(all(feature = "planted", debug_assertions))]
        let (offered, first) =
            match crate::planted::is_planted(crate::planted::Planted::LineageAlone) {
                true => (crate::planted::lineage_offer(row.ladder.rungs()), usize::MAX),
                false => (offered, first),
            };
        let pull = Pull::new(offered, first, is_import);
        let session = self.outbox.session;
        if !is_import {
            let (peer, epoch, name) = (hello.node, hello.epoch, hello.name.clone());
            effects.events.push(Event::Opened { session, peer, epoch, name });
        }
        if !own.is_view() {
            self.outbox.send(&pull.ask(), effects);
        }
        let knows = |capability: &str| hello.capabilities.iter().any(|it| it == capability);
        if knows(capability::SIGNAL) && !is_import {
            own.signals.open(session, hello.node, self.role, principal.clone());
        }
        self.phase = Phase::Open(Box::new(Open {
            peer: hello.node,
            epoch: hello.epoch,
            calls: Calls::new(knows(capability::CALL)),
            name: hello.name,
            push: Push::new(hello.window, held, principal.is_some()),
            over_ms: principal.as_ref().and_then(|principal| principal.over_ms(now)),
            principal,
            is_forger: false,
            pull,
            feed: None,
            follow: None,
            window: hello.window,
        }));
        #[cfg(all(feature = "planted", debug_assertions))]
        if let Phase::Open(open) = &mut self.phase {
            open.push.peer = Some(hello.node);
        }
        Ok(())
    }
}
