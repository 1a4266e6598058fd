//! Those who wait for the end of what they asked for, each for its own.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::applier::Reply;
use super::{ReadError, Stopped, Undecided};
use crate::lock::{Awaited, Promise, promise};
use crate::rules::{Position, ReadAnswer, ReadId, Term, WriteId};
use crate::{Outside, Time};

/// How somebody is told: through a cell in which it waits, or by a call.
pub enum Tell<T> {
    /// It waits for this.
    Promise(Promise<T>),
    /// This is called, without the lock, by whichever thread has the answer: it must not take long.
    Call(Then<T>),
}

/// Called with what somebody waits for.
type Then<T> = Box<dyn FnOnce(&Outside, T) + Send>;

impl<T> Tell<T> {
    /// Who waits, and what for.
    pub fn promise() -> (Tell<T>, Awaited<T>) {
        let (promise, awaited) = promise();
        (Tell::Promise(promise), awaited)
    }

    /// Who is called.
    pub fn call(then: impl FnOnce(&Outside, T) + Send + 'static) -> Tell<T> {
        Tell::Call(Box::new(then))
    }

    fn tell(self, outside: &Outside, value: T) {
        match self {
            Tell::Promise(promise) => promise.keep(outside, value),
            Tell::Call(then) => then(outside, value),
        }
    }
}

/// What became of a proposal.
pub type Decided = Result<Reply, Undecided>;
/// What became of a read.
pub type Served = Result<(), ReadError>;
/// What became of a wish for a snapshot.
pub type SnapshotTaken = Result<Position, Stopped>;

/// Somebody who is told now, without the lock.
pub enum Told {
    /// What became of a proposal.
    Proposal(Tell<Decided>, Decided),
    /// What became of a read.
    Read(Tell<Served>, Served),
    /// A snapshot was taken.
    Snapshot(Tell<SnapshotTaken>, SnapshotTaken),
    /// Whoever was refused, and hears so in another way. What somebody else made is not dropped under the lock.
    Nothing(Box<dyn Send>),
}

impl Told {
    /// Tells all of them. Who is called is called in their order. Cells are filled from the last to the first: who has made several proposals
    /// waits for the first of them, and when that wakes it, it finds the other replies there, instead of waking for each.
    pub fn tell_all(mut all: Vec<Told>, outside: &Outside) {
        let calls = all.extract_if(.., |told| told.is_call());
        calls.for_each(|told| told.tell(outside));
        all.into_iter().rev().for_each(|told| told.tell(outside));
    }

    fn is_call(&self) -> bool {
        match self {
            Told::Proposal(who, _) => matches!(who, Tell::Call(_)),
            Told::Read(who, _) => matches!(who, Tell::Call(_)),
            Told::Snapshot(who, _) => matches!(who, Tell::Call(_)),
            Told::Nothing(_) => false,
        }
    }

    /// Tells it.
    pub fn tell(self, outside: &Outside) {
        match self {
            Told::Proposal(who, what) => who.tell(outside, what),
            Told::Read(who, what) => who.tell(outside, what),
            Told::Snapshot(who, what) => who.tell(outside, what),
            Told::Nothing(who) => drop(who),
        }
    }
}

/// Somebody who proposed the entry of this term at this index.
struct Proposed {
    index: u64,
    term: Term,
    who: Tell<Decided>,
}

/// All who wait.
#[derive(Default)]
pub(super) struct Callers {
    /// Who proposed which entry, in the order of the log. By index **and term**: another entry may take the index.
    proposals: VecDeque<Proposed>,
    /// The term of the last entry that was applied.
    applied_term: Term,
    /// When proposals that nobody has decided by then are given up: some time after this node has lost the lead, or after it has
    /// committed something for the last time.
    abandon_at: Option<Time>,
    /// What was committed when that was last looked at.
    committed: u64,
    /// Reads that wait for an index,
    reads: BTreeMap<ReadId, Tell<Served>>,
    /// and those that have one, and wait until it is applied; with the time at which they are given up if it is not even committed here.
    ready: BTreeMap<u64, Vec<(Time, Tell<Served>)>>,
    /// Those who wait for a snapshot,
    snapshots: Vec<Tell<SnapshotTaken>>,
    /// and those for whom one was taken, and who wait until it is durable.
    taken: Vec<(WriteId, Position, Tell<SnapshotTaken>)>,
    /// Those who are told when the lock is free.
    told: Vec<Told>,
}

impl Callers {
    pub(super) fn proposes(&mut self, at: Position, who: Tell<Decided>) {
        let Position { index, term } = at;
        let before = |other: &Proposed| (other.index, other.term) < (index, term);
        // Behind all others, unless a leader before had the place, or a later one, for another entry.
        let place = self.proposals.partition_point(before);
        self.proposals.insert(place, Proposed { index, term, who });
    }

    /// How many proposals are for entries up to this index: they stand in front.
    fn proposed_up_to(&self, index: u64) -> usize {
        self.proposals
            .partition_point(|proposed| proposed.index <= index)
    }

    pub(super) fn reads(&mut self, id: ReadId, who: Tell<Served>) {
        self.reads.insert(id, who);
    }

    pub(super) fn wants_snapshot(&mut self, who: Tell<SnapshotTaken>) {
        self.snapshots.push(who);
    }

    /// Somebody was refused, and is not told here.
    pub(super) fn refused(&mut self, who: impl Send + 'static) {
        self.told.push(Told::Nothing(Box::new(who)));
    }

    pub(super) fn want_a_snapshot(&self) -> bool {
        !self.snapshots.is_empty()
    }

    pub(super) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// These entries were applied, and so everything up to the last of them is decided: whoever proposed the very entry that stands
    /// there has its reply; whoever proposed another for that index has lost. So has whoever proposed something of an earlier term for a
    /// later index: terms never go down along a log, so no such entry can follow (5.3).
    pub(super) fn applied(&mut self, first: u64, replies: Vec<(Term, Reply)>) {
        let last = first + replies.len() as u64 - 1;
        let decided = self.proposed_up_to(last);
        let newest = replies.last().map_or(self.applied_term, |(term, _)| *term);
        self.told.reserve(decided);
        // Both are in the order of the log.
        let mut replies = (first..).zip(replies).peekable();
        for Proposed { index, term, who } in self.proposals.drain(..decided) {
            while replies.next_if(|(at, _)| *at < index).is_some() {}
            // Not taken by one who has lost: the one who has it may follow.
            let what = match replies.next_if(|(at, (of, _))| (*at, *of) == (index, term)) {
                Some((_, (_, reply))) => Ok(reply),
                None if index < first => Err(Undecided::Unknown),
                None => Err(Undecided::Lost),
            };
            self.told.push(Told::Proposal(who, what));
        }
        if newest > self.applied_term {
            self.applied_term = newest;
            // All that is left is later than what was applied.
            for later in std::mem::take(&mut self.proposals) {
                match later.term < newest {
                    true => {
                        let lost = Err(Undecided::Lost);
                        self.told.push(Told::Proposal(later.who, lost));
                    }
                    false => self.proposals.push_back(later),
                }
            }
        }
        self.serve_reads(last);
    }

    /// A snapshot has taken the place of the entries up to `index`: what became of those, nobody here can tell.
    pub(super) fn skipped(&mut self, index: u64) {
        let skipped = self.proposed_up_to(index);
        let skipped = self.proposals.drain(..skipped);
        let unknown = |skipped: Proposed| Told::Proposal(skipped.who, Err(Undecided::Unknown));
        self.told.extend(skipped.map(unknown));
        self.serve_reads(index);
    }

    /// The rules have answered a read; the state has applied everything up to `applied`. Until `give_up` this node should have heard that
    /// what it waits for is committed.
    pub(super) fn answered(&mut self, answer: ReadAnswer, applied: u64, give_up: Time) {
        let Some(who) = self.reads.remove(&answer.id) else {
            return;
        };
        match answer.index {
            None => self.told.push(Told::Read(who, Err(ReadError::NoLeader))),
            Some(index) if index <= applied => self.told.push(Told::Read(who, Ok(()))),
            Some(index) => {
                let ready = self.ready.entry(index).or_default();
                ready.push((give_up, who));
            }
        }
    }

    /// When reads that wait for more than is known to be committed here are given up: whoever leads is out of reach. The others wait for this
    /// node's own state machine.
    pub(super) fn unheard_until(&self, commit: u64) -> Option<Time> {
        let unheard = self.ready.range(commit + 1..);
        // Each for equally long, so the first is given up first.
        let first = unheard.filter_map(|(_, who)| who.first());
        first.map(|(until, _)| *until).min()
    }

    pub(super) fn give_up_unheard(&mut self, commit: u64, now: Time) {
        for (_, waiting) in self.ready.range_mut(commit + 1..) {
            let late = waiting.partition_point(|(until, _)| *until <= now);
            let late = waiting.drain(..late);
            let told = late.map(|(_, who)| Told::Read(who, Err(ReadError::NoLeader)));
            self.told.extend(told);
        }
        self.ready.retain(|_, waiting| !waiting.is_empty());
    }

    fn serve_reads(&mut self, applied: u64) {
        let later = self.ready.split_off(&(applied + 1));
        let served = std::mem::replace(&mut self.ready, later);
        let served = served.into_values().flatten();
        self.told
            .extend(served.map(|(_, who)| Told::Read(who, Ok(()))));
    }

    /// There is this snapshot, which that write makes durable. Also for who came while it was taken: nothing was applied meanwhile.
    pub(super) fn snapshot_is(&mut self, last: Position, write: WriteId) {
        let all = std::mem::take(&mut self.snapshots);
        self.taken
            .extend(all.into_iter().map(|who| (write, last, who)));
    }

    /// The disk holds everything up to this write.
    pub(super) fn durable(&mut self, write: WriteId) {
        let durable = self.taken.extract_if(.., |(taken, ..)| *taken <= write);
        let durable = durable.map(|(_, last, who)| Told::Snapshot(who, Ok(last)));
        self.told.extend(durable);
    }

    /// Looks after proposals that are not committed: what the next leader does with them may stay unknown for as long as it is out of
    /// reach, a leader's followers may be stuck, and nobody waits for ever.
    pub(super) fn look_after(&mut self, leads: bool, commit: u64, give_up: Time) {
        // Those that are committed wait for this node's own state machine alone.
        let waits = self
            .proposals
            .back()
            .is_some_and(|last| last.index > commit);
        let advances = leads && commit > self.committed;
        self.committed = commit;
        self.abandon_at = match self.abandon_at {
            _ if !waits => None,
            Some(at) if !advances => Some(at),
            _ => Some(give_up),
        };
    }

    pub(super) fn abandon_at(&self) -> Option<Time> {
        self.abandon_at
    }

    pub(super) fn abandon(&mut self, commit: u64, now: Time) {
        if self.abandon_at.is_some_and(|at| at <= now) {
            self.abandon_at = None;
            let undecided = self.proposals.split_off(self.proposed_up_to(commit));
            let unknown = |one: Proposed| Told::Proposal(one.who, Err(Undecided::Unknown));
            self.told.extend(undecided.into_iter().map(unknown));
        }
    }

    /// The node has stopped: everyone is told so.
    pub(super) fn stop(&mut self, why: &Stopped) {
        let proposals = std::mem::take(&mut self.proposals).into_iter();
        let stopped = |one: Proposed| Told::Proposal(one.who, Err(Undecided::Stopped(why.clone())));
        self.told.extend(proposals.map(stopped));
        let reads = std::mem::take(&mut self.reads).into_values();
        let reads = reads.chain(
            std::mem::take(&mut self.ready)
                .into_values()
                .flatten()
                .map(|(_, who)| who),
        );
        let stopped = |who| Told::Read(who, Err(ReadError::Stopped(why.clone())));
        self.told.extend(reads.map(stopped));
        let taken = std::mem::take(&mut self.taken).into_iter();
        let snapshots = taken.map(|(_, _, who)| who);
        let snapshots = snapshots.chain(std::mem::take(&mut self.snapshots));
        let stopped = |who| Told::Snapshot(who, Err(why.clone()));
        self.told.extend(snapshots.map(stopped));
    }

    /// The node had stopped before: whoever comes now is told so too.
    pub(super) fn comes_too_late(&mut self, who: Tell<Decided>, why: &Stopped) {
        let stopped = Err(Undecided::Stopped(why.clone()));
        self.told.push(Told::Proposal(who, stopped));
    }

    /// How many reads wait.
    pub(super) fn reads_waiting(&self) -> usize {
        let ready: usize = self.ready.values().map(Vec::len).sum();
        self.reads.len() + ready
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.proposals.len() + self.reads_waiting() + self.snapshots.len() + self.taken.len()
    }
}
