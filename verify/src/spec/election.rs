//! The actions about terms, votes and leaders, each with the condition under which the paper allows it.

use std::collections::BTreeSet;

use biglock::rules::majority;
use biglock::{NodeId, RoleKind, Term};

use super::actions::Step;
use super::{Action, Election, Refused};

impl Step<'_> {
    /// 5.2: "To begin an election, a follower increments its current term and transitions to candidate state. It then votes for itself."
    pub(super) fn timeout(&mut self, term: Term) -> Result<(), Refused> {
        if self.node.role == RoleKind::Leader {
            return self.refuse(format!(
                "leads {}, and stands for election (5.2)",
                self.node.term
            ));
        }
        if term.0 != self.node.term.0 + 1 {
            return self.refuse(format!(
                "stands for election in {term}, and was in {}: a candidate increments its term by one (5.2)",
                self.node.term
            ));
        }
        self.node.term = term;
        self.node.vote = Some(self.id);
        self.node.role = RoleKind::Candidate;
        self.node.stood = Some((term, self.node.log.last()));
        self.done.push(Action::Timeout);
        Ok(())
    }

    /// Figure 2: "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower" (5.1).
    pub(super) fn update_term(&mut self, term: Term) -> Result<(), Refused> {
        if !self.cluster.terms.contains(&term) && !self.cluster.may_assume_some(term) {
            return self.lacks(format!(
                "enters {term}, which nobody who has it on disk could tell (5.1)"
            ));
        }
        self.node.term = term;
        self.node.vote = None;
        self.node.role = RoleKind::Follower;
        self.done.push(Action::UpdateTerm(term));
        Ok(())
    }

    /// 5.2, 5.4.1: "If votedFor is null or candidateId, and candidate's log is at least as up-to-date as receiver's log, grant vote."
    pub(super) fn grant_vote(&mut self, vote: Option<NodeId>) -> Result<(), Refused> {
        let (id, term) = (self.id, self.node.term);
        let Some(candidate) = vote else {
            return self.refuse(format!(
                "takes back its vote of {term}: one vote in a term (5.2)"
            ));
        };
        if let Some(other) = self.node.vote {
            return self.refuse(format!(
                "votes for {candidate} in {term}, and has voted for {other}: one vote in a term (5.2)"
            ));
        }
        if candidate == id || self.node.role != RoleKind::Follower {
            return self.refuse(format!(
                "votes for {candidate} in {term} and is no follower (5.2)"
            ));
        }
        match self.cluster.requests.get(&(term, candidate)) {
            Some(&last) if last < self.node.log.last() => {
                let own = self.node.log.last();
                return self.refuse(format!(
                    "votes for {candidate} in {term}, whose log ends with entry {} of {}, and its own with entry {} of {}: the candidate's must be at least as up-to-date (5.4.1)",
                    last.index, last.term, own.index, own.term
                ));
            }
            None if !self.cluster.may_assume(candidate, term) => {
                return self.lacks(format!(
                    "votes for {candidate} in {term}, who does not stand there, or not durably (5.2)"
                ));
            }
            _ => {}
        }
        self.node.vote = vote;
        self.done.push(Action::GrantVote(candidate));
        Ok(())
    }

    /// 5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same term."
    pub(super) fn become_leader(&mut self) -> Result<(), Refused> {
        let (id, term) = (self.id, self.node.term);
        if self.node.role != RoleKind::Candidate {
            return self.refuse(format!("leads {term}, in which it is no candidate (5.2)"));
        }
        if let Some(election) = self.cluster.elections.get(&term)
            && let Some(leader) = election.leader
            && leader != id
        {
            return self.refuse(format!(
                "leads {term}, which {leader} leads: at most one leader in a term (5.2, election safety)"
            ));
        }
        let all = self.voters();
        let voted = |voter: &&NodeId| match self.cluster.votes.get(&(term, **voter)) {
            Some(candidate) => *candidate == id,
            None => self.cluster.may_assume(**voter, term),
        };
        let voters: BTreeSet<NodeId> = all.iter().filter(voted).copied().collect();
        let needed = majority(all.len());
        if voters.len() < needed {
            return self.lacks(format!(
                "leads {term} with {} of the {needed} durable votes that make a majority (5.2)",
                voters.len()
            ));
        }
        // Leader completeness: "if a log entry is committed in a given term, then that entry will be present in the logs of the leaders for
        // all higher-numbered terms" (5.4).
        let earlier = self.cluster.committed_in.range(..term).next_back();
        if let Some((of, &entry)) = earlier
            && !(self.node.log.has(entry) && self.node.log.last().index >= entry.index)
        {
            return self.refuse(format!(
                "leads {term} without entry {}, which was committed in {of} (5.4, leader completeness)",
                entry.index
            ));
        }
        let election = Election {
            leader: Some(id),
            voters,
            log: self.node.log.clone(),
            commit: self.node.commit,
        };
        self.cluster.elections.insert(term, election);
        self.node.role = RoleKind::Leader;
        self.done.push(Action::BecomeLeader);
        Ok(())
    }

    /// Dissertation, 6.2: the term goes on, and so does the vote that was given in it.
    pub(super) fn step_down(&mut self) {
        self.node.role = RoleKind::Follower;
        self.done.push(Action::StepDown);
    }
}
