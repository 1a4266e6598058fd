//! The specification of Raft as plain Rust, action for action what `verify/spec/Raft.tla` says, and the question whether a step of a real
//! node is one that it allows.
//!
//! [`Cluster`] is the abstract state: what each node looks like, and the ghosts, which say what was ever told. [`Cluster::step`] is given what
//! a node looks like after one more critical section. It answers with the actions that explain the difference, none if nothing
//! visible has changed, or with the rule of the paper that is broken.
//!
//! A ghost only grows, and every action asks only that something *is* in it; so a step that is allowed stays allowed when more is known.
//!
//! Beyond the TLA+, here are snapshots, changes of the members, and nodes of which nobody keeps records.

mod actions;
mod election;
mod log;
mod replication;
pub mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use biglock::node::{Mark, Record, Recorder, START, Visible};
use biglock::rules::{Answer, Appended, Body, Raft, WriteId};
use biglock::{Message, NodeId, Position, RoleKind, Stored, Term};

pub use log::Log;

/// A step of one node. The names are those of the TLA+.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// 5.2: a candidacy begins, in the next term.
    Timeout,
    /// 5.1: a higher term is adopted.
    UpdateTerm(Term),
    /// 5.2, 5.4.1: the vote of the term is given.
    GrantVote(NodeId),
    /// 5.2: a majority has voted for this candidate.
    BecomeLeader,
    /// 5.3: the leader appends an entry here.
    ClientRequest(u64),
    /// 5.3: the log equals the leader's up to here.
    AcceptEntries(u64),
    /// 5.3, 5.4.2: the leader commits up to here.
    AdvanceCommit(u64),
    /// 5.3: it hears that everything up to here is committed.
    LearnCommit(u64),
    /// Dissertation, 6.2: the leader gives up.
    StepDown,
    /// Figure 2: what must survive a crash is on the disk.
    Persist,
    /// 5.2: the node starts again, with that.
    Restart,
    /// Section 7: a snapshot takes the place of the log up to here. Invisible in the TLA+, whose logs are whole.
    Compact(u64),
}

/// A step that no action explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose step it is.
    pub node: NodeId,
    /// Which rule of the paper is broken, in a sentence.
    pub why: String,
    /// Whether it would be allowed if another node had done something before: so it may be only that its record comes later.
    pub missing: bool,
}

/// How a refusal begins.
pub const REFUSED: &str = "refinement: ";

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REFUSED}{} {}", self.node, self.why)
    }
}

/// One node: figure 2, and how much of it is on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    term: Term,
    vote: Option<NodeId>,
    /// A pre-candidate is what it was before.
    role: RoleKind,
    /// When it last stood for election in this life, and where its log ended then.
    stood: Option<(Term, Position)>,
    log: Log,
    commit: u64,
    /// The latest term and vote that are known to be durable, and up to which index the log is.
    durable: (Term, Option<NodeId>),
    log_durable: u64,
    /// Who votes, from which entry on; the last counts.
    members: Vec<(u64, Vec<NodeId>)>,
    stopped: bool,
}

/// An election that was won.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Election {
    /// By whom; nothing if it was won by some node of which there is no record.
    leader: Option<NodeId>,
    /// Who voted for it.
    voters: BTreeSet<NodeId>,
    /// The log of the leader, as far as it got, with the entries that it made.
    log: Log,
    /// Up to which index the leader knew it to be committed.
    commit: u64,
}

/// The abstract state of a cluster: its nodes, and what was ever told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    /// Terms that were told to others.
    terms: BTreeSet<Term>,
    /// The end of each candidate's log.
    requests: BTreeMap<(Term, NodeId), Position>,
    /// Votes that are durable: term and voter, and for whom.
    votes: BTreeMap<(Term, NodeId), NodeId>,
    elections: BTreeMap<Term, Election>,
    /// Every entry there ever was: its digest, and the term of the one before it.
    entries: BTreeMap<Position, (u64, Term)>,
    /// Up to which index the disk of a node held entries of the leader of a term, in that term.
    acked: BTreeMap<(Term, NodeId), u64>,
    /// What is committed, by whoever knew.
    committed: Log,
    /// The last entry that the leader of a term committed.
    committed_in: BTreeMap<Term, Position>,
    /// Gaps in the records of nodes, from a term to another: what they did meanwhile may be assumed. The last may be open.
    silent: BTreeMap<NodeId, Vec<(Term, Option<Term>)>>,
    /// Whether there are nodes without any record, of which everything may be assumed.
    strangers: bool,
    /// Whether anything may be assumed at the moment.
    assuming: bool,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new() -> Cluster {
        Cluster::default()
    }

    /// Explains one record: [`start`](Cluster::start) or [`step`](Cluster::step). If it is refused, the cluster is as it was: the record may be
    /// offered again, when more is known.
    ///
    /// # Errors
    /// If no action explains it.
    pub fn record(&mut self, record: &Record) -> Result<Vec<Action>, Refused> {
        let Record {
            node, now, entries, ..
        } = record;
        let before = Before::of(self, record);
        let result = match record.section == START {
            true => self.start(*node, now, entries),
            false => self.step(*node, now, entries),
        };
        if result.is_err() {
            before.restore(self);
        }
        result
    }

    /// A node has started. What it found on its disk is taken as it is the first time; afterwards it must be what was there.
    ///
    /// # Errors
    /// If something is missing that was durable, or there is something that the node never had.
    pub fn start(
        &mut self,
        id: NodeId,
        now: &Visible,
        entries: &[Mark],
    ) -> Result<Vec<Action>, Refused> {
        let done = match self.nodes.contains_key(&id) {
            true => {
                self.restart(id, now)?;
                vec![Action::Restart]
            }
            false => Vec::new(),
        };
        let log = Log::of(now);
        self.exist(id, &log, entries)?;
        let named = entries
            .iter()
            .filter_map(|mark| Some((mark.at.index, mark.voters.clone()?)));
        let named: Vec<(u64, Vec<NodeId>)> = named.collect();
        // Those before the first that the log names: as they were before the node started again, if it did.
        let old = self.nodes.get(&id).map(|node| &node.members);
        let old = old.and_then(|old| old.iter().rfind(|(since, _)| *since <= now.before.index));
        let first = match (old, named.is_empty()) {
            (_, true) => (now.before.index, now.voters.clone()),
            (Some(old), _) => old.clone(),
            (None, _) => (now.before.index, Vec::new()),
        };
        let members: Vec<_> = [first].into_iter().chain(named).collect();
        let hard_state = now.hard_state;
        let node = Node {
            term: hard_state.term,
            vote: hard_state.voted_for,
            role: RoleKind::Follower,
            stood: None,
            log,
            commit: now.commit,
            durable: (hard_state.term, hard_state.voted_for),
            log_durable: now.log_durable,
            members,
            stopped: false,
        };
        self.tell(id, &node)?;
        if let Some((_, until @ None)) = self.silent.get_mut(&id).and_then(|gaps| gaps.last_mut()) {
            *until = Some(node.term);
        }
        self.nodes.insert(id, node);
        Ok(done)
    }

    /// A node has left a critical section. `entries` are those that were not in its log before.
    ///
    /// # Errors
    /// If the specification has no step that does this. What a part of it did to the ghosts stays.
    pub fn step(
        &mut self,
        id: NodeId,
        now: &Visible,
        entries: &[Mark],
    ) -> Result<Vec<Action>, Refused> {
        let Some(node) = self.nodes.get(&id).cloned() else {
            return self.start(id, now, entries);
        };
        actions::explain(self, id, node, now, entries)
    }

    /// What a node that keeps no records says is taken for true: each thing that a message tells is a ghost.
    pub fn assume(&mut self, message: &Message) {
        let Message { from, term, .. } = *message;
        self.terms.insert(term);
        match &message.body {
            Body::RequestVote { last, .. } => {
                self.requests.insert((term, from), *last);
            }
            Body::VoteReply {
                answer: Answer::Granted,
            } => self.assume_vote(term, from, message.to),
            Body::AppendEntries {
                prev,
                entries,
                commit,
                ..
            } => {
                let mut log = Log::after(*prev);
                let mut before = prev.term;
                for (entry, index) in entries.iter().zip(prev.index + 1..) {
                    let term = entry.term;
                    let at = Position { term, index };
                    log.push(at);
                    let digest = Mark::of(at, &entry.payload).digest;
                    self.entries.entry(at).or_insert((digest, before));
                    before = term;
                }
                self.assume_leader(term, from, &log, *commit);
            }
            Body::InstallSnapshot { chunk, .. } => {
                let log = Log::after(chunk.last);
                self.assume_leader(term, from, &log, chunk.last.index);
            }
            Body::AppendReply {
                answer: Appended::Matched(index),
                ..
            } => {
                let acked = self.acked.entry((term, from)).or_default();
                *acked = (*acked).max(*index);
            }
            _ => {}
        }
    }

    /// The same of a vote.
    pub fn assume_vote(&mut self, term: Term, voter: NodeId, candidate: NodeId) {
        self.terms.insert(term);
        self.votes.insert((term, voter), candidate);
    }

    /// The same of a leader: of its log these entries are known.
    pub fn assume_leader(&mut self, term: Term, leader: NodeId, log: &Log, commit: u64) {
        self.terms.insert(term);
        let new = || Election {
            leader: Some(leader),
            voters: BTreeSet::new(),
            log: log.clone(),
            commit,
        };
        let election = self.elections.entry(term).or_insert_with(new);
        election.commit = election.commit.max(commit);
        let known = election.log.last();
        let unknown = known == Position::default();
        let earlier = log.before.index < election.log.before.index
            && log.last().index >= election.log.before.index;
        if unknown || earlier {
            // More of its beginning is known now.
            let rest = std::mem::replace(&mut election.log, log.clone());
            for end in rest.ends {
                if end > election.log.last() {
                    election.log.push(end);
                }
            }
        } else {
            let all = [log.before].into_iter().chain(log.ends.iter().copied());
            for end in all {
                if end > election.log.last() {
                    election.log.push(end);
                }
            }
        }
    }

    /// A node's records end here, though the node may not: from now on it may have done anything.
    pub fn falls_silent(&mut self, id: NodeId) {
        let term = self.nodes.get(&id).map_or(Term(0), |node| node.term);
        self.silent.entry(id).or_default().push((term, None));
    }

    /// A node that has just started had run before, without records: until then it may have done anything.
    fn had_run_before(&mut self, id: NodeId) {
        let term = self.nodes.get(&id).map(|node| node.term);
        self.silent.entry(id).or_default().push((Term(0), term));
    }

    /// Whether a node's records have a gap at the moment.
    fn is_silent(&self, id: NodeId) -> bool {
        let last = self.silent.get(&id).and_then(|gaps| gaps.last());
        matches!(last, Some((_, None)))
    }

    /// Whether this node has started.
    fn knows(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// There are nodes without any record.
    pub fn has_strangers(&mut self) {
        self.strangers = true;
    }

    /// Whether this node's doings in this term may be assumed.
    fn may_assume(&self, id: NodeId, term: Term) -> bool {
        let silent = self.silent.get(&id).is_some_and(|gaps| within(gaps, term));
        self.assuming && (silent || self.strangers && !self.nodes.contains_key(&id))
    }

    /// Whether somebody's may.
    fn may_assume_some(&self, term: Term) -> bool {
        let silent = self.silent.values().any(|gaps| within(gaps, term));
        self.assuming && (silent || self.strangers)
    }

    /// Log matching (figure 3), by induction: what stands at a place, and what stood before it, is the same in every log.
    fn exist(&mut self, id: NodeId, log: &Log, entries: &[Mark]) -> Result<(), Refused> {
        for mark in entries {
            let before = log.term_at(mark.at.index - 1).unwrap_or_default();
            let known = *self.entries.entry(mark.at).or_insert((mark.digest, before));
            if known != (mark.digest, before) {
                let Position { term, index } = mark.at;
                return Err(refused(
                    id,
                    format!(
                        "has another entry {index} of {term} than others: two logs with an entry of the same index and term are identical up to it (5.3)"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What is durable may be told (`Persist`).
    fn tell(&mut self, id: NodeId, node: &Node) -> Result<(), Refused> {
        let (term, vote) = node.durable;
        self.terms.insert(term);
        if (term, vote) != (node.term, node.vote) {
            return Ok(());
        }
        if let Some(candidate) = vote {
            let first = *self.votes.entry((term, id)).or_insert(candidate);
            if first != candidate {
                return Err(refused(
                    id,
                    format!(
                        "gives its vote of {term} to {candidate}, and gave it to {first} before: one vote in a term (5.2)"
                    ),
                ));
            }
        }
        // Also if it is no candidate any more: its requests leave with the write, and may find voters yet.
        if let Some((_, last)) = node.stood.filter(|(of, _)| *of == term) {
            self.requests.insert((term, id), last);
        }
        if let (Some(first), Some(last)) = (node.log.first_of(term), node.log.last_of(term)) {
            let held = last.min(node.log_durable);
            if held >= first {
                let acked = self.acked.entry((term, id)).or_default();
                *acked = (*acked).max(held);
            }
        }
        Ok(())
    }

    /// `Restart`: with what was durable, or what a write that was under way had in it.
    fn restart(&mut self, id: NodeId, now: &Visible) -> Result<(), Refused> {
        let node = &self.nodes[&id];
        let may_have_done_more = self.is_silent(id);
        let (term, vote) = (now.hard_state.term, now.hard_state.voted_for);
        let why = if term < node.durable.0 {
            let kept = node.durable.0;
            format!(
                "starts again in {term}, and {kept} was on its disk: terms survive a crash (figure 2)"
            )
        } else if term == node.durable.0 && node.durable.1.is_some() && vote != node.durable.1 {
            format!(
                "starts again in {term} without the vote that was on its disk: votes survive a crash (figure 2)"
            )
        } else if !may_have_done_more
            && (term > node.term || term == node.term && vote.is_some() && vote != node.vote)
        {
            format!("starts again in {term} with a vote for {vote:?}, which it never had")
        } else {
            let log = Log::of(now);
            let kept = node.log_durable;
            if log.agree_up_to(&node.log, kept) || may_have_done_more && node.term < term {
                return Ok(());
            }
            format!(
                "starts again without the first {kept} entries that were on its disk: the log survives a crash (figure 2)"
            )
        };
        Err(refused(id, why))
    }
}

/// One life of a node whose value is at hand: makes the records and offers them, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    recorder: Recorder,
    glance: Option<Glance>,
}

/// What tells at once that a node has not changed: a section that only looks costs next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Glance {
    changes: WriteId,
    durable: WriteId,
    role: RoleKind,
    commit: u64,
    stopped: bool,
}

impl Watched {
    /// What the node looks like now is offered to the specification: as its start the first time, else as its next step.
    ///
    /// # Errors
    /// If no action explains it.
    pub fn step(
        &mut self,
        cluster: &mut Cluster,
        raft: &Raft,
        stopped: bool,
    ) -> Result<Vec<Action>, Refused> {
        let glance = Glance {
            changes: raft.latest_write(),
            durable: raft.durable_write(),
            role: raft.role().kind(),
            commit: raft.commit(),
            stopped,
        };
        if self.glance.replace(glance) == Some(glance) {
            return Ok(Vec::new());
        }
        let starts = self.recorder.is_new();
        let note = self.recorder.note("", "", raft, stopped);
        match starts {
            true => cluster.start(raft.id(), &note.now, &note.marks()),
            false => cluster.step(raft.id(), &note.now, &note.marks()),
        }
    }
}

/// `Persist`, where the disk itself can be looked at: what the node takes for durable is there.
///
/// # Errors
/// If it is not.
pub fn is_on_disk(raft: &Raft, disk: &Stored) -> Result<(), Refused> {
    let hard_state = raft.hard_state();
    if raft.is_hard_state_durable() && disk.hard_state != hard_state {
        let why = format!(
            "takes {hard_state:?} for durable, and its disk holds {:?}: what is told must survive a crash (figure 2)",
            disk.hard_state
        );
        return Err(refused(raft.id(), why));
    }
    let index = raft.durable_log();
    let entry = raft
        .log()
        .term_at(index)
        .map(|term| Position { term, index });
    match entry.filter(|entry| index > 0 && !holds(disk, *entry)) {
        Some(Position { term, index }) => {
            let why = format!(
                "takes entry {index} of {term} for durable, and it is not on its disk: what is told must survive a crash (figure 2)"
            );
            Err(refused(raft.id(), why))
        }
        None => Ok(()),
    }
}

/// Whether this entry survives a crash.
pub fn holds(disk: &Stored, entry: Position) -> bool {
    entry.index <= disk.log.before().index || disk.log.contains(entry)
}

/// The ghosts that a record of one node can change, before it did.
struct Before {
    term: Term,
    node: NodeId,
    told: bool,
    request: Option<Position>,
    vote: Option<NodeId>,
    election: Option<Election>,
    acked: Option<u64>,
    committed: Log,
    committed_in: Option<Position>,
    /// Entries that nobody had.
    new: Vec<Position>,
}

impl Before {
    fn of(cluster: &Cluster, record: &Record) -> Before {
        let (term, node) = (record.now.hard_state.term, record.node);
        let marks = record.entries.iter().map(|mark| mark.at);
        Before {
            term,
            node,
            told: cluster.terms.contains(&term),
            request: cluster.requests.get(&(term, node)).copied(),
            vote: cluster.votes.get(&(term, node)).copied(),
            election: cluster.elections.get(&term).cloned(),
            acked: cluster.acked.get(&(term, node)).copied(),
            committed: cluster.committed.clone(),
            committed_in: cluster.committed_in.get(&term).copied(),
            new: marks
                .filter(|at| !cluster.entries.contains_key(at))
                .collect(),
        }
    }

    fn restore(self, cluster: &mut Cluster) {
        let (term, place) = (self.term, (self.term, self.node));
        if !self.told {
            cluster.terms.remove(&term);
        }
        put_back(&mut cluster.requests, place, self.request);
        put_back(&mut cluster.votes, place, self.vote);
        put_back(&mut cluster.elections, term, self.election);
        put_back(&mut cluster.acked, place, self.acked);
        cluster.committed = self.committed;
        put_back(&mut cluster.committed_in, term, self.committed_in);
        for at in self.new {
            cluster.entries.remove(&at);
        }
    }
}

fn put_back<K: Ord, V>(ghost: &mut BTreeMap<K, V>, at: K, was: Option<V>) {
    match was {
        Some(value) => ghost.insert(at, value),
        None => ghost.remove(&at),
    };
}

fn within(gaps: &[(Term, Option<Term>)], term: Term) -> bool {
    gaps.iter()
        .any(|(since, until)| *since <= term && until.is_none_or(|until| term <= until))
}

fn refused(node: NodeId, why: String) -> Refused {
    let missing = false;
    Refused { node, why, missing }
}

#[cfg(test)]
mod tests;
