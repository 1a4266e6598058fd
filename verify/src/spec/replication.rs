//! The actions about the log and what is committed of it, each with the condition under which the paper allows it.

use std::collections::BTreeSet;

use biglock::node::Visible;
use biglock::rules::majority;
use biglock::{NodeId, Position, RoleKind, Term};

use super::actions::Step;
use super::{Action, Election, Log, Refused};

impl Step<'_> {
    /// 5.3: "The leader appends the command to its log as a new entry." And nothing else (figure 3, leader append-only).
    pub(super) fn client_requests(&mut self, log: &Log) -> Result<(), Refused> {
        let (term, old) = (self.node.term, self.node.log.last());
        if log.last().index < old.index || log.differs_at(&self.node.log) <= old.index {
            return self.refuse(format!(
                "leads {term} and overwrites or removes entries of its log (5.3, leader append-only)"
            ));
        }
        for index in old.index + 1..=log.last().index {
            if log.term_at(index) != Some(term) {
                return self.refuse(format!(
                    "leads {term} and appends an entry of {:?}: a leader makes entries of its own term (5.3)",
                    log.term_at(index)
                ));
            }
            let at = Position { term, index };
            let mark = self.entries.iter().find(|mark| mark.at == at);
            if let Some(voters) = mark.and_then(|mark| mark.voters.clone()) {
                self.change_members(at, voters)?;
            }
            self.node.log.push(at);
            self.done.push(Action::ClientRequest(index));
        }
        self.cluster.exist(self.id, log, self.entries)?;
        if log.last().index > old.index
            && let Some(election) = self.cluster.elections.get_mut(&term)
        {
            election.log.push(log.last());
        }
        Ok(())
    }

    /// Dissertation, 4.1: one server at a time, one change after the other; and the fix of 2015: "the leader must have committed an entry
    /// from its current term".
    fn change_members(&mut self, at: Position, voters: Vec<NodeId>) -> Result<(), Refused> {
        let Position { term, index } = at;
        let since = self.node.members.last().map_or(0, |(since, _)| *since);
        if since > self.node.commit {
            return self.refuse(format!(
                "changes the members with entry {index}, and the change of entry {since} is not committed (dissertation, 4.1)"
            ));
        }
        if self.node.log.term_at(self.node.commit) != Some(term) {
            return self.refuse(format!(
                "changes the members with entry {index}, and has committed no entry of its {term} (dissertation, 4.1, as corrected)"
            ));
        }
        let old: BTreeSet<NodeId> = self.voters().iter().copied().collect();
        let new: BTreeSet<NodeId> = voters.iter().copied().collect();
        if old.symmetric_difference(&new).count() > 1 {
            return self.refuse(format!(
                "changes more than one voter with entry {index} (dissertation, 4.1)"
            ));
        }
        self.node.members.push((index, voters));
        Ok(())
    }

    /// Figure 2, AppendEntries, for a request whose last entry stands where the log ends now: "If an existing entry conflicts with a new one,
    /// delete the existing entry and all that follow it; append any new entries not already in the log" (5.3). 5.2: a candidate that
    /// hears the leader of its term follows it.
    pub(super) fn accept_entries(&mut self, log: &Log, now: &Visible) -> Result<(), Refused> {
        let (id, term, last) = (self.id, self.node.term, log.last());
        let differs = log.differs_at(&self.node.log);
        let same = last == self.node.log.last() && differs > last.index;
        let leader = self.leader_heard().map_or_else(
            || match same {
                true => self.lacks(format!(
                    "gives up its candidacy of {term}, which nobody leads (5.2)"
                )),
                false => self.lacks(format!("takes entries in {term}, which nobody leads (5.3)")),
            },
            Ok,
        )?;
        if leader == Some(id) {
            return self.refuse(format!(
                "led {term}, and follows somebody in it (5.2, election safety)"
            ));
        }
        if !same {
            self.check_leader_has(leader, log)?;
            let old = self.node.log.last().index;
            if differs <= old && differs <= self.node.commit {
                return self.refuse(format!(
                    "removes entry {differs}, and all up to {} are committed (5.4, state machine safety)",
                    self.node.commit
                ));
            }
            if differs <= old && differs > last.index {
                return self.refuse(format!(
                    "removes its entries from {differs} on, which conflict with none of the leader of {term}: only those that conflict are deleted (5.3)"
                ));
            }
        }
        self.cluster.exist(id, log, self.entries)?;
        let node = &mut self.node;
        if node.log.last().index < log.before.index || !node.log.has(log.before) {
            // A snapshot has taken the place of the whole log.
            node.log_durable = 0;
            node.members = vec![(log.before.index, now.voters.clone())];
        } else {
            node.log_durable = node.log_durable.min(differs - 1);
            node.members.retain(|(since, _)| *since < differs);
        }
        for mark in self.entries {
            if let Some(voters) = &mark.voters {
                node.members.push((mark.at.index, voters.clone()));
            }
        }
        node.log = log.clone();
        node.role = RoleKind::Follower;
        self.done.push(Action::AcceptEntries(last.index));
        Ok(())
    }

    /// Who leads this term: nothing if nobody does, and `Some(None)` if somebody of whom there is no record.
    fn leader_heard(&mut self) -> Option<Option<NodeId>> {
        let term = self.node.term;
        if let Some(election) = self.cluster.elections.get(&term) {
            return Some(election.leader);
        }
        if !self.cluster.may_assume_some(term) {
            return None;
        }
        let election = Election {
            leader: None,
            voters: BTreeSet::new(),
            log: Log::default(),
            commit: 0,
        };
        self.cluster.elections.insert(term, election);
        Some(None)
    }

    /// Whether what the leader of this term did may be assumed.
    fn may_assume_leader(&self, leader: Option<NodeId>) -> bool {
        match leader {
            Some(leader) => self.cluster.may_assume(leader, self.node.term),
            None => self.cluster.may_assume_some(self.node.term),
        }
    }

    /// Messages with entries that come together are handled in one section, the last of them perhaps in a later term than the first. These are
    /// the elections of the terms that such a section has left, whose leaders had this log up to this index.
    fn earlier<'a>(&'a self, log: &'a Log, index: u64) -> impl Iterator<Item = &'a Election> {
        let left = self.cluster.elections.range(self.since..self.node.term);
        left.map(|(_, election)| election)
            .filter(move |election| election.log.agree_up_to(log, index))
    }

    /// 5.3: whoever has the last entry of a log from a leader has all that come before it from the same leader.
    fn check_leader_has(&mut self, leader: Option<NodeId>, log: &Log) -> Result<(), Refused> {
        let (term, last) = (self.node.term, log.last());
        let may_assume = self.may_assume_leader(leader);
        if self.earlier(log, last.index).next().is_some() {
            return Ok(());
        }
        let leaders = &mut self
            .cluster
            .elections
            .get_mut(&term)
            .expect("it is led")
            .log;
        let known = leaders.last().index;
        if leaders.differs_at(log) <= last.index.min(known) {
            return self.refuse(format!(
                "has another log up to entry {} than the leader of {term}, from whom it has that entry (5.3, log matching)",
                last.index
            ));
        }
        if known < last.index {
            if !may_assume {
                return self.lacks(format!(
                    "has entry {} of {}, which the leader of {term} does not have (5.3)",
                    last.index, last.term
                ));
            }
            *leaders = log.clone();
        }
        Ok(())
    }

    /// Figure 2, persistent state: it has reached the disk, and others may be told.
    pub(super) fn persist(&mut self, now: &Visible) -> Result<(), Refused> {
        let node = &mut self.node;
        let (old, old_log) = (node.durable, node.log_durable);
        if now.hard_state_durable {
            node.durable = (node.term, node.vote);
        }
        if now.log_durable < old_log {
            return self.refuse(format!(
                "had its log up to {old_log} on its disk, and then only up to {}",
                now.log_durable
            ));
        }
        if now.log_durable > node.log.last().index {
            return self.refuse("has more on its disk than in its log".into());
        }
        node.log_durable = now.log_durable;
        if node.durable != old || node.log_durable > old_log {
            self.done.push(Action::Persist);
        }
        self.cluster.tell(self.id, &self.node)
    }

    /// Figure 2, leaders: "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and log[N].term ==
    /// currentTerm: set commitIndex = N" (5.3, 5.4.2).
    pub(super) fn advance_commit(&mut self, index: u64) -> Result<(), Refused> {
        let term = self.node.term;
        let Some(of) = self.node.log.term_at(index) else {
            return self.refuse(format!(
                "commits entry {index}, which it does not have (5.3)"
            ));
        };
        if of != term {
            return self.refuse(format!(
                "leads {term} and commits entry {index} of {of} by counting: only entries of its own term are committed so (5.4.2, figure 8)"
            ));
        }
        let all = self.voters();
        let has = |voter: &&NodeId| {
            let acked = self.cluster.acked.get(&(term, **voter));
            acked.is_some_and(|acked| *acked >= index) || self.cluster.may_assume(**voter, term)
        };
        let many = all.iter().filter(has).count();
        let needed = majority(all.len());
        if many < needed {
            return self.lacks(format!(
                "commits entry {index} of {term}, which is on {many} of the {needed} disks that make a majority (5.3)"
            ));
        }
        self.commit(index)?;
        let entry = Position { term, index };
        self.cluster.committed_in.insert(term, entry);
        let later = self.cluster.elections.range(Term(term.0 + 1)..);
        let without = |(_, election): &(&Term, &Election)| {
            !election.voters.is_empty() && !election.log.has(entry)
        };
        if let Some((later, _)) = later.clone().find(without) {
            return self.refuse(format!(
                "commits entry {index} of {term}, which the leader of {later} does not have (5.4, leader completeness)"
            ));
        }
        if let Some(election) = self.cluster.elections.get_mut(&term) {
            election.commit = election.commit.max(index);
        }
        self.done.push(Action::AdvanceCommit(index));
        Ok(())
    }

    /// Figure 2, AppendEntries: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)": no further
    /// than the log is known to equal the leader's.
    pub(super) fn learn_commit(&mut self, index: u64) -> Result<(), Refused> {
        let term = self.node.term;
        let Some(leader) = self.leader_heard() else {
            return self.lacks(format!(
                "learns in {term}, which nobody leads, that entry {index} is committed (5.3)"
            ));
        };
        let may_assume = self.may_assume_leader(leader);
        let told = |election: &Election| election.commit >= index;
        if self.earlier(&self.node.log, index).any(told) {
            return self.learned(index);
        }
        let election = &self.cluster.elections[&term];
        let proved = election.log.agree_up_to(&self.node.log, index);
        if index > self.node.log.last().index || !proved && !may_assume {
            return self.lacks(format!(
                "takes its entries up to {index} for committed, and they are not known to be those of the leader of {term}: no further than the last new entry (figure 2, 5.3)"
            ));
        }
        if election.commit < index && !may_assume {
            return self.lacks(format!(
                "takes entry {index} for committed, and the leader of {term} has committed up to {} (5.3)",
                election.commit
            ));
        }
        self.learned(index)
    }

    fn learned(&mut self, index: u64) -> Result<(), Refused> {
        self.commit(index)?;
        self.done.push(Action::LearnCommit(index));
        Ok(())
    }

    /// State machine safety (figure 3): what is committed is the same for all.
    fn commit(&mut self, index: u64) -> Result<(), Refused> {
        let committed = &mut self.cluster.committed;
        let log = &self.node.log;
        let differs = committed.differs_at(log);
        if differs <= index && differs <= committed.last().index {
            let why = format!(
                "takes entries up to {index} for committed, and at {differs} another is (5.4.3, state machine safety)"
            );
            return self.refuse(why);
        }
        let (known, all) = (committed.last().index, log.up_to(index));
        if all.before.index > known {
            // What is in between nobody has told: a snapshot replaced it.
            *committed = all;
        } else {
            let new = all.ends.into_iter().filter(|end| end.index > known);
            new.for_each(|end| committed.push(end));
        }
        self.node.commit = index;
        Ok(())
    }

    /// Section 7: only what is committed is replaced by a snapshot.
    pub(super) fn compact(&mut self, log: &Log) -> Result<(), Refused> {
        let before = log.before;
        if before.index > self.node.commit || !self.cluster.committed.has(before) {
            return self.refuse(format!(
                "replaces its log up to {} of {} by a snapshot, and that is not committed (section 7)",
                before.index, before.term
            ));
        }
        self.node.log = log.clone();
        let members = &mut self.node.members;
        let old = members.iter().filter(|(since, _)| *since <= before.index);
        let old = old.count().saturating_sub(1);
        members.drain(..old);
        self.done.push(Action::Compact(before.index));
        Ok(())
    }
}
