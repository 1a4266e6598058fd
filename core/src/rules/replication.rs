//! AppendEntries (5.3) as far as an election needs it: the heartbeat, its checks, and the quorum behind a leader.

use super::{At, Body, NodeId, Position, Raft, Role, Term};
use crate::Time;

impl Raft {
    /// When the next heartbeats are due; nothing unless this node leads.
    pub fn heartbeat_due(&self) -> Option<Time> {
        match self.role {
            Role::Leader { next_heartbeat, .. } => Some(next_heartbeat),
            _ => None,
        }
    }

    /// A leader's periodic work: steps down if no majority answers, else sends heartbeats "to prevent election timeouts" (figure 2).
    /// Does nothing unless this node leads.
    pub fn heartbeat(&mut self, at: At) {
        if self.settings.check_quorum && !self.hears_a_majority(at.now) {
            return self.step_down(at);
        }
        let next = at.now + self.settings.heartbeat;
        if let Role::Leader { next_heartbeat, .. } = &mut self.role {
            *next_heartbeat = next;
            self.send_heartbeats();
        }
    }

    pub(super) fn send_heartbeats(&mut self) {
        let (prev, commit) = (self.log.last(), self.commit);
        for peer in self.peers() {
            self.send(peer, Body::AppendEntries { prev, commit });
        }
    }

    pub(super) fn on_append_entries(
        &mut self,
        at: At,
        from: NodeId,
        term: Term,
        prev: Position,
        leader_commit: u64,
    ) {
        // "Reply false if term < currentTerm" (figure 2); the reply's own term tells the old leader.
        let matched = (term == self.term())
            .then(|| {
                self.hear_from_leader(at, from);
                // "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm" (figure 2).
                self.log.contains(prev).then_some(prev.index)
            })
            .flatten();
        if let Some(matched) = matched {
            // No further than what this request proved to be equal: beyond it may lie entries that no leader of now has.
            self.commit = self.commit.max(leader_commit.min(matched));
        }
        self.send(from, Body::AppendReply { matched });
    }

    /// "If AppendEntries RPC received from new leader: convert to follower" (figure 2). That no second leader of the term may exist is
    /// election safety (5.2), and to see one is to see it broken.
    fn hear_from_leader(&mut self, at: At, from: NodeId) {
        let known = self.leader();
        assert!(
            known.is_none_or(|leader| leader == from),
            "two leaders in {}: {from} and {known:?}",
            self.term()
        );
        self.follow(at, Some(from));
        self.leader_heard = Some(at.now);
        self.reset_deadline(at);
    }

    pub(super) fn on_append_reply(&mut self, at: At, from: NodeId) {
        if let Role::Leader { heard, .. } = &mut self.role {
            heard.insert(from, at.now);
        }
    }

    /// "A leader in Raft steps down if an election timeout elapses without a successful round of heartbeats to a majority of its
    /// cluster" (dissertation, 6.2). The same term goes on, and so does the vote that was given in it.
    fn step_down(&mut self, at: At) {
        self.follow(at, None);
        self.role = Role::Follower {
            leader: None,
            lost_quorum: true,
        };
    }

    fn hears_a_majority(&self, now: Time) -> bool {
        let Role::Leader { heard, .. } = &self.role else {
            return true;
        };
        let patience = self.settings.election_timeout_max;
        let answering = heard.values().filter(|&&at| now < at + patience).count();
        answering + 1 >= self.majority()
    }
}
