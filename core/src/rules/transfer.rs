//! Leadership transfer (dissertation, 3.10): the leader hands over to a node of its choice.

use thiserror::Error;

use super::{At, Body, NodeId, Raft, Role};
use crate::Time;

/// A transfer that is under way. It is part of the leader's role, so it can't outlive the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) to: NodeId,
    /// When the leader gives it up and goes on.
    until: Time,
    /// Whether the target has been told to begin.
    told: bool,
}

/// Why a leader does not begin a transfer. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransferRefused {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// The target is no voter, or this node itself.
    #[error("{0} is not another voter")]
    NotAVoter(NodeId),
    /// Another one is under way.
    #[error("another transfer is under way")]
    Pending,
}

impl Raft {
    /// Begins to hand over to `to`: from now on nothing is proposed; when the target has the whole log, it is told to start an election at
    /// once. If it has not won after the longest election timeout, this node goes on leading.
    ///
    /// # Errors
    /// If this node does not do it now; nothing was changed.
    pub fn transfer(&mut self, at: At, to: NodeId) -> Result<(), TransferRefused> {
        let until = at.now + self.settings.election_timeout_max;
        let votes = to != self.id() && self.members().votes(to);
        let Role::Leader(leading) = &mut self.role else {
            return Err(TransferRefused::NotLeader);
        };
        if leading.transfer.is_some() {
            return Err(TransferRefused::Pending);
        }
        if !votes {
            return Err(TransferRefused::NotAVoter(to));
        }
        leading.now = at.now;
        leading.transfer = Some(Transfer {
            to,
            until,
            told: false,
        });
        self.send_to(to);
        self.hand_over_if_ready(to);
        Ok(())
    }

    /// To whom this leader is handing over.
    pub fn transferring_to(&self) -> Option<NodeId> {
        Some(self.role.leading()?.transfer?.to)
    }

    /// The target has everything: tells it to begin.
    pub(super) fn hand_over_if_ready(&mut self, id: NodeId) {
        let last = self.log.last().index;
        if let Role::Leader(leading) = &mut self.role
            && let Some(transfer) = &mut leading.transfer
            && transfer.to == id
            && !transfer.told
            && leading
                .followers
                .get(&id)
                .is_some_and(|f| f.matched == last)
        {
            transfer.told = true;
            // Those who vote for the target no longer wait until this leader's lease is over (dissertation, 6.4.1).
            leading.lease_void = true;
            self.send(id, Body::TimeoutNow);
        }
    }

    /// Tells it again: the message may have been lost.
    pub(super) fn remind_transfer(&mut self, id: NodeId) {
        let transfer = self.role.leading().and_then(|leading| leading.transfer);
        if transfer.is_some_and(|transfer| transfer.to == id && transfer.told) {
            self.send(id, Body::TimeoutNow);
        }
    }

    pub(super) fn give_up_transfer(&mut self, at: At) {
        if let Role::Leader(leading) = &mut self.role {
            leading.transfer = leading.transfer.filter(|transfer| at.now < transfer.until);
        }
    }

    /// The leader hands over: the deadline is now.
    pub(super) fn on_timeout_now(&mut self, at: At, from: NodeId) {
        if self.leader() == Some(from) && self.may_campaign() {
            self.deadline = at.now;
            self.handed_over = true;
        }
    }
}
