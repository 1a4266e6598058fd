//! What must hold at every leave and wait. A broken one stops the node.

use super::{HardState, NodeId, Raft, Role};

macro_rules! require {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+));
        }
    };
}

impl Raft {
    /// The cheap invariants, checked always: what one section may make of term and vote, given what they were before it.
    ///
    /// # Errors
    /// The sentence that says what is broken.
    pub fn check_transition(&self, before: HardState) -> Result<(), String> {
        let now = self.hard_state();
        require!(
            now.term >= before.term,
            "terms never go back (5.1): {before:?} became {now:?}"
        );
        require!(
            now.term > before.term
                || before.voted_for.is_none()
                || now.voted_for == before.voted_for,
            "at most one vote in a term (5.2): {before:?} became {now:?}"
        );
        require!(
            !matches!(self.role, Role::Leader { .. }) || self.is_durable(),
            "a leader's own vote is durable before it leads"
        );
        Ok(())
    }

    /// All that can be seen of one state, checked in debug and checked builds.
    ///
    /// # Errors
    /// The sentence that says what is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        let me = self.id();
        let HardState { term, voted_for } = self.hard_state();
        let members = &self.settings.members;
        match &self.role {
            Role::Follower { leader, .. } => {
                require!(*leader != Some(me), "a follower does not follow itself");
            }
            Role::PreCandidate { .. } => {}
            Role::Candidate { tally } => {
                require!(
                    voted_for == Some(me),
                    "a candidate votes for itself (5.2), not for {voted_for:?}"
                );
                require!(
                    !tally.granted.contains(&me) || self.is_durable(),
                    "a candidate's own vote counts when it is durable"
                );
            }
            Role::Leader { heard, .. } => {
                require!(
                    voted_for == Some(me),
                    "a leader of {term} voted for itself in it, not for {voted_for:?}"
                );
                require!(
                    heard.len() == members.len() - 1 && !heard.contains_key(&me),
                    "a leader listens to all others"
                );
            }
        }
        if let Some(tally) = self.role.tally() {
            let counted = |id: &NodeId| members.contains(id);
            require!(
                tally.granted.iter().all(counted) && tally.refused.keys().all(counted),
                "only members' votes count"
            );
            require!(
                tally
                    .granted
                    .iter()
                    .all(|id| !tally.refused.contains_key(id)),
                "nobody both grants and refuses"
            );
        }
        require!(
            self.durable_write() <= self.latest_write(),
            "nothing is durable that was not written"
        );
        require!(
            self.outbox
                .iter()
                .all(|out| out.relies_on <= self.latest_write() && out.message.term <= term),
            "no message relies on what is yet to come"
        );
        require!(
            self.commit <= self.log.last().index,
            "what is committed is in the log"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
