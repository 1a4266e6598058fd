//! One machine: a disk, a clock and, while it is up, a node: its [`Shared`] and what each of its threads is doing.
//!
//! The threads are those of [`Engine`](biglock::node::Engine), turn by turn: what its sections do is done here by the same methods in the
//! same order, what takes time without the lock takes virtual time, and who waits is woken as the monitor would wake it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use biglock::kv::KvStore;
use biglock::lock::Guarded;
use biglock::node::{Applier, Audience, Done, Job, Shared, Work};
use biglock::rules::{At, Ballot, Raft, Settings, Write};
use biglock::{Applied, Message, NodeId, RestoreError, StateMachine, Stopped, Storage, Time};
use bytes::Bytes;
use fastrand::Rng;

use super::clock::Drifting;
use super::disk::Disk;
use super::laws::Seen;
use super::{Context, Event, between};
use crate::spec::{Cluster, Watched, is_on_disk};

/// A machine of the cluster.
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) settings: Settings,
    pub(super) disk: Disk,
    clock: Drifting,
    /// How often it was started: events of an earlier life reach nobody.
    pub(super) boot: u64,
    pub(super) life: Option<Life>,
    /// How long the state machine takes for a job; nothing if it takes no time.
    pub(super) apply_time: Option<Range<Duration>>,
}

/// A node that runs.
pub(super) struct Life {
    pub(super) shared: Shared,
    /// What its apply thread applies to.
    pub(super) store: KvStore,
    seen: Seen,
    watched: Watched,
    /// The campaign of the election thread.
    ballot: Option<Ballot>,
    /// What waits for the receiving thread while that waits for the disk.
    inbox: VecDeque<Message>,
    writing: Option<Writing>,
    job: Option<(Applier, Job)>,
    /// Who was woken and has not looked yet.
    woken: Woken,
    /// The earliest moment of the world for which a [`Event::Wake`] is on its way.
    armed: Time,
}

/// A write that is under way.
struct Writing {
    /// Which thread waits for it,
    thread: Thread,
    storage: Box<dyn Storage>,
    write: Write,
    /// and what that thread will do afterwards.
    job: Option<(Applier, Job)>,
}

/// Who waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Election,
    Receiver,
    Disk,
    Apply,
    /// A user's: there are many, so none waits for another.
    Caller,
}

#[derive(Clone, Copy, Default)]
struct Woken {
    election: bool,
    leader: bool,
    disk: bool,
    apply: bool,
}

/// How long a thread that could run may have to wait.
const LAG: Range<Duration> = Duration::ZERO..Duration::from_millis(2);

/// The most messages that wait for the receiving thread: a socket's buffer.
const INBOX: usize = 1024;

impl Machine {
    pub(super) fn new(id: NodeId, settings: Settings, disk: Disk) -> Machine {
        Machine {
            id,
            settings,
            disk,
            clock: Drifting::new(Time::ZERO, Duration::ZERO, 0),
            boot: 0,
            life: None,
            apply_time: None,
        }
    }

    /// The machine starts, and its node with it.
    pub(super) fn start(&mut self, context: &mut Context, drift: i64) {
        assert!(self.life.is_none(), "{} runs already", self.id);
        self.boot += 1;
        let offset = Duration::from_millis(context.random.u64(..1_000_000));
        self.clock = Drifting::new(context.now, offset, drift);
        let stored = self.disk.clone().load(&context.outside);
        let at = At {
            now: self.clock.at(context.now),
            random: context.random.u64(..),
        };
        let raft = Raft::new(at, self.settings.clone(), stored.expect("it can be read"));
        let store = KvStore::new();
        let machine = Box::new(Paced {
            store: store.clone(),
            instant: self.apply_time.is_none(),
        });
        let disk = Box::new(self.disk.clone());
        let seed = context.random.u64(..);
        let shared = Shared::new(raft, disk, machine, seed);
        let mut seen = Seen::default();
        context.laws.after_section(&mut seen, &shared.raft);
        let mut watched = Watched::default();
        refine(&mut context.spec, &mut watched, &shared, &self.disk);
        self.life = Some(Life {
            shared,
            store,
            seen,
            watched,
            ballot: None,
            inbox: VecDeque::new(),
            writing: None,
            job: None,
            // Every thread looks once before it waits.
            woken: Woken {
                election: true,
                leader: true,
                disk: true,
                apply: true,
            },
            armed: Time::NEVER,
        });
        self.settle(context);
    }

    /// The machine loses its power. What was on its way to the disk is there, whole, or not: nobody was told.
    pub(super) fn crash(&mut self, random: &mut Rng) {
        if let Some(life) = self.life.take()
            && let Some(writing) = life.writing
            && random.bool()
        {
            self.disk.land(writing.write.batch);
        }
    }

    /// The node is shut down, and its callers are told.
    pub(super) fn shut_down(&mut self, context: &mut Context) {
        if self.life.is_none() {
            return;
        }
        let work = self.section(context, |shared, _| {
            shared.stop(Stopped::Shutdown);
            shared.take_messages()
        });
        self.carry_out(context, Thread::Caller, work);
        let waiting = self.life.as_ref().map_or(0, |l| l.shared.waiting_callers());
        assert_eq!(waiting, 0, "{} is shut down, and callers wait", self.id);
        // A write that is under way ends before the storage is closed.
        if let Some(life) = self.life.take()
            && let Some(mut writing) = life.writing
        {
            let batch = writing.write.batch;
            let _ = writing.storage.write(&context.outside, batch);
        }
    }

    /// A user calls one of the sections that end with `take_work`.
    pub(super) fn call<T>(
        &mut self,
        context: &mut Context,
        body: impl FnOnce(&mut Shared, Time) -> T,
    ) -> Option<T> {
        self.life.as_ref()?;
        let (result, work) = self.section(context, |shared, now| {
            let result = body(shared, now);
            (result, shared.take_work())
        });
        self.carry_out(context, Thread::Caller, work);
        self.settle(context);
        Some(result)
    }

    /// A message arrives.
    pub(super) fn receive(&mut self, context: &mut Context, message: Message) {
        let Some(life) = &mut self.life else {
            return;
        };
        if life.inbox.len() < INBOX {
            life.inbox.push_back(message);
        }
        self.read_inbox(context);
        self.settle(context);
    }

    /// The receiving thread handles what has arrived, until it must wait for the disk.
    fn read_inbox(&mut self, context: &mut Context) {
        while !self.waits_for_disk(Thread::Receiver)
            && let Some(message) = self.life.as_mut().and_then(|l| l.inbox.pop_front())
        {
            let work = self.section(context, |shared, now| {
                shared.receive(now, message);
                shared.take_work()
            });
            self.carry_out(context, Thread::Receiver, work);
        }
    }

    /// Its time has come, perhaps.
    pub(super) fn wake(&mut self, context: &mut Context) {
        if let Some(life) = &mut self.life
            && life.armed <= context.now
        {
            life.armed = Time::NEVER;
            self.settle(context);
        }
    }

    /// The write has ended, unless the disk is stalled.
    pub(super) fn written(&mut self, context: &mut Context) {
        let stalled = self.disk.habits().stalled_until;
        if context.now < stalled {
            return context.at(stalled, Event::Written(self.id, self.boot));
        }
        let Some(life) = &mut self.life else {
            return;
        };
        let Some(writing) = life.writing.take() else {
            return;
        };
        let thread = writing.thread;
        let work = self.finish_write(context, writing);
        self.carry_out(context, thread, work);
        self.read_inbox(context);
        // Each of these loops, and looks again before it waits.
        if let Some(life) = &mut self.life {
            life.woken.election |= thread == Thread::Election;
            life.woken.disk |= thread == Thread::Disk;
            life.woken.apply |= thread == Thread::Apply;
        }
        self.settle(context);
    }

    fn finish_write(&mut self, context: &mut Context, writing: Writing) -> Work {
        let Writing {
            mut storage,
            write,
            job,
            ..
        } = writing;
        let result = storage.write(&context.outside, write.batch);
        let work = self.section(context, |shared, now| {
            shared.finish_write(now, storage, write.id, result);
            shared.take_work()
        });
        match job {
            // The state is out, so that section has given no other.
            Some(_) => Work { job, ..work },
            None => work,
        }
    }

    /// The state machine has done its job.
    pub(super) fn applied(&mut self, context: &mut Context) {
        let Some(life) = &mut self.life else {
            return;
        };
        let Some((applier, job)) = life.job.take() else {
            return;
        };
        let work = self.finish_job(context, applier, job);
        self.carry_out(context, Thread::Apply, work);
        if let Some(life) = &mut self.life {
            life.woken.apply = true;
        }
        self.settle(context);
    }

    fn finish_job(&mut self, context: &mut Context, mut applier: Applier, job: Job) -> Work {
        let done = applier.run(&context.outside, job);
        match &done {
            Done::Applied { first, replies } => context.laws.applied(self.id, *first, replies),
            Done::Taken(snapshot) => context.laws.snapshot(self.id, snapshot),
            _ => {}
        }
        self.section(context, |shared, now| {
            shared.finish_job(now, applier, done);
            shared.take_work()
        })
    }

    /// One critical section, with what the monitor does around it.
    fn section<T>(
        &mut self,
        context: &mut Context,
        body: impl FnOnce(&mut Shared, Time) -> T,
    ) -> T {
        let life = self.life.as_mut().expect("a node that runs");
        let before = life.shared.digest();
        let result = body(&mut life.shared, self.clock.at(context.now));
        // Those that a release build leaves out, too.
        let checked = life.shared.check(&before);
        if let Err(why) = checked.and_then(|()| life.shared.raft.check_invariants()) {
            panic!("{}: {why}", self.id);
        }
        let after = life.shared.digest();
        let woken = |who| Shared::concerns(who, &before, &after);
        life.woken.election |= woken(Audience::Election);
        life.woken.leader |= woken(Audience::Leader);
        life.woken.disk |= woken(Audience::Disk);
        life.woken.apply |= woken(Audience::Apply);
        context
            .laws
            .after_section(&mut life.seen, &life.shared.raft);
        refine(
            &mut context.spec,
            &mut life.watched,
            &life.shared,
            &self.disk,
        );
        result
    }

    /// What a thread does after a section, as [`Engine`](biglock::node::Engine) does it: sends, tells, and writes.
    fn carry_out(&mut self, context: &mut Context, thread: Thread, mut work: Work) {
        loop {
            if let Some(life) = &self.life {
                for message in work.messages {
                    context.send(&life.shared.raft, message);
                }
            }
            for told in work.told {
                told.tell(&context.outside);
            }
            let job = work.job;
            work = match (work.write, job) {
                (None, None) => return,
                (Some((storage, write)), job) => {
                    let writing = Writing {
                        thread,
                        storage,
                        write,
                        job,
                    };
                    let habits = self.disk.habits();
                    if !habits.instant {
                        let ends = context.now + between(&mut context.random, &habits.latency);
                        context.at(ends, Event::Written(self.id, self.boot));
                        self.life.as_mut().expect("a node that runs").writing = Some(writing);
                        return;
                    }
                    self.finish_write(context, writing)
                }
                (None, Some((applier, job))) => {
                    let life = self.life.as_mut().expect("a node that runs");
                    context.laws.applies(self.id, &mut life.seen, &job);
                    self.finish_job(context, applier, job)
                }
            };
        }
    }

    /// What takes time even for a state machine that applies in none: snapshots.
    fn apply_time(&self) -> Range<Duration> {
        let short = Duration::from_micros(10)..Duration::from_micros(200);
        self.apply_time.clone().unwrap_or(short)
    }

    fn waits_for_disk(&self, thread: Thread) -> bool {
        let writing = self.life.as_ref().and_then(|life| life.writing.as_ref());
        writing.is_some_and(|writing| writing.thread == thread)
    }

    /// Lets every thread that was woken, or whose time has come, have its turns, until all of them wait; then sets the alarm.
    fn settle(&mut self, context: &mut Context) {
        // Now and then the system lets the threads wait for a processor, and other things happen before they look.
        if context.random.u8(..16) == 0 {
            let later = context.now + between(&mut context.random, &LAG);
            return self.arm_for(context, later);
        }
        let now = self.clock.at(context.now);
        loop {
            let Some(life) = &self.life else {
                return;
            };
            let due = |who| life.shared.alarm(who).is_some_and(|at: Time| at <= now);
            let (election_due, leader_due) = (due(Audience::Election), due(Audience::Leader));
            let Woken {
                election,
                leader,
                disk,
                apply,
            } = life.woken;
            let turned = (election || election_due) && self.election_turn(context)
                || (leader || leader_due) && self.leader_turn(context)
                || disk && self.disk_turn(context)
                || apply && self.apply_turn(context);
            if !turned {
                break;
            }
        }
        self.no_wake_up_was_lost(now);
        self.arm(context);
    }

    /// The election thread has a turn: see `Engine::election_turn`.
    fn election_turn(&mut self, context: &mut Context) -> bool {
        if self.waits_for_disk(Thread::Election) {
            return false;
        }
        let now = self.clock.at(context.now);
        let life = self.life.as_mut().expect("a node that runs");
        life.woken.election = false;
        if !life.has_an_election_turn(now) {
            return false;
        }
        let ballot = life.ballot.take();
        let (ballot, work) = self.section(context, |shared, now| {
            let ballot = match ballot {
                None => Some(shared.campaign(now)),
                Some(ballot) => shared.count_votes(now, ballot),
            };
            (ballot, shared.take_work())
        });
        let life = self.life.as_mut().expect("a node that runs");
        life.ballot = ballot;
        life.woken.election = true;
        self.carry_out(context, Thread::Election, work);
        true
    }

    /// The leader thread has a turn: see `Engine::leader_turn`.
    fn leader_turn(&mut self, context: &mut Context) -> bool {
        let now = self.clock.at(context.now);
        let life = self.life.as_mut().expect("a node that runs");
        life.woken.leader = false;
        let due = life.shared.upkeep_due();
        if life.shared.stopped().is_some() || due.is_none_or(|due| now < due) {
            return false;
        }
        let work = self.section(context, |shared, now| {
            shared.upkeep(now);
            shared.take_messages()
        });
        let life = self.life.as_mut().expect("a node that runs");
        let due = life.shared.upkeep_due();
        assert!(
            due.is_none_or(|due| now < due),
            "{}: what was due is due again at once",
            self.id
        );
        self.carry_out(context, Thread::Caller, work);
        true
    }

    /// The disk thread has a turn: see `Engine::disk_turn`.
    fn disk_turn(&mut self, context: &mut Context) -> bool {
        if self.waits_for_disk(Thread::Disk) {
            return false;
        }
        let life = self.life.as_mut().expect("a node that runs");
        life.woken.disk = false;
        if !life.shared.has_write() {
            return false;
        }
        let work = self.section(context, |shared, _| {
            let mut work = shared.take_messages();
            work.write = shared.take_write();
            work
        });
        self.carry_out(context, Thread::Disk, work);
        true
    }

    /// The apply thread takes a job: see `Engine::apply_turn`.
    fn apply_turn(&mut self, context: &mut Context) -> bool {
        let busy = self.waits_for_disk(Thread::Apply);
        let life = self.life.as_mut().expect("a node that runs");
        if busy || life.job.is_some() {
            return false;
        }
        life.woken.apply = false;
        if !life.shared.has_job() {
            return false;
        }
        let job = self.section(context, |shared, _| shared.take_job());
        let time = self.apply_time();
        let life = self.life.as_mut().expect("a node that runs");
        if let Some((_, job)) = &job {
            context.laws.applies(self.id, &mut life.seen, job);
            let ends = context.now + between(&mut context.random, &time);
            context.at(ends, Event::Applied(self.id, self.boot));
        } else {
            // The loop looks again at once.
            life.woken.apply = true;
        }
        life.job = job;
        true
    }

    /// Whoever waits and has something to do was woken: else it would sleep on.
    fn no_wake_up_was_lost(&self, now: Time) {
        let Some(life) = &self.life else {
            return;
        };
        if life.shared.stopped().is_some() {
            return;
        }
        let idle = |thread| !self.waits_for_disk(thread);
        let lost = if idle(Thread::Election) && life.has_an_election_turn(now) {
            "election"
        } else if life.shared.upkeep_due().is_some_and(|due| due <= now) {
            "leader"
        } else if idle(Thread::Disk) && life.shared.has_write() {
            "disk"
        } else if idle(Thread::Apply) && life.job.is_none() && life.shared.has_job() {
            "apply"
        } else {
            return;
        };
        panic!(
            "{}: the {lost} thread has something to do, and sleeps",
            self.id
        );
    }

    /// Sees to it that the next alarm rings.
    fn arm(&mut self, context: &mut Context) {
        let election = !self.waits_for_disk(Thread::Election);
        let Some(life) = &mut self.life else {
            return;
        };
        if life.shared.stopped().is_some() {
            return;
        }
        let election = life.shared.alarm(Audience::Election).filter(|_| election);
        let leader = life.shared.alarm(Audience::Leader);
        let Some(next) = election.into_iter().chain(leader).min() else {
            return;
        };
        let next = self.clock.when(next).max(context.now);
        self.arm_for(context, next);
    }

    fn arm_for(&mut self, context: &mut Context, next: Time) {
        if let Some(life) = &mut self.life
            && next < life.armed
        {
            life.armed = next;
            context.at(next, Event::Wake(self.id, self.boot));
        }
    }

    /// What the node's clock shows.
    pub(super) fn clock(&self, now: Time) -> Time {
        self.clock.at(now)
    }
}

impl Life {
    /// Whether the election thread has something to do: the predicates of `Engine::election_turn`.
    fn has_an_election_turn(&self, now: Time) -> bool {
        let raft = &self.shared.raft;
        self.shared.stopped().is_none()
            && match &self.ballot {
                None => raft.election_deadline().is_some_and(|at| at <= now),
                Some(ballot) => raft.verdict(ballot, now).is_some(),
            }
    }

    /// Whether it waits: for whom it is doing what.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether a campaign is under way.
    pub(super) fn is_campaigning(&self) -> bool {
        self.ballot.is_some()
    }

    /// Whether its state machine works.
    pub(super) fn is_applying(&self) -> bool {
        self.job.is_some()
    }
}

/// Every step of a node is one that the specification allows.
fn refine(spec: &mut Cluster, watched: &mut Watched, shared: &Shared, disk: &Disk) {
    let stopped = shared.stopped().is_some();
    let step = watched.step(spec, &shared.raft, stopped);
    let result = step.and_then(|_| disk.look(|stored| is_on_disk(&shared.raft, stored)));
    if let Err(refused) = result {
        panic!("{refused}");
    }
}

/// The store, as a state machine that takes time or none.
struct Paced {
    store: KvStore,
    instant: bool,
}

impl StateMachine for Paced {
    fn apply(&mut self, at: Applied, command: &[u8]) -> Bytes {
        self.store.apply(at, command)
    }

    fn is_instant(&self) -> bool {
        self.instant
    }

    fn snapshot(&mut self) -> Bytes {
        self.store.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.store.restore(snapshot)
    }
}
