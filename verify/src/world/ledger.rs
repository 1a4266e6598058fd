//! The laws: what must hold in every execution of every model, whatever the model is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use biglock::node::{Decided, Reply, Shared, Undecided};
use biglock::rules::{Answer, Appended, Beat, Body, Raft, RoleKind};
use biglock::{Entry, Message, NodeId, Payload, Position, Stored, Term};
use bytes::Bytes;

use crate::harness::Run;
use crate::spec::{Cluster, Watched, holds, is_on_disk};

/// What happened, across all nodes: what the laws are about.
#[derive(Default)]
pub(super) struct Ledger {
    /// Who led each term.
    pub(super) leaders: BTreeMap<Term, NodeId>,
    /// Who gave which vote, as far as anybody was told.
    pub(super) votes: BTreeMap<(Term, NodeId), NodeId>,
    /// The latest term each node was seen in.
    pub(super) terms: BTreeMap<NodeId, Term>,
    pub(super) roles: BTreeMap<NodeId, RoleKind>,
    /// What each disk holds.
    pub(super) disks: BTreeMap<NodeId, Stored>,
    /// Machines that have crashed: nothing leaves them, nothing reaches their disk.
    pub(super) crashed: BTreeSet<NodeId>,
    /// Nodes whose disk has failed.
    pub(super) failed: BTreeSet<NodeId>,
    /// How often each node wrote, how many AppendEntries it sent, and how many answers to them were sent to it.
    pub(super) writes: BTreeMap<NodeId, u64>,
    pub(super) heartbeats: BTreeMap<NodeId, u64>,
    pub(super) answers: BTreeMap<NodeId, u64>,
    /// The latest attempt of each pre-candidate.
    pub(super) attempts: BTreeMap<NodeId, u64>,
    /// Nodes whose shutdown has returned.
    pub(super) closed: BTreeSet<NodeId>,
    /// Who asked whom for a vote in which term.
    asked: BTreeSet<(Term, NodeId, NodeId)>,
    /// Who can't hear whom.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// What was sent before the threads started.
    pub(super) held: Vec<Message>,
    /// How often each machine was started again.
    pub(super) boots: BTreeMap<NodeId, u64>,
    /// The term of the entry at each index of each leader's log, as far as it was told to anybody.
    sent: BTreeMap<(Term, u64), Term>,
    /// Every entry there ever was, by index and term.
    entries: BTreeMap<(u64, Term), Entry>,
    /// Up to which index each node said, in each term, that its disk holds what the leader has.
    pub(super) acked: BTreeMap<(Term, NodeId), u64>,
    /// What stands at each index for ever.
    committed: BTreeMap<u64, Entry>,
    /// Up to which index each node was seen to know that.
    commits: BTreeMap<NodeId, u64>,
    /// Commands that will never be run: their proposers were told so.
    lost: BTreeSet<Bytes>,
    /// Commands whose proposers have not been told yet.
    pub(super) undecided: BTreeMap<Bytes, usize>,
    /// What a leader that is not in the model has committed.
    pub(super) fresh: u64,
    /// How often each node ran each command.
    pub(super) ran: BTreeMap<(NodeId, Bytes), u64>,
    /// What the specification knows.
    pub(super) spec: Cluster,
    watched: BTreeMap<NodeId, Watched>,
}

/// Whether steps are not checked against the specification.
static UNREFINED: AtomicBool = AtomicBool::new(false);

/// From now on no step of a model is checked against the specification: to see what the other checks find without it.
pub fn refine_nothing() {
    UNREFINED.store(true, Ordering::Relaxed);
}

impl Ledger {
    /// A node that was shut down has no threads left.
    pub(super) fn check_closed(&self, node: NodeId, thread: &str) {
        let own = ["election", "leader", "disk", "apply"].contains(&thread);
        assert!(
            !own || !self.closed.contains(&node),
            "{thread} of {node} goes on after the node was shut down"
        );
    }

    /// Whether the machine still runs what was started at this boot.
    pub(super) fn alive(&self, node: NodeId, boot: u64) -> bool {
        !self.crashed.contains(&node) && self.boots.get(&node).copied().unwrap_or(0) == boot
    }

    /// A node starts again, and knows no longer what is committed.
    pub(super) fn restarted(&mut self, node: NodeId) {
        self.commits.remove(&node);
        self.watched.remove(&node);
    }

    /// Every step of a node is one that the specification allows; its first says what is on its disk.
    pub(super) fn refine(&mut self, node: NodeId, raft: &Raft, stopped: bool) {
        if UNREFINED.load(Ordering::Relaxed) {
            return;
        }
        let watched = self.watched.entry(node).or_default();
        let step = watched.step(&mut self.spec, raft, stopped);
        let result = step.and_then(|_| is_on_disk(raft, &self.disks[&node]));
        if let Err(refused) = result {
            panic!("{refused}");
        }
    }

    /// One vote per term: whoever answers for a voter answers the same.
    pub(super) fn give_vote(&mut self, term: Term, voter: NodeId, candidate: NodeId) {
        let first = *self.votes.entry((term, voter)).or_insert(candidate);
        assert!(
            first == candidate,
            "{voter} gave two votes in {term}: to {first} and to {candidate}"
        );
    }

    /// Whoever sends entries of a term sends the same ones to all.
    pub(super) fn send_entries(&mut self, term: Term, prev: Position, entries: &[Entry]) {
        let terms = entries.iter().map(|entry| entry.term);
        for (index, of) in (prev.index..).zip([prev.term].into_iter().chain(terms)) {
            let first = *self.sent.entry((term, index)).or_insert(of);
            assert!(
                first == of,
                "the leader of {term} sends entry {index} of {first} and of {of}"
            );
        }
        self.exist((prev.index + 1..).zip(entries));
    }

    /// Log matching (figure 3): an entry is named by its index and term.
    pub(super) fn exist<'a>(&mut self, entries: impl Iterator<Item = (u64, &'a Entry)>) {
        for (index, entry) in entries {
            let place = (index, entry.term);
            let other = self.entries.entry(place).or_insert_with(|| entry.clone());
            assert!(
                other == entry,
                "entry {index} of {} is both {other:?} and {entry:?}",
                entry.term
            );
        }
    }

    /// Only who leads a term makes entries of it.
    fn check_entries(&mut self, node: NodeId, raft: &Raft) {
        for (index, entry) in raft.log().iter() {
            let place = (index, entry.term);
            let leads = self.leaders.get(&entry.term) == Some(&node);
            assert!(
                leads || self.entries.contains_key(&place),
                "{node} makes entry {index} of {}, which it never led",
                entry.term
            );
        }
        self.exist(raft.log().iter());
    }

    /// A node says that it has what the leader has.
    pub(super) fn acknowledge(&mut self, term: Term, node: NodeId, index: u64) {
        let acked = self.acked.entry((term, node)).or_default();
        *acked = index.max(*acked);
    }

    /// The laws, at every section of every node.
    pub(super) fn observe(&mut self, run: &Run, node: NodeId, shared: &Shared) {
        let raft = &shared.raft;
        let (term, kind) = (raft.term(), raft.role().kind());
        let latest = self.terms.entry(node).or_insert(term);
        assert!(
            *latest <= term,
            "the term of {node} went back from {latest} to {term}"
        );
        *latest = term;
        self.commit(node, raft);
        let role = self.roles.insert(node, kind);
        if kind == RoleKind::Leader {
            let first = *self.leaders.entry(term).or_insert(node);
            assert!(first == node, "two leaders in {term}: {first} and {node}");
            if role != Some(RoleKind::Leader) {
                self.votes.insert((term, node), node);
                let votes = self
                    .votes
                    .iter()
                    .filter(|&(&(of, _), &candidate)| of == term && candidate == node)
                    .count();
                let majority = raft.members().majority();
                assert!(
                    votes >= majority,
                    "{node} leads {term} with {votes} of the {majority} votes it needs"
                );
                run.reached_by_threads("a leader");
            }
        }
        self.check_entries(node, raft);
        self.refine(node, raft, shared.stopped().is_some());
        if role == Some(RoleKind::Leader) && kind != RoleKind::Leader {
            run.reached_by_threads("a leader steps down");
        }
    }

    /// State machine safety (figure 3): what one node knows to be committed is what all others do, for ever; and a leader commits what
    /// the disks of a majority hold.
    fn commit(&mut self, node: NodeId, raft: &Raft) {
        let known = self.commits.get(&node).copied().unwrap_or(0);
        let commit = raft.commit();
        if commit <= known {
            return;
        }
        self.commits.insert(node, commit);
        for (index, entry) in raft.log().iter() {
            if index > commit || index <= known {
                continue;
            }
            let first = self.committed.entry(index).or_insert_with(|| entry.clone());
            assert!(
                first == entry,
                "{node} commits {entry:?} as entry {index}, and {first:?} was committed there"
            );
            if let Payload::Command(command) = &entry.payload {
                assert!(
                    !self.lost.contains(command),
                    "{command:?} is committed, and its proposer was told that it is lost"
                );
            }
        }
        if raft.role().kind() != RoleKind::Leader {
            return;
        }
        let term = raft.term();
        let position = Position {
            term: raft.log().term_at(commit).unwrap_or_default(),
            index: commit,
        };
        assert!(
            position.term == term,
            "the leader of {term} commits an entry of {} by counting",
            position.term
        );
        let has = |voter: &NodeId| match *voter == node {
            true => holds(&self.disks[&node], position),
            false => self.acked.get(&(term, *voter)).copied() >= Some(commit),
        };
        let many = raft.members().voters().filter(has).count();
        let majority = raft.members().majority();
        assert!(
            many >= majority,
            "{node} commits entry {commit}, which {many} of the {majority} disks hold that must"
        );
    }

    /// The laws, whenever something is sent.
    pub(super) fn send(&mut self, run: &Run, message: &Message) {
        let Message {
            from,
            to,
            term,
            ref body,
        } = *message;
        let hard_state = self.disks[&from].hard_state;
        assert!(
            !self.failed.contains(&from),
            "{from} says something after its disk has failed"
        );
        let kept = |voted_for: NodeId| {
            hard_state.term > term
                || hard_state.term == term && hard_state.voted_for == Some(voted_for)
        };
        match body {
            Body::PreVote { attempt, .. } => {
                self.attempts.insert(from, *attempt);
            }
            Body::AppendReply { answer, .. } => {
                *self.answers.entry(to).or_default() += 1;
                if let Appended::Matched(index) = *answer {
                    self.check_acknowledged(from, term, index);
                    self.acknowledge(term, from, index);
                }
            }
            Body::VoteReply {
                answer: Answer::Granted,
            } => {
                assert!(
                    kept(to),
                    "{from} tells {to} that it has its vote of {term}, and its disk holds {hard_state:?}"
                );
                self.give_vote(term, from, to);
            }
            Body::RequestVote { .. } => {
                assert!(
                    kept(from),
                    "{from} asks for votes in {term}, and its disk holds {hard_state:?}"
                );
                self.give_vote(term, from, from);
                if !self.asked.insert((term, from, to)) {
                    run.reached_by_threads("asked again");
                }
            }
            Body::AppendEntries { prev, entries, .. } => {
                assert!(
                    self.leaders.get(&term) == Some(&from),
                    "{from} sends a heartbeat of {term}, which it never led"
                );
                self.send_entries(term, *prev, entries);
                *self.heartbeats.entry(from).or_default() += 1;
            }
            _ => {}
        }
    }

    /// Up to which index anything is known to be committed.
    pub(super) fn known_committed(&self) -> u64 {
        let seen = self.commits.values().copied().max();
        self.fresh.max(seen.unwrap_or(0))
    }

    /// The latest term in which a node gave its vote, as far as anybody was told: it has left all earlier ones.
    pub(super) fn left_for(&self, voter: NodeId) -> Term {
        let terms = self.votes.keys().filter(|(_, of)| *of == voter);
        terms.map(|(term, _)| *term).max().unwrap_or_default()
    }

    /// What node 2, which is not in the model, answers to this, if it is asked and has an answer.
    pub(super) fn answer(&mut self, request: &Message) -> Option<Message> {
        let Message { from, to, term, .. } = *request;
        if to != NodeId(2) {
            return None;
        }
        let left_for = self.left_for(to);
        let body = match request.body {
            // Without the round: in a later term it would confirm what it was not sent for.
            Body::AppendEntries { .. } if left_for > term => Body::AppendReply {
                beat: Beat::default(),
                answer: Appended::Stale,
            },
            Body::AppendEntries {
                prev,
                ref entries,
                beat,
                ..
            } => {
                let matched = prev.index + entries.len() as u64;
                self.acknowledge(term, to, matched);
                let answer = Appended::Matched(matched);
                Body::AppendReply { beat, answer }
            }
            _ => return None,
        };
        Some(Message {
            from: to,
            to: from,
            term: term.max(left_for),
            body,
        })
    }

    /// Nothing is acknowledged that the disk does not hold. (In a later term it may have been replaced since.)
    fn check_acknowledged(&self, from: NodeId, term: Term, index: u64) {
        let disk = &self.disks[&from];
        let expected = self.sent.get(&(term, index)).copied();
        let position = Position {
            term: expected.unwrap_or_default(),
            index,
        };
        let kept = index == 0 || disk.hard_state.term > term || holds(disk, position);
        assert!(
            kept,
            "{from} tells the leader of {term} that it has entry {index} of {}, and its disk holds {}",
            position.term,
            terms(disk)
        );
    }

    /// Somebody proposed this, and waits.
    pub(super) fn proposed(&mut self, command: Bytes) {
        *self.undecided.entry(command).or_default() += 1;
    }

    /// It could not be proposed.
    pub(super) fn refused(&mut self, command: &Bytes) {
        match self.undecided.get_mut(command) {
            Some(many) if *many > 1 => *many -= 1,
            Some(_) => {
                self.undecided.remove(command);
            }
            None => panic!("{command:?} is decided twice"),
        }
    }

    /// Its proposer was told what became of it.
    pub(super) fn decided(&mut self, run: &Run, command: &Bytes, what: &Decided) {
        self.refused(command);
        let mut entries = self.committed.values();
        let stands = entries.any(|entry| entry.payload == Payload::Command(command.clone()));
        match what {
            Ok(reply) => {
                run.reached_by_threads("committed");
                assert!(
                    stands && *reply == Reply::Command(command.clone()),
                    "the proposer of {command:?} was told {reply:?}, and it is not what is committed"
                );
            }
            Err(Undecided::Lost) => {
                run.reached_by_threads("lost");
                assert!(
                    !stands,
                    "{command:?} is committed, and its proposer is told that it is lost"
                );
                self.lost.insert(command.clone());
            }
            Err(Undecided::Unknown) => run.reached_by_threads("unknown"),
            Err(_) => run.reached_by_threads("stopped while it waited"),
        }
    }

    /// A node's state machine applies a command: it must be the next one that is committed.
    pub(super) fn applies(&self, node: NodeId, last: u64, index: u64, command: &[u8]) {
        for (at, entry) in self.committed.range(last + 1..=index) {
            let skipped = *at < index && matches!(entry.payload, Payload::Command(_));
            assert!(!skipped, "{node} applies entry {index}, and never {at}");
        }
        let stands = match self.committed.get(&index).map(|entry| &entry.payload) {
            Some(Payload::Command(committed)) => committed == command,
            Some(Payload::Session(request)) => match &**request {
                biglock::SessionRequest::Call { command: of, .. } => of == command,
                _ => false,
            },
            _ => false,
        };
        assert!(
            index > last && stands,
            "{node} applies {command:?} as entry {index} after {last}, and that is not what is committed"
        );
    }
}

/// The entries of a disk in a few words.
fn terms(disk: &Stored) -> String {
    let of = |(_, entry): (u64, &Entry)| entry.term.0.to_string();
    let all: Vec<String> = disk.log.iter().map(of).collect();
    match all.is_empty() {
        true => format!("no entries from {} on", disk.log.first()),
        false => format!(
            "entries from {} on, of terms {}",
            disk.log.first(),
            all.join(", ")
        ),
    }
}
