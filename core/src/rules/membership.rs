//! Changes of the members, one node at a time (section 6; dissertation, chapter 4).

use std::collections::BTreeMap;

use thiserror::Error;

use super::raft::{GaveUp, Leading};
use super::{
    At, BadChange, Change, Follower, Members, NodeId, Payload, Position, ProposalRefused, Raft,
    Role,
};

/// Why a leader does not begin a change. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeRefused {
    /// The change makes no sense.
    #[error(transparent)]
    Bad(#[from] BadChange),
    /// An earlier change is not yet committed (dissertation, 4.1).
    #[error("an earlier change of the members is not yet committed")]
    Pending,
    /// This leader has not yet committed an entry of its own term; until then it does not know what an earlier leader has begun.
    #[error("the leader has not yet committed an entry of its own term")]
    TooEarly,
    /// The learner lacks too many entries to vote: the cluster might have to wait for it (dissertation, 4.2.1).
    #[error("the learner lacks {entries} entries: wait until it has caught up")]
    CatchingUp {
        /// How many.
        entries: u64,
    },
    /// As for every proposal.
    #[error(transparent)]
    Proposal(#[from] ProposalRefused),
}

/// How many entries a learner may lack when it becomes a voter.
const LAG: u64 = 1000;

impl Raft {
    /// The members as of now: "a server always uses the latest configuration in its log, regardless of whether the entry is committed"
    /// (section 6).
    pub fn members(&self) -> &Members {
        let latest = self.configs.last();
        &latest.expect("there is always one").1
    }

    /// From which index on these are the members.
    pub fn members_since(&self) -> u64 {
        self.configs.last().map_or(0, |(since, _)| *since)
    }

    /// The members as of an entry.
    pub(super) fn members_at(&self, index: u64) -> &Members {
        let known = |(since, _): &&(u64, Members)| *since <= index;
        let latest = self.configs.iter().rev().find(known);
        &latest.unwrap_or(&self.configs[0]).1
    }

    /// Whether this node stands for election: if it votes by its latest members, or by those before as long as the latest are not known
    /// to be committed (dissertation, 4.2.2: it "might still be needed").
    pub(super) fn may_campaign(&self) -> bool {
        let committed = self
            .configs
            .iter()
            .rposition(|(since, _)| *since <= self.commit);
        let from = committed.unwrap_or(0);
        self.configs[from..]
            .iter()
            .any(|(_, members)| members.votes(self.id()))
    }

    /// Begins a change of the members: appends them to the log, from where on they count.
    ///
    /// # Errors
    /// If this node does not do it now; nothing was changed.
    pub fn change_members(&mut self, at: At, change: &Change) -> Result<Position, ChangeRefused> {
        let Some(leading) = self.role.leading() else {
            return Err(ProposalRefused::NotLeader.into());
        };
        // "The leader must have committed an entry from its current term before it may append a new configuration" (Ongaro, raft-dev,
        // 10 July 2015): else two leaders could each begin a change from the same old members.
        if self.commit < leading.first {
            return Err(ChangeRefused::TooEarly);
        }
        if self.members_since() > self.commit {
            return Err(ChangeRefused::Pending);
        }
        let members = self.members().with(change)?;
        if let Change::Promote(id) = change
            && !self.has_caught_up(leading, *id)
        {
            let has = self.follower(*id).map_or(0, |follower| follower.matched);
            let entries = self.log.last().index - has;
            return Err(ChangeRefused::CatchingUp { entries });
        }
        let pushed = self.push(at, Payload::Members(members));
        let position = pushed.map_err(|(why, _)| why)?;
        self.listen_to_members(at);
        self.send_entries();
        Ok(position)
    }

    /// Whether a learner may vote: the leader knows that it lacks little.
    fn has_caught_up(&self, leading: &Leading, learner: NodeId) -> bool {
        let has = leading.followers.get(&learner).map_or(0, |f| f.matched);
        // It has answered in this term, or nobody knows whether it is there at all.
        has >= leading.first && self.log.last().index - has <= LAG
    }

    /// The learners that this node leads, and whether each has caught up, so that it may be promoted.
    pub fn learners_led(&self) -> BTreeMap<NodeId, bool> {
        let Some(leading) = self.role.leading() else {
            return BTreeMap::new();
        };
        let learners = self.members().learners();
        learners
            .map(|id| (id, self.has_caught_up(leading, id)))
            .collect()
    }

    /// A leader sends to all members but itself; to one that was removed until the removal is committed.
    fn listen_to_members(&mut self, at: At) {
        let (me, next) = (self.id(), self.log.last().index + 1);
        let members = self.members().clone();
        if let Role::Leader(leading) = &mut self.role {
            for id in members.ids().filter(|&id| id != me) {
                let new = || Follower::new(next, at.now);
                leading.followers.entry(id).or_insert_with(new);
            }
        }
    }

    /// Something was committed: if it was a change of the members, whoever was removed is told so once, and then no more; this leader
    /// too "steps down once Cnew is committed" (dissertation, 4.2.2).
    pub(super) fn settle_members(&mut self, at: At) {
        if self.members_since() > self.commit {
            return;
        }
        let (me, members) = (self.id(), self.members());
        let Some(leading) = self.role.leading() else {
            return;
        };
        let all = leading.followers.keys().copied();
        let gone: Vec<NodeId> = all.filter(|&id| !members.contains(id)).collect();
        let removed = !members.votes(me);
        if removed {
            // The last that it does is to let everyone know what is committed.
            self.send_heartbeats(at);
            return self.step_down(at, GaveUp::Removed);
        }
        for id in gone {
            self.send_heartbeat(id);
            if let Role::Leader(leading) = &mut self.role {
                leading.followers.remove(&id);
            }
        }
    }
}
