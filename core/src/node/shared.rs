//! What the big lock guards, and what each critical section does with it.
//!
//! Every method here is the body of a section: it takes the time and an input, lets [`Raft`] decide, and leaves what there is to do
//! without the lock. The [`Engine`](super::Engine) runs them under the lock, from its threads; a simulator runs them one after the other.

use std::collections::BTreeMap;

use super::applier::{Applier, Done, Job};
use super::callers::{Callers, Decided, Served, SnapshotTaken, Tell, Told};
use super::{Leadership, ProposeError, ReadError, StateMachine, Stopped, Storage, StorageError};
use crate::lock::{Guarded, sync};
use crate::rules::{
    At, Ballot, Before, Change, ChangeRefused, Members, NodeId, Payload, Position, Raft, ReadId,
    Role, Term, TransferRefused, Verdict, Write, WriteId,
};
use crate::{Message, Time};

/// Everything that a node's threads share, behind its one lock.
pub struct Shared {
    /// The rules.
    pub raft: Raft,
    /// The disk, while nobody writes. **Whoever takes it writes, until it is brought back**: so writes reach the disk in order. Term and
    /// vote are written by whoever changed them, so that no vote waits for a thread to wake; entries by the disk thread, so that who
    /// proposes or receives them does not wait for the disk.
    storage: Option<Box<dyn Storage>>,
    /// Whether a write takes no time: then it is made by whoever has something to write.
    instant_disk: bool,
    /// The replicated state, while nobody applies. Whoever takes it applies, until it is brought back.
    applier: Option<Applier>,
    /// Whether applying takes no time: then it is done by whoever learns that something is committed.
    instant_state: bool,
    callers: Callers,
    /// Set once, when the node stops; from then on nothing is decided, written or sent.
    stopped: Option<Stopped>,
    /// The last leadership that was handed out as news,
    told: Leadership,
    /// how many were,
    changes: u64,
    /// and the entry that named the members whom the transport knows.
    members_told: Option<Position>,
    members_changes: u64,
    /// The time of this section.
    now: Time,
    random: fastrand::Rng,
}

/// What a section gives a thread to do without the lock, in this order: send, tell, write, apply.
#[must_use = "what a section decided has to be carried out"]
#[derive(Default)]
pub struct Work {
    /// What may be sent at once.
    pub messages: Vec<Message>,
    /// Callers whose wait is over.
    pub told: Vec<Told>,
    /// What must be written, and the disk to write it to; afterwards the disk goes back through [`Shared::finish_write`].
    pub write: Option<(Box<dyn Storage>, Write)>,
    /// What must be applied, and the state to apply it to; afterwards that goes back through [`Shared::finish_job`].
    pub job: Option<(Applier, Job)>,
    /// Who leads, if that changed: for the log. The number, from 1, puts changes in order that two threads tell at once.
    pub news: Option<(u64, Leadership)>,
    /// The members, if they changed: for the transport. With a number, as the news.
    pub members: Option<(u64, Members)>,
}

/// Those who wait, each for its own kind of change.
///
/// One condvar for all of them woke every voter's loops for each new term, on the way of its answer: 70 futex calls an election
/// instead of 24, and 15 us more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The election thread.
    Election,
    /// The leader thread.
    Leader,
    /// The disk thread.
    Disk,
    /// The apply thread.
    Apply,
    /// Users who wait for a leadership, or for a learner.
    Callers,
}

/// What waiters can observe: all that their predicates read, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Nobody waits for it; the invariants compare it.
    before: Before,
    election: ElectionSees,
    /// Whether heartbeats are to be sent: the leader thread sees that. When they are due it keeps to itself.
    leads: bool,
    /// Whether the disk thread has something to do.
    to_write: bool,
    /// Whether the apply thread has something to do.
    to_apply: bool,
    /// What callers see.
    callers: CallersSee,
    /// Everyone sees the end.
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ElectionSees {
    /// Which campaign runs,
    campaign: Option<(Term, Option<u64>)>,
    /// and that it is decided: not every vote.
    standing: Option<Verdict>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CallersSee {
    leadership: Leadership,
    /// To whom the leader hands over.
    transfer: Option<NodeId>,
    /// Its learners, and whether each may be promoted.
    learners: BTreeMap<NodeId, bool>,
}

/// The most entries, in bytes, that are applied before others have a turn: so that replies do not wait for long.
const APPLY_AT_ONCE: usize = 256 << 10;

impl Shared {
    /// A node that has loaded `raft` from `storage`.
    pub fn new(
        raft: Raft,
        storage: Box<dyn Storage>,
        machine: Box<dyn StateMachine>,
        seed: u64,
    ) -> Shared {
        let told = leadership(&raft);
        Shared {
            raft,
            instant_disk: storage.is_instant(),
            storage: Some(storage),
            instant_state: machine.is_instant(),
            applier: Some(Applier::new(machine)),
            callers: Callers::default(),
            stopped: None,
            told,
            changes: 0,
            members_told: None,
            members_changes: 0,
            now: Time::ZERO,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The input that every decision gets: the time, and a fresh random number.
    fn at(&mut self, now: Time) -> At {
        self.now = now;
        At {
            now,
            random: self.random.u64(..),
        }
    }

    /// Why the node stopped, if it has.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Stops the node. The first reason stays. Everyone who waits is told.
    pub fn stop(&mut self, why: Stopped) {
        let why = self.stopped.get_or_insert(why);
        self.callers.stop(why);
    }

    /// Who leads, and in which term.
    pub fn leadership(&self) -> Leadership {
        leadership(&self.raft)
    }

    /// A message has arrived.
    pub fn receive(&mut self, now: Time, message: Message) {
        if self.stopped.is_none() {
            let at = self.at(now);
            self.raft.receive(at, message);
        }
    }

    /// The election deadline has passed.
    pub fn campaign(&mut self, now: Time) -> Ballot {
        let at = self.at(now);
        self.raft.campaign(at)
    }

    /// There is something to do about a campaign. Rule 5: the lock was free, so nothing is assumed; spending the ballot checks everything
    /// again.
    pub fn count_votes(&mut self, now: Time, ballot: Ballot) -> Option<Ballot> {
        let at = self.at(now);
        self.raft.count_votes(at, ballot)
    }

    /// When the leader thread has something to do: heartbeats, reads to ask for again, proposals to give up.
    pub fn upkeep_due(&self) -> Option<Time> {
        let raft = &self.raft;
        let all = [
            raft.heartbeat_due(),
            raft.retry_due(),
            self.callers.abandon_at(),
            self.callers.unheard_until(raft.commit()),
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due of that.
    pub fn upkeep(&mut self, now: Time) {
        let at = self.at(now);
        if self.raft.heartbeat_due().is_some_and(|due| due <= now) {
            self.raft.heartbeat(at);
        }
        if self.raft.retry_due().is_some_and(|due| due <= now) {
            self.raft.retry(at);
        }
        self.callers.abandon(self.raft.commit(), now);
        self.callers.give_up_unheard(self.raft.commit(), now);
    }

    /// Somebody proposes these, and each of them is told what became of its own. If one is refused, so are those that follow it. Returns how
    /// many were proposed, and why not all.
    pub fn propose(
        &mut self,
        now: Time,
        proposals: impl IntoIterator<Item = (Payload, Tell<Decided>)>,
    ) -> (usize, Result<(), ProposeError>) {
        let mut many = 0;
        if let Err(why) = self.check_running() {
            return (many, Err(why.into()));
        }
        let at = self.at(now);
        let mut result = Ok(());
        for (payload, who) in proposals {
            match self.raft.push(at, payload) {
                Ok(position) => self.callers.proposes(position, who),
                Err((why, payload)) => {
                    self.callers.refused((payload, who));
                    result = Err(ProposeError::refused(why, self.raft.leader()));
                    break;
                }
            }
            many += 1;
        }
        self.raft.send_entries();
        (many, result)
    }

    /// Somebody wants to read.
    pub fn read(&mut self, now: Time, who: Tell<Served>) -> Result<(), ReadError> {
        match self.begin_read(now) {
            Ok(id) => self.callers.reads(id, who),
            Err(why) => {
                self.callers.refused(who);
                return Err(why);
            }
        }
        Ok(())
    }

    fn begin_read(&mut self, now: Time) -> Result<ReadId, ReadError> {
        self.check_running()?;
        // Also those that wait for a slow state machine.
        if self.callers.reads_waiting() >= self.raft.settings().max_reads {
            return Err(ReadError::Busy);
        }
        let at = self.at(now);
        Ok(self.raft.read(at)?)
    }

    /// Somebody changes the members.
    pub fn change_members(
        &mut self,
        now: Time,
        change: &Change,
        who: Tell<Decided>,
    ) -> Result<(), ChangeRefused> {
        if let Some(why) = &self.stopped {
            self.callers.comes_too_late(who, why);
            return Ok(());
        }
        let at = self.at(now);
        match self.raft.change_members(at, change) {
            Ok(position) => self.callers.proposes(position, who),
            Err(why) => {
                self.callers.refused(who);
                return Err(why);
            }
        }
        Ok(())
    }

    /// Somebody hands the leadership over.
    pub fn transfer(&mut self, now: Time, to: NodeId) -> Result<(), TransferRefused> {
        let at = self.at(now);
        self.raft.transfer(at, to)
    }

    /// Somebody wants a snapshot now.
    pub fn want_snapshot(&mut self, who: Tell<SnapshotTaken>) -> Result<(), Stopped> {
        if let Err(why) = self.check_running() {
            self.callers.refused(who);
            return Err(why);
        }
        self.callers.wants_snapshot(who);
        Ok(())
    }

    /// A snapshot of a state that has not changed since the last one is that one. A node that was not yet added can take none.
    /// Nobody is told before it is durable.
    fn settle_snapshots(&mut self) {
        if self.callers.want_a_snapshot() {
            let taken = self.raft.snapshot().map_or(Position::default(), |s| s.last);
            if taken.index == self.raft.applied() || !self.raft.knows_members() {
                self.callers.snapshot_is(taken, self.raft.snapshot_write());
            }
        }
        self.callers.durable(self.raft.durable_write());
    }

    fn check_running(&self) -> Result<(), Stopped> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    /// Takes what this section gives its thread to do, and the disk with it if this thread is to write: what is written at once is what is
    /// urgent (term and vote), or takes no time. If the disk is out, whoever has it will find what there is when it is brought back.
    pub fn take_work(&mut self) -> Work {
        let mut work = self.take_messages();
        if self.instant_disk || !self.raft.is_hard_state_durable() {
            work.write = self.take_write();
        }
        if self.instant_state && !self.needs_apply_thread() {
            work.job = self.take_entries();
        }
        work
    }

    /// The same for the disk thread, which writes whatever there is.
    pub fn take_write(&mut self) -> Option<(Box<dyn Storage>, Write)> {
        if self.stopped.is_some() || self.storage.is_none() {
            return None;
        }
        let write = self.raft.take_write()?;
        self.storage.take().map(|storage| (storage, write))
    }

    /// Whether the disk thread has something to do.
    pub fn has_write(&self) -> bool {
        self.stopped.is_none() && self.storage.is_some() && !self.raft.is_durable()
    }

    /// The same as [`take_work`](Shared::take_work) for a thread that must not wait for the disk: the leader's, so that the disk never holds
    /// up a heartbeat.
    pub fn take_messages(&mut self) -> Work {
        self.hear_answers();
        let told = self.callers.take_told();
        if self.stopped.is_some() {
            return Work {
                told,
                ..Work::default()
            };
        }
        let now = self.leadership();
        let news = (now != self.told).then(|| {
            self.changes += 1;
            (self.changes, now)
        });
        self.told = now;
        Work {
            messages: self.raft.take_messages(),
            told,
            write: None,
            job: None,
            news,
            members: self.take_members(),
        }
    }

    fn hear_answers(&mut self) {
        let applied = self.raft.applied();
        let give_up = self.now + self.raft.settings().patience();
        for answer in self.raft.take_reads() {
            self.callers.answered(answer, applied, give_up);
        }
        let leads = matches!(self.raft.role(), Role::Leader(_));
        self.callers.look_after(leads, self.raft.commit(), give_up);
        self.settle_snapshots();
    }

    fn take_members(&mut self) -> Option<(u64, Members)> {
        let index = self.raft.members_since();
        let term = self.raft.log().term_at(index).unwrap_or_default();
        let named = Some(Position { term, index });
        (self.members_told != named).then(|| {
            self.members_told = named;
            self.members_changes += 1;
            (self.members_changes, self.raft.members().clone())
        })
    }

    /// The disk, for good: the node has stopped. Nothing while somebody still writes.
    pub fn take_storage(&mut self) -> Option<Box<dyn Storage>> {
        match self.stopped {
            Some(_) => self.storage.take(),
            None => None,
        }
    }

    /// The disk is brought back, with the number of what was written or the error. After an error nothing is tried again: the node
    /// stops.
    pub fn finish_write(
        &mut self,
        now: Time,
        storage: Box<dyn Storage>,
        id: WriteId,
        result: Result<(), StorageError>,
    ) {
        self.now = now;
        self.storage = Some(storage);
        match result {
            Ok(()) => self.raft.written(id),
            Err(error) => self.stop(Stopped::Storage(error)),
        }
    }

    /// Whether the apply thread has something to do.
    pub fn has_job(&self) -> bool {
        let has = match self.instant_state {
            true => self.needs_apply_thread(),
            false => self.needs_apply_thread() || self.has_entries(),
        };
        has && self.stopped.is_none() && self.applier.is_some()
    }

    /// Whether there is something to do that takes time, whatever the state machine.
    fn needs_apply_thread(&self) -> bool {
        self.raft.applied() < self.raft.log().before().index
            || self.callers.want_a_snapshot()
            || self.raft.wants_snapshot()
    }

    fn has_entries(&self) -> bool {
        self.raft.commit() > self.raft.applied()
    }

    /// What the apply thread is to do, and the state to do it to; afterwards that goes back through [`Shared::finish_job`].
    pub fn take_job(&mut self) -> Option<(Applier, Job)> {
        let applied = self.raft.applied();
        let job = if applied < self.raft.log().before().index {
            // What is no longer in the log is in the snapshot.
            Job::Restore(self.raft.snapshot()?.clone())
        } else if self.callers.want_a_snapshot() || self.raft.wants_snapshot() {
            let (last, time, members) = self.raft.snapshot_head(applied)?;
            Job::Snapshot {
                last,
                time,
                members,
            }
        } else {
            return self.take_entries();
        };
        self.applier.take().map(|applier| (applier, job))
    }

    fn take_entries(&mut self) -> Option<(Applier, Job)> {
        if self.stopped.is_some() || self.applier.is_none() || !self.has_entries() {
            return None;
        }
        let (first, last) = (self.raft.applied() + 1, self.raft.commit());
        // Not those that follow: a follower learns that the last ones are committed when the next ones arrive.
        let entries = self.raft.log().share_until(first, last, APPLY_AT_ONCE);
        let job = Job::Apply { first, entries };
        self.applier.take().map(|applier| (applier, job))
    }

    /// The state is brought back.
    pub fn finish_job(&mut self, now: Time, applier: Applier, done: Done) {
        self.now = now;
        self.applier = Some(applier);
        match done {
            Done::Restored(index) => {
                self.raft.set_applied(index);
                self.callers.skipped(index);
            }
            Done::Applied { first, replies } => {
                self.raft.set_applied(first + replies.len() as u64 - 1);
                self.callers.applied(first, replies);
            }
            Done::Taken(snapshot) => {
                self.raft.compact(snapshot);
            }
            Done::Failed(error) => self.stop(Stopped::StateMachine(error)),
        }
    }

    /// How many callers wait for a reply, a read or a snapshot.
    pub fn waiting_callers(&self) -> usize {
        self.callers.len()
    }
}

impl Guarded for Shared {
    type Digest = Digest;
    type Audience = Audience;
    const AUDIENCES: &'static [Audience] = &[
        Audience::Election,
        Audience::Leader,
        Audience::Disk,
        Audience::Apply,
        Audience::Callers,
    ];

    fn digest(&self) -> Digest {
        Digest {
            before: self.raft.before(),
            election: ElectionSees {
                campaign: self.raft.campaign_running(),
                standing: self.raft.standing(),
            },
            leads: self.raft.heartbeat_due().is_some(),
            to_write: self.has_write(),
            to_apply: self.has_job(),
            callers: CallersSee {
                leadership: self.leadership(),
                transfer: self.raft.transferring_to(),
                learners: self.raft.learners_led(),
            },
            stopped: self.stopped.is_some(),
        }
    }

    fn alarm(&self, who: Audience) -> Option<Time> {
        match who {
            Audience::Election => self.raft.next_look(),
            Audience::Leader => self.upkeep_due(),
            // Disk and apply thread wait for no time; each caller has a time of its own, which nothing brings closer.
            Audience::Disk | Audience::Apply | Audience::Callers => None,
        }
    }

    fn concerns(who: Audience, before: &Digest, now: &Digest) -> bool {
        let news = match who {
            Audience::Election => before.election != now.election,
            Audience::Leader => before.leads != now.leads,
            Audience::Disk => before.to_write != now.to_write,
            Audience::Apply => before.to_apply != now.to_apply,
            Audience::Callers => before.callers != now.callers,
        };
        news || before.stopped != now.stopped
    }

    fn check(&self, before: &Digest) -> Result<(), String> {
        if let Some(Stopped::Broken { .. }) = self.stopped {
            // It is known, and whoever comes now comes to hear it.
            return Ok(());
        }
        self.raft.check_transition(&before.before)?;
        if sync::CHECKED {
            self.raft.check_invariants()?;
            let pending = self.stopped.is_none() && self.storage.is_some();
            if pending && !self.raft.is_hard_state_durable() {
                return Err("term or vote are to be written, and nobody took the disk".into());
            }
            if pending && self.instant_disk && !self.raft.is_durable() {
                return Err("something is to be written, and nobody took the disk".into());
            }
            let idle = self.stopped.is_none() && self.applier.is_some();
            if idle && self.instant_state && self.has_entries() && !self.needs_apply_thread() {
                return Err("something is to be applied, and nobody took the state".into());
            }
        }
        Ok(())
    }

    fn give_up(&mut self, section: &'static str) {
        self.stop(Stopped::Broken { section });
    }
}

fn leadership(raft: &Raft) -> Leadership {
    Leadership {
        term: raft.term(),
        leader: raft.leader(),
    }
}

#[cfg(test)]
mod tests;
