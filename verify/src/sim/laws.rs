//! What must hold after every event, in every run: the five safety properties of figure 3, and what Biglock promises beyond them.
//!
//! Each is checked for what has changed and for nothing else, so that a run stays fast. A broken one is a panic that names it.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use biglock::node::{Job, Reply};
use biglock::rules::{Answer, Appended, Body, Raft, Role, WriteId};
use biglock::{Entry, Message, NodeId, Position, Snapshot, Term};

use super::disk::Disk;

macro_rules! law {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            panic!($($sentence)+);
        }
    };
}

/// What is known of the whole cluster.
#[derive(Default)]
pub(super) struct Laws {
    /// Who led each term, and the end of its log when it was elected.
    leaders: BTreeMap<Term, (NodeId, Position)>,
    /// Every entry that any log ever had, and the term of the one before it.
    entries: BTreeMap<Position, (Entry, Term)>,
    /// The term of the entry that was committed at an index.
    chosen: BTreeMap<u64, Term>,
    /// The last entry that a leader of a term committed.
    committed: BTreeMap<Term, Position>,
    /// What came of applying an index.
    replies: BTreeMap<u64, (Term, Reply)>,
    /// The snapshot that ends with an index.
    snapshots: BTreeMap<u64, Snapshot>,
    /// What each machine's disk holds.
    pub(super) disks: BTreeMap<NodeId, Disk>,
}

/// What was seen of a node since it started.
#[derive(Default)]
pub(super) struct Seen {
    changes: Option<WriteId>,
    /// The index before the first of `terms`.
    before: u64,
    /// The terms of its entries.
    terms: VecDeque<Term>,
    commit: u64,
    applied: u64,
    leads: Option<Term>,
    last: Position,
}

impl Seen {
    fn term_at(&self, index: u64) -> Option<Term> {
        let offset = index.checked_sub(self.before + 1)?;
        self.terms.get(usize::try_from(offset).ok()?).copied()
    }
}

impl Laws {
    /// A node's section has ended.
    pub(super) fn after_section(&mut self, seen: &mut Seen, raft: &Raft) {
        let led = seen.leads;
        let last = seen.last;
        if seen.changes != Some(raft.latest_write()) {
            seen.changes = Some(raft.latest_write());
            self.log_matching(seen, raft);
        }
        seen.last = raft.log().last();
        seen.leads = matches!(raft.role(), Role::Leader(_)).then(|| raft.term());
        if let Some(term) = seen.leads {
            if led == Some(term) {
                leader_append_only(raft, last);
            } else {
                self.election(raft, last);
            }
        }
        if raft.commit() > seen.commit {
            self.commit(seen.commit, raft);
            seen.commit = raft.commit();
        }
    }

    /// Election safety: "at most one leader can be elected in a given term". Leader completeness, seen from the election: "if a log entry is
    /// committed in a given term, then that entry will be present in the logs of the leaders for all higher-numbered terms".
    fn election(&mut self, raft: &Raft, last: Position) {
        let (id, term) = (raft.id(), raft.term());
        let (first, _) = *self.leaders.entry(term).or_insert((id, last));
        law!(
            first == id,
            "election safety: {first} and {id} both lead {term}"
        );
        if let Some((of, &position)) = self.committed.range(..term).next_back() {
            law!(
                position.index <= raft.log().before().index || raft.log().contains(position),
                "leader completeness: {position:?}, committed in {of}, is not in the log of {id}, who leads {term}"
            );
        }
    }

    /// Log matching: "if two logs contain an entry with the same index and term, then the logs are identical in all entries up through the
    /// given index". By induction: the same place, the same entry, and the same place before it.
    fn log_matching(&mut self, seen: &mut Seen, raft: &Raft) {
        let log = raft.log();
        let (first, last) = (log.first(), log.last().index);
        let mut same = last;
        while same >= first && seen.term_at(same) != log.term_at(same) {
            same -= 1;
        }
        // `same` is the last index whose entry was there before; if none was, the one before the first.
        if same < first || same > seen.before + seen.terms.len() as u64 {
            seen.terms.clear();
            seen.before = log.before().index;
            same = log.before().index;
        }
        while seen.before < log.before().index {
            seen.terms.pop_front();
            seen.before += 1;
        }
        seen.terms
            .truncate(usize::try_from(same.saturating_sub(seen.before)).unwrap_or(0));
        for index in same + 1..=last {
            let entry = log.get(index).expect("it is in the log");
            let before = log.term_at(index - 1).expect("so is the one before it");
            seen.terms.push_back(entry.term);
            let at = Position {
                term: entry.term,
                index,
            };
            let (known, known_before) = self
                .entries
                .entry(at)
                .or_insert_with(|| (entry.clone(), before));
            law!(
                known == entry && *known_before == before,
                "log matching: at {at:?}, {} has {entry:?} after {before}, and another has {known:?} after {known_before}",
                raft.id()
            );
        }
    }

    /// What was committed since `from`.
    fn commit(&mut self, from: u64, raft: &Raft) {
        let (id, log, commit) = (raft.id(), raft.log(), raft.commit());
        for index in (from + 1).max(log.before().index)..=commit {
            let Some(term) = log.term_at(index) else {
                continue;
            };
            let chosen = *self.chosen.entry(index).or_insert(term);
            law!(
                chosen == term || index == 0,
                "state machine safety: {id} committed the entry of {term} at {index}, and another that of {chosen}"
            );
        }
        if let Role::Leader(_) = raft.role() {
            let position = Position {
                term: raft.term(),
                index: commit,
            };
            law!(
                log.contains(position),
                "5.4.2: {id} commits up to {commit}, which is not of its own {}",
                raft.term()
            );
            let holding = raft.members().voters();
            let holding = holding.filter(|voter| {
                let disk = self.disks.get(voter);
                disk.is_some_and(|disk| disk.holds(position))
            });
            let holding = holding.count();
            law!(
                holding >= raft.members().majority(),
                "durability: {id} commits {position:?}, and it is on {holding} disks of {}",
                raft.members()
            );
            self.committed.insert(raft.term(), position);
            self.later_leaders_have(position);
        }
    }

    /// Leader completeness, seen from the commit.
    fn later_leaders_have(&self, position: Position) {
        for (term, (id, last)) in self.leaders.range(Term(position.term.0 + 1)..) {
            law!(
                self.leads_through(*last, position),
                "leader completeness: {position:?} is committed, and was not in the log of {id} when it was elected for {term}"
            );
        }
    }

    /// Whether a log that ends with `last` has `position`.
    fn leads_through(&self, last: Position, position: Position) -> bool {
        let mut at = last;
        while at.index > position.index {
            let Some((_, term)) = self.entries.get(&at) else {
                return false;
            };
            at = Position {
                term: *term,
                index: at.index - 1,
            };
        }
        at == position
    }

    /// The apply thread takes a job: in index order, without a gap, and only what is committed.
    pub(super) fn applies(&self, id: NodeId, seen: &mut Seen, job: &Job) {
        match job {
            Job::Restore(snapshot) => {
                law!(
                    snapshot.last.index > seen.applied,
                    "{id} goes back from {} to the snapshot of {:?}",
                    seen.applied,
                    snapshot.last
                );
                seen.applied = snapshot.last.index;
            }
            Job::Apply { first, entries } => {
                law!(
                    *first == seen.applied + 1,
                    "{id} applies {first} after {}",
                    seen.applied
                );
                for (index, entry) in (*first..).zip(entries) {
                    law!(
                        self.chosen.get(&index) == Some(&entry.term),
                        "state machine safety: {id} applies the entry of {} at {index}, and committed is {:?}",
                        entry.term,
                        self.chosen.get(&index)
                    );
                }
                seen.applied += entries.len() as u64;
            }
            Job::Snapshot { last, .. } => law!(
                last.index == seen.applied,
                "{id} takes a snapshot of {last:?} and has applied {}",
                seen.applied
            ),
        }
    }

    /// What came of an entry is the same on every node.
    pub(super) fn applied(&mut self, id: NodeId, first: u64, replies: &[(Term, Reply)]) {
        for (index, reply) in (first..).zip(replies) {
            let known = self.replies.entry(index).or_insert_with(|| reply.clone());
            law!(
                known == reply,
                "{id} got {reply:?} for {index}, and another {known:?}"
            );
        }
    }

    /// The states after the same entry are the same.
    pub(super) fn snapshot(&mut self, id: NodeId, snapshot: &Snapshot) {
        let index = snapshot.last.index;
        let known = self
            .snapshots
            .entry(index)
            .or_insert_with(|| snapshot.clone());
        law!(
            known == snapshot,
            "{id} took another snapshot after {index} than another node"
        );
        // Old ones are not asked about again.
        while self.snapshots.len() > 64 {
            self.snapshots.pop_first();
        }
    }

    /// A node never says what it has not made durable.
    pub(super) fn sends(&self, raft: &Raft, message: &Message) {
        let (id, term) = (message.from, message.term);
        let disk = &self.disks[&id];
        let hard_state = disk.look(|stored| stored.hard_state);
        law!(
            hard_state.term == term,
            "durability: {id} says {message}, and has {hard_state:?} on its disk"
        );
        let voted_for = match message.body {
            Body::RequestVote { .. } => Some(id),
            Body::VoteReply {
                answer: Answer::Granted,
            } => Some(message.to),
            _ => None,
        };
        law!(
            voted_for.is_none() || hard_state.voted_for == voted_for,
            "durability: {id} says {message}, and has {hard_state:?} on its disk"
        );
        if let Body::AppendReply {
            answer: Appended::Matched(index),
            ..
        } = message.body
        {
            // What it has there now, not what the disk may hold from before; what its log no longer has is committed.
            let log = raft.log().term_at(index);
            let term = log.or_else(|| self.chosen.get(&index).copied());
            let held = term.is_none_or(|term| disk.holds(Position { term, index }));
            law!(
                held,
                "durability: {id} says {message}, and its disk, which ends with {}, has another entry there",
                disk.last()
            );
        }
    }

    /// The term of the entry that is committed at `index`.
    pub(super) fn chosen(&self, index: u64) -> Option<&Entry> {
        let term = *self.chosen.get(&index)?;
        let at = Position { term, index };
        self.entries.get(&at).map(|(entry, _)| entry)
    }

    /// The last index that is committed.
    pub(super) fn last_chosen(&self) -> u64 {
        self.chosen.last_key_value().map_or(0, |(&index, _)| index)
    }

    /// How many terms had a leader.
    pub(super) fn terms_led(&self) -> usize {
        self.leaders.len()
    }
}

/// Leader append-only: "a leader never overwrites or deletes entries in its log; it only appends new entries".
fn leader_append_only(raft: &Raft, last: Position) {
    let log = raft.log();
    law!(
        log.last().index >= last.index && (log.contains(last) || last.index <= log.before().index),
        "leader append-only: {} leads {} and had {last:?} in its log",
        raft.id(),
        raft.term()
    );
}
