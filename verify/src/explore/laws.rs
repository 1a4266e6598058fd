//! What must hold among several nodes, and what must be remembered of the past to judge it.
//!
//! What a node said and did is noted beside it ([`machine::Past`]). What was committed is noted here, as are the reads that wait.

use biglock::Message;
use biglock::rules::{Body, Log, Members, NodeId, Payload, Raft, Role, RoleKind, Term};

use super::Bounds;
use super::known::{Action, Event, Node, Outcome, Told, bit};
use super::machine;
use super::replica::Replica;
use super::tape::FIRST_NODE;

/// All goals that there are.
pub const GOALS: &[&str] = &[
    "a leader",
    "a leader of a later term",
    "a leader is deposed",
    "a leader is deposed with an uncommitted tail",
    "a leader gives up",
    "a crash",
    "a leader crashes with an uncommitted tail",
    "a write happens that nobody was told of",
    "a command is proposed",
    "a request is sent again",
    "a request is not run again",
    "an entry is committed",
    "an uncommitted entry is truncated",
    "an entry that a majority had is truncated",
    "a change of the members is rolled back",
    "the members change",
    "a member is gone",
    "a snapshot is taken",
    "a snapshot is installed",
    "a snapshot is installed over a conflicting log",
    "a snapshot is installed and a tail stays",
    "a transfer begins",
    "a node is told to campaign",
    "an answer of an earlier term arrives at a leader",
    "a vote of an earlier term arrives at a candidate",
    "a split vote",
    "a vote is refused",
    "a pre-vote is refused",
    "a stale leader is asked to read",
    "a leader is deposed while somebody reads",
    "a read is answered",
    "a read is answered by another node",
];

/// The role in which the receiver of this message asked for it, if it is an answer.
pub fn asked_as(message: &Message) -> Option<RoleKind> {
    match message.body {
        Body::PreVoteReply { .. } => Some(RoleKind::PreCandidate),
        Body::VoteReply { .. } => Some(RoleKind::Candidate),
        Body::AppendReply { .. } | Body::SnapshotReply { .. } => Some(RoleKind::Leader),
        _ => None,
    }
}

/// The goal of an answer that arrives in a later term, at a node that waits for such answers again.
pub fn late_answer(message: &Message, receiver: &Raft) -> Option<&'static str> {
    let role = receiver.role().kind();
    if message.term >= receiver.term() || asked_as(message) != Some(role) {
        return None;
    }
    match role {
        RoleKind::Candidate => Some("a vote of an earlier term arrives at a candidate"),
        RoleKind::Leader => Some("an answer of an earlier term arrives at a leader"),
        _ => None,
    }
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// What was committed, from entry 1 on, by whoever said so first.
    pub committed: Vec<Committed>,
    /// How often things have happened whose number is bounded.
    pub used: Bounds,
    /// The reads that wait.
    pub reads: Vec<Reading>,
}

/// An entry that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// Its term and fingerprint.
    pub entry: (Term, u64),
    /// The term in which that was first known.
    pub by: Term,
    /// The state after it.
    pub state: Replica,
    /// The members that it names, or one before it does, or with which the cluster began.
    pub members: Members,
}

/// The members up to this entry: those that it names, or those before it.
pub fn members_at(log: &Log, index: u64, before: &Members) -> Members {
    match log.get(index).map(|entry| &entry.payload) {
        Some(Payload::Members(members)) => members.clone(),
        _ => before.clone(),
    }
}

/// A read that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reading {
    id: u64,
    /// What was committed when it began: all that, it must see.
    since: u64,
    node: NodeId,
}

/// One step, and all that it is judged by.
pub struct Look<'a> {
    /// What happened.
    pub action: Action,
    /// The node to which it happened, before and after.
    pub old: &'a Node,
    /// See `old`.
    pub new: &'a Node,
    /// What it did.
    pub outcome: &'a Outcome,
    /// The other nodes.
    pub others: &'a [&'a Node],
    /// What is under way.
    pub said: &'a [u32],
    /// Looks a message up.
    pub told: &'a dyn Fn(u32) -> &'a Told,
    /// What is said for the first time.
    pub fresh: &'a [u32],
    /// What was remembered before.
    pub history: &'a History,
    /// The members at the beginning.
    pub founders: &'a Members,
}

impl Look<'_> {
    /// Judges the step. Returns what is remembered, if that has changed, and the goals that were reached.
    ///
    /// # Errors
    /// The law that was broken.
    pub fn judge(&self) -> Result<(Option<History>, u64), String> {
        let mut history = None;
        let mut reached = 0;
        self.count(&mut history);
        self.hear(&mut reached);
        self.match_logs()?;
        self.commit(&mut history)?;
        if self.new.leads && !(self.old.leads && self.old.term == self.new.term) {
            self.crown(history.as_ref().unwrap_or(self.history))?;
        }
        self.read(&mut history, &mut reached)?;
        self.notice(&mut reached);
        Ok((history, reached))
    }

    fn id(&self) -> NodeId {
        NodeId(FIRST_NODE + u64::from(self.action.node))
    }

    fn edit<'h>(&self, history: &'h mut Option<History>) -> &'h mut History {
        history.get_or_insert_with(|| self.history.clone())
    }

    /// What has a bound is counted.
    fn count(&self, history: &mut Option<History>) {
        let which: fn(&mut Bounds) -> &mut u8 = match self.action.event {
            Event::Campaign => |used| &mut used.campaigns,
            Event::Propose => |used| &mut used.proposals,
            Event::Call => |used| &mut used.calls,
            Event::GiveUp => |used| &mut used.give_ups,
            Event::Crash(_) => |used| &mut used.crashes,
            Event::Snapshot => |used| &mut used.snapshots,
            Event::Change(_) => |used| &mut used.changes,
            Event::Transfer(_) => |used| &mut used.transfers,
            Event::Read => |used| &mut used.reads,
            Event::Retry => |used| &mut used.retries,
            _ => return,
        };
        *which(&mut self.edit(history).used) += 1;
    }

    /// Goals that are reached by saying something.
    fn hear(&self, reached: &mut u64) {
        for &number in self.fresh {
            let told = (self.told)(number);
            *reached |= match told.message.body {
                Body::VoteReply { .. } if told.refuses => bit("a vote is refused"),
                Body::PreVoteReply { .. } if told.refuses => bit("a pre-vote is refused"),
                Body::TimeoutNow => bit("a node is told to campaign"),
                _ => 0,
            };
        }
    }

    /// Log matching (figure 3): "if two logs contain an entry with the same index and term, then the logs are identical in all entries up
    /// through the given index".
    fn match_logs(&self) -> Result<(), String> {
        let new = self.new;
        if self.old.entries == new.entries && self.old.gone == new.gone {
            return Ok(());
        }
        for other in self.others {
            let both = new.gone.max(other.gone) + 1..=new.last().min(other.last());
            let mut equal = false;
            for index in both.rev() {
                let (mine, its) = (new.entry(index), other.entry(index));
                equal |= mine.map(|e| e.0) == its.map(|e| e.0);
                if equal && mine != its {
                    let whose = other.machine.raft.id();
                    return Err(format!(
                        "the logs of {} and {whose} differ at {index}, and are equal after it (log matching)",
                        self.id()
                    ));
                }
            }
        }
        Ok(())
    }

    /// State machine safety (figure 3), and what is newly committed.
    fn commit(&self, history: &mut Option<History>) -> Result<(), String> {
        let new = self.new;
        let id = self.id();
        for index in new.gone + 1..=new.commit {
            let entry = new.entry(index).ok_or("what is committed is in the log")?;
            let known = &history.as_ref().unwrap_or(self.history).committed;
            if let Some(known) = known.get(index as usize - 1) {
                if known.entry != entry {
                    return Err(format!(
                        "{id} commits entry {index} of {}, and one of {} was committed there (state machine safety)",
                        entry.0, known.entry.0
                    ));
                }
                continue;
            }
            if known.len() as u64 + 1 != index {
                return Err(format!(
                    "{id} commits entry {index}, and nobody committed the one before"
                ));
            }
            let mut state = known
                .last()
                .map_or_else(Replica::new, |known| known.state.clone());
            state.apply(new.machine.raft.log(), index, index)?;
            // Leader completeness (figure 3), for leaders that were elected before.
            for other in self.others.iter().filter(|o| o.leads && o.term > new.term) {
                if index > other.gone && other.entry(index) != Some(entry) {
                    return Err(format!(
                        "{} leads in {} without entry {index}, which is committed in {} (leader completeness)",
                        other.machine.raft.id(),
                        other.term,
                        new.term
                    ));
                }
            }
            let before = known.last().map_or(self.founders, |known| &known.members);
            let members = members_at(new.machine.raft.log(), index, before);
            self.edit(history).committed.push(Committed {
                entry,
                by: new.term,
                state,
                members,
            });
        }
        let known = &history.as_ref().unwrap_or(self.history).committed;
        let nothing = Replica::new();
        let state_at = |index: u64| match index {
            0 => Some(&nothing),
            _ => known.get(index as usize - 1).map(|known| &known.state),
        };
        if state_at(new.commit) != Some(&new.machine.state) {
            return Err(format!(
                "{id} has another state after entry {} (state machine safety)",
                new.commit
            ));
        }
        if let Some(snapshot) = new.machine.raft.snapshot() {
            let place = machine::place(snapshot.last);
            if state_at(snapshot.last.index) != Some(&Replica::restore(snapshot)?) {
                return Err(format!(
                    "{id} has a snapshot of another state after {place}"
                ));
            }
            let named = known.get(snapshot.last.index as usize - 1);
            if named.map_or(self.founders, |known| &known.members) != &snapshot.members {
                return Err(format!(
                    "{id} has a snapshot that names other members than the log did up to {place} (section 7)"
                ));
            }
        }
        Ok(())
    }

    /// Somebody leads: election safety, by a majority that said so, and leader completeness (figure 3).
    fn crown(&self, history: &History) -> Result<(), String> {
        let (new, id, term) = (self.new, self.id(), self.new.term);
        let led = |other: &&&Node| other.machine.past.led.contains(&term);
        if let Some(other) = self.others.iter().find(led) {
            let first = other.machine.raft.id();
            return Err(format!(
                "two leaders in {term} (election safety): {first} and {id}"
            ));
        }
        let members = new.machine.raft.members();
        let voted = |voter: NodeId| {
            let mut all = self.said.iter().map(|&number| (self.told)(number));
            let votes = |told: &Told| told.vote == Some(id) && told.message.term == term;
            voter == id || all.any(|told| votes(told) && told.message.from == voter)
        };
        let votes = members.voters().filter(|&voter| voted(voter)).count();
        let needed = members.majority();
        if votes < needed {
            return Err(format!(
                "{id} leads in {term} by {votes} votes of {needed} that it needs"
            ));
        }
        for (index, known) in (1..).zip(&history.committed) {
            let has = index <= new.gone || new.entry(index) == Some(known.entry);
            if known.by < term && !has {
                return Err(format!(
                    "{id} leads in {term} without entry {index} of {}, which was committed in {} (leader completeness)",
                    known.entry.0, known.by
                ));
            }
        }
        Ok(())
    }

    /// Reads are linearizable: they see all that was committed when they began.
    fn read(&self, history: &mut Option<History>, reached: &mut u64) -> Result<(), String> {
        let node = self.id();
        if let Event::Crash(_) = self.action.event
            && !self.history.reads.is_empty()
        {
            self.edit(history).reads.retain(|read| read.node != node);
        }
        if let Some(id) = self.outcome.read {
            let since = self.history.committed.len() as u64;
            self.edit(history).reads.push(Reading { id, since, node });
            let stale = self.history.committed.iter().any(|c| c.by > self.new.term);
            if self.new.leads && stale {
                *reached |= bit("a stale leader is asked to read");
            }
        }
        if self.old.leads && !self.new.leads && self.history.reads.iter().any(|r| r.node == node) {
            *reached |= bit("a leader is deposed while somebody reads");
        }
        for &(id, index) in &self.outcome.answers {
            let reads = &mut self.edit(history).reads;
            let Some(at) = reads
                .iter()
                .position(|read| read.node == node && read.id == id)
            else {
                return Err(format!("{node} answers a read that nobody began"));
            };
            let read = reads.remove(at);
            if let Some(index) = index {
                if index < read.since {
                    return Err(format!(
                        "{node} reads the state after entry {index}, and {} was committed before the read began",
                        read.since
                    ));
                }
                *reached |= bit("a read is answered");
                if !self.new.leads {
                    *reached |= bit("a read is answered by another node");
                }
            }
        }
        Ok(())
    }

    /// Goals that take more than one node to see.
    fn notice(&self, reached: &mut u64) {
        let new = self.new;
        let rival = |other: &&&Node| other.lost && other.term == new.term;
        if new.lost && self.others.iter().any(|other| rival(&other)) {
            *reached |= bit("a split vote");
        }
        if self.outcome.reached & bit("an uncommitted entry is truncated") != 0 {
            let majority = self.others.len().div_ceil(2) + 1;
            let indexes = self.old.gone + 1..=self.old.last();
            let gone = indexes.filter(|&index| self.old.entry(index) != new.entry(index));
            for index in gone {
                let has = |other: &&&Node| other.entry(index) == self.old.entry(index);
                if self.others.iter().filter(has).count() + 1 >= majority {
                    *reached |= bit("an entry that a majority had is truncated");
                }
            }
        }
        if let Role::Follower(following) = new.machine.raft.role()
            && following.gave_up == Some(biglock::rules::GaveUp::Removed)
            && self.old.leads
        {
            *reached |= bit("a member is gone");
        }
    }
}
