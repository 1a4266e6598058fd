//! What must hold at every leave and wait. A broken one stops the node.

use super::{HardState, NodeId, Raft, Role, Sending};

macro_rules! require {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+));
        }
    };
}

/// What a section found when it began: for the invariants that are about change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Before {
    /// Term and vote.
    pub hard_state: HardState,
    /// What was committed,
    pub commit: u64,
    /// and applied.
    pub applied: u64,
}

impl Raft {
    /// What the next section finds.
    pub fn before(&self) -> Before {
        Before {
            hard_state: self.hard_state(),
            commit: self.commit(),
            applied: self.applied(),
        }
    }

    /// The cheap invariants, checked always: what one section may make of what it found.
    ///
    /// # Errors
    /// The sentence that says what is broken.
    pub fn check_transition(&self, before: &Before) -> Result<(), String> {
        let (old, now) = (before.hard_state, self.hard_state());
        require!(
            now.term >= old.term,
            "terms never go back (5.1): {old:?} became {now:?}"
        );
        require!(
            now.term > old.term || old.voted_for.is_none() || now.voted_for == old.voted_for,
            "at most one vote in a term (5.2): {old:?} became {now:?}"
        );
        require!(
            self.commit >= before.commit,
            "what is committed stays committed (5.3): {} became {}",
            before.commit,
            self.commit
        );
        require!(
            self.applied >= before.applied && self.applied <= self.commit,
            "what is applied stays applied, and was committed (5.3): {} became {} of {}",
            before.applied,
            self.applied,
            self.commit
        );
        require!(
            self.commit <= self.log.last().index && self.log.before().index <= self.commit,
            "what is committed is in the log, and only that is compacted"
        );
        require!(
            !matches!(self.role, Role::Leader(_)) || self.is_hard_state_durable(),
            "a leader's own vote is durable before it leads"
        );
        Ok(())
    }

    /// All that can be seen of one state, checked in debug and checked builds.
    ///
    /// # Errors
    /// The sentence that says what is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_role()?;
        self.check_log()?;
        require!(
            self.durable_write() <= self.latest_write(),
            "nothing is durable that was not written"
        );
        require!(
            self.durability
                .outbox
                .iter()
                .all(|out| out.relies_on <= self.latest_write() && out.message.term <= self.term()),
            "no message relies on what is yet to come"
        );
        Ok(())
    }

    fn check_role(&self) -> Result<(), String> {
        let me = self.id();
        let HardState { term, voted_for } = self.hard_state();
        match &self.role {
            Role::Follower(following) => {
                require!(
                    following.leader != Some(me),
                    "a follower does not follow itself"
                );
                require!(
                    following.matched <= self.log.last().index,
                    "what equals the leader's log is in the log"
                );
            }
            Role::PreCandidate { .. } => {}
            Role::Candidate { tally, .. } => {
                require!(
                    voted_for == Some(me),
                    "a candidate votes for itself (5.2), not for {voted_for:?}"
                );
                require!(
                    !tally.granted.contains(&me) || self.is_hard_state_durable(),
                    "a candidate's own vote counts when it is durable"
                );
            }
            Role::Leader(leading) => {
                require!(
                    voted_for == Some(me),
                    "a leader of {term} voted for itself in it, not for {voted_for:?}"
                );
                let others = self.members().ids().filter(|&id| id != me);
                require!(
                    others
                        .into_iter()
                        .all(|id| leading.followers.contains_key(&id))
                        && !leading.followers.contains_key(&me),
                    "a leader listens to all other members"
                );
                require!(
                    self.log.term_at(leading.first).is_none_or(|of| of == term),
                    "a leader's term begins with an entry of its own"
                );
                for (id, follower) in &leading.followers {
                    require!(
                        follower.matched < follower.next
                            && follower.next <= self.log.last().index + 1,
                        "{id} is sent entries that follow those it has: {follower:?}"
                    );
                    require!(
                        !matches!(&follower.sending, Sending::Streaming { in_flight }
                            if in_flight.len() > self.settings.max_in_flight),
                        "no more than a window is in flight to {id}"
                    );
                }
            }
        }
        if let Some(tally) = self.role.tally() {
            require!(
                tally
                    .granted
                    .iter()
                    .all(|id: &NodeId| !tally.refused.contains_key(id)),
                "nobody both grants and refuses"
            );
        }
        Ok(())
    }

    fn check_log(&self) -> Result<(), String> {
        let last = self.log.last();
        require!(
            last.term <= self.term(),
            "no entry is of a term that is yet to come: {last:?}"
        );
        require!(
            self.durability.log <= last.index,
            "no entry is durable that is not in the log"
        );
        require!(
            self.log.before() == Default::default()
                || self
                    .snapshot
                    .as_ref()
                    .is_some_and(|snapshot| snapshot.last.index >= self.log.before().index),
            "what is no longer in the log is in the snapshot"
        );
        require!(
            self.snapshot
                .as_ref()
                .is_none_or(|snapshot| snapshot.last.index <= self.commit),
            "a snapshot holds what is committed"
        );
        require!(
            self.members_since() <= last.index,
            "the members are those that the log names"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
