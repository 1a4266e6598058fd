//! What a node's threads do. Each is a loop of the same shape: lock, wait for work, take it, leave, do it outside, lock, finish.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::callers::{Decided, Served, SnapshotTaken, Tell, Told};
use super::status::NoLeader;
use super::{
    Audience, Leadership, ProposeError, ReadError, Shared, Status, Stopped, Storage, TransferError,
    Transport, WaitError, Work,
};
use crate::lock::{Look, Monitor, Section};
use crate::rules::{Ballot, Change, ChangeRefused, Members, Payload};
use crate::{Message, NodeId, Outside, Term, ThreadActivity, Time};

/// The one value that a node's threads share, and their loops as its methods. [`Node::start`](crate::Node::start) only spawns them,
/// so a model that runs one of them, or any of them together, runs what ships.
pub struct Engine {
    id: NodeId,
    monitor: Monitor<Shared>,
    transport: Arc<dyn Transport>,
    /// The last change of the members of which the transport was told. Held while it is told: nobody else wants it.
    members_told: Mutex<u64>,
}

impl Engine {
    /// An engine that nobody runs yet.
    pub fn new(monitor: Monitor<Shared>, id: NodeId, transport: Arc<dyn Transport>) -> Engine {
        Engine {
            id,
            monitor,
            transport,
            members_told: Mutex::new(0),
        }
    }

    /// The **election thread**, as in the course's lecture 5: waits for the deadline, campaigns, and waits on the condvar until whoever
    /// received the votes has counted enough of them. Returns when the node stops.
    pub fn election_loop(&self, outside: &mut Outside) {
        let mut ballot = None;
        let why = loop {
            match self.election_turn(outside, ballot) {
                Ok(next) => ballot = next,
                Err(why) => break why,
            }
        };
        self.let_callers_go(outside, &why);
    }

    /// One turn of the election thread. Without a ballot it waits for the deadline and campaigns; with one it waits until there is
    /// something to do about that campaign. Returns the ballot of the campaign that goes on, if one does.
    ///
    /// # Errors
    /// If the node stopped.
    pub fn election_turn(
        &self,
        outside: &mut Outside,
        ballot: Option<Ballot>,
    ) -> Result<Option<Ballot>, Stopped> {
        let (ballot, work) = match ballot {
            None => self.monitor.enter(outside, "campaign", |section| {
                await_deadline(section)?;
                let now = section.now();
                let ballot = section.campaign(now);
                Ok((Some(ballot), section.take_work()))
            })?,
            Some(ballot) => self.monitor.enter(outside, "count the votes", |section| {
                await_decision(section, &ballot)?;
                let now = section.now();
                let next = section.count_votes(now, ballot);
                Ok((next, section.take_work()))
            })?,
        };
        self.carry_out(outside, work);
        Ok(ballot)
    }

    /// The **leader thread**, the course's periodic loop: sends heartbeats while this node leads, and looks after what waits for others
    /// while it does not. It never writes, so no disk can hold up a heartbeat. Returns when the node stops.
    pub fn leader_loop(&self, outside: &mut Outside) {
        self.run(outside, Engine::leader_turn);
    }

    /// One turn of the leader thread: waits until heartbeats are due, and sends them.
    ///
    /// # Errors
    /// If the node stopped.
    pub fn leader_turn(&self, outside: &mut Outside) -> Result<(), Stopped> {
        let work = self.monitor.enter(outside, "send heartbeats", |section| {
            section.wait_until(Audience::Leader, "the next heartbeat", |shared, now| {
                if let Some(why) = shared.stopped() {
                    return Look::Ready(Err(why.clone()));
                }
                match shared.upkeep_due() {
                    Some(due) if due <= now => Look::Ready(Ok(())),
                    due => Look::NotBefore(due),
                }
            })?;
            let now = section.now();
            section.upkeep(now);
            Ok(section.take_messages())
        })?;
        self.carry_out(outside, work);
        Ok(())
    }

    /// The **disk thread**: writes what is not yet durable, all there is at a time, so that those who come while it writes share the next
    /// sync. Returns when the node stops.
    pub fn disk_loop(&self, outside: &mut Outside) {
        self.run(outside, Engine::disk_turn);
    }

    /// One turn of the disk thread: waits until there is something to write, and writes until there is nothing.
    ///
    /// # Errors
    /// If the node stopped.
    pub fn disk_turn(&self, outside: &mut Outside) -> Result<(), Stopped> {
        let work = self
            .monitor
            .enter(outside, "take what to write", |section| {
                wait_for(
                    section,
                    Audience::Disk,
                    "something to write",
                    Shared::has_write,
                )?;
                let mut work = section.take_messages();
                work.write = section.take_write();
                Ok(work)
            })?;
        self.carry_out(outside, work);
        Ok(())
    }

    /// The **apply thread**: hands what is committed to the state machine, and takes snapshots of it. Returns when the node stops.
    pub fn apply_loop(&self, outside: &mut Outside) {
        self.run(outside, Engine::apply_turn);
    }

    /// One turn of the apply thread: waits until something is committed, and applies it.
    ///
    /// # Errors
    /// If the node stopped.
    pub fn apply_turn(&self, outside: &mut Outside) -> Result<(), Stopped> {
        let job = self
            .monitor
            .enter(outside, "take what to apply", |section| {
                wait_for(
                    section,
                    Audience::Apply,
                    "committed entries",
                    Shared::has_job,
                )?;
                Ok(section.take_job())
            })?;
        if let Some((mut applier, job)) = job {
            let guard = StopOnPanic::of(self, outside);
            let done = applier.run(outside, job);
            std::mem::forget(guard);
            let work = self.monitor.enter(outside, "finish applying", |section| {
                let now = section.now();
                section.finish_job(now, applier, done);
                section.take_work()
            });
            self.carry_out(outside, work);
        }
        Ok(())
    }

    /// Handles one message, in the thread that received it: one section for the whole handler, then what it gave to do.
    pub fn receive(&self, outside: &mut Outside, message: Message) {
        let work = self.monitor.enter(outside, "handle a message", |section| {
            let now = section.now();
            section.receive(now, message);
            section.take_work()
        });
        self.carry_out(outside, work);
    }

    /// Handles several that arrived together: one section, a sequence of whole handlers, with one write after it and one answer where one
    /// will do.
    pub fn receive_all(&self, outside: &mut Outside, messages: Vec<Message>) {
        let work = self.monitor.enter(outside, "handle a message", |section| {
            let now = section.now();
            messages
                .into_iter()
                .for_each(|message| section.receive(now, message));
            section.take_work()
        });
        self.carry_out(outside, work);
    }

    /// Proposes these; each is told what became of its own. Returns how many were proposed, and why not all: if one is refused, so are
    /// those that follow it, and nobody is told about them.
    pub fn propose(
        &self,
        outside: &mut Outside,
        proposals: impl IntoIterator<Item = (Payload, Tell<Decided>)>,
    ) -> (usize, Result<(), ProposeError>) {
        // What is refused is dropped without the lock.
        let mut proposals = proposals.into_iter();
        let (result, work) = self.monitor.enter(outside, "propose", |section| {
            let now = section.now();
            let result = section.propose(now, &mut proposals);
            (result, section.take_work())
        });
        self.carry_out(outside, work);
        result
    }

    /// Begins a linearizable read.
    ///
    /// # Errors
    /// If it can't begin; then nobody is told.
    pub fn read(&self, outside: &mut Outside, who: Tell<Served>) -> Result<(), ReadError> {
        let (result, work) = self.monitor.enter(outside, "read", |section| {
            let now = section.now();
            let result = section.read(now, who);
            (result, section.take_work())
        });
        self.carry_out(outside, work);
        result
    }

    /// Waits until the learner `id` has caught up, so that it may be promoted; not for ever, and not if it can't.
    ///
    /// # Errors
    /// If the node stopped.
    pub fn await_learner(&self, outside: &mut Outside, id: NodeId) -> Result<(), Stopped> {
        self.monitor
            .enter(outside, "look who has caught up", |section| {
                let by = section.now() + section.raft.settings().patience();
                section.wait_until(Audience::Callers, "a learner", |shared, now| {
                    if let Some(why) = shared.stopped() {
                        return Look::Ready(Err(why.clone()));
                    }
                    match shared.raft.learners_led().get(&id) {
                        Some(false) if now < by => Look::NotBefore(Some(by)),
                        _ => Look::Ready(Ok(())),
                    }
                })
            })
    }

    /// Begins a change of the members.
    ///
    /// # Errors
    /// If it can't begin; then nobody is told.
    pub fn change_members(
        &self,
        outside: &mut Outside,
        change: &Change,
        who: Tell<Decided>,
    ) -> Result<(), ChangeRefused> {
        let (result, work) = self
            .monitor
            .enter(outside, "change the members", |section| {
                let now = section.now();
                let result = section.change_members(now, change, who);
                (result, section.take_work())
            });
        self.carry_out(outside, work);
        result
    }

    /// Asks for a snapshot.
    ///
    /// # Errors
    /// If the node has stopped; then nobody is told.
    pub fn snapshot(&self, outside: &mut Outside, who: Tell<SnapshotTaken>) -> Result<(), Stopped> {
        let (result, work) = self
            .monitor
            .enter(outside, "ask for a snapshot", |section| {
                let result = section.want_snapshot(who);
                (result, section.take_work())
            });
        self.carry_out(outside, work);
        result
    }

    /// Hands the leadership over to `to`, and waits until that is done or given up.
    ///
    /// # Errors
    /// If it can't begin; if it was given up, and this node leads on; if another node than `to` leads now; if the node stopped.
    pub fn transfer(&self, outside: &mut Outside, to: NodeId) -> Result<Leadership, TransferError> {
        let term = self.begin_transfer(outside, to)?;
        self.monitor.enter(outside, "look who leads", |section| {
            let by = section.now() + section.raft.settings().patience();
            section.wait_until(Audience::Callers, "the transfer", |shared, now| {
                let seen = shared.leadership();
                if let Some(why) = shared.stopped() {
                    return Look::Ready(Err(why.clone().into()));
                }
                // Rule 5: the transfer belongs to the term in which it began.
                let going_on = seen.term == term && shared.raft.transferring_to() == Some(to);
                if going_on && now < by {
                    return Look::NotBefore(Some(by));
                }
                match seen.leader {
                    Some(leader) if leader == to => Look::Ready(Ok(seen)),
                    Some(_) => Look::Ready(Err(TransferError::Failed(seen))),
                    None if by <= now => Look::Ready(Err(TransferError::Failed(seen))),
                    None => Look::NotBefore(Some(by)),
                }
            })
        })
    }

    /// Begins to hand over the leadership, and returns the term in which it began. What becomes of it shows in who leads.
    ///
    /// # Errors
    /// If it can't begin, or the node stopped.
    pub fn begin_transfer(&self, outside: &mut Outside, to: NodeId) -> Result<Term, TransferError> {
        let (result, work) = self.monitor.enter(outside, "hand over", |section| {
            let now = section.now();
            let result = match section.stopped().cloned() {
                Some(why) => Err(why.into()),
                None => section.transfer(now, to).map_err(TransferError::from),
            };
            (result.map(|()| section.raft.term()), section.take_work())
        });
        self.carry_out(outside, work);
        result
    }

    /// Does, without the lock, what a section gave to do: tells the log, sends, answers callers, writes; and brings the disk back, which
    /// may give more to do. Applies what takes no time, or what the apply thread has taken.
    fn carry_out(&self, outside: &mut Outside, mut work: Work) {
        let guard = StopOnPanic::of(self, outside);
        loop {
            if let Some(news) = work.news {
                self.tell(outside, news);
            }
            if let Some(members) = &work.members {
                self.tell_members(outside, members);
            }
            if !work.messages.is_empty() {
                self.transport.send(outside, &work.messages);
            }
            Told::tell_all(work.told, outside);
            let job = work.job;
            work = match (work.write, job) {
                (None, None) => break,
                (Some((mut storage, write)), job) => {
                    let result = storage.write(outside, write.batch);
                    let work = self.monitor.enter(outside, "finish a write", |section| {
                        let now = section.now();
                        section.finish_write(now, storage, write.id, result);
                        section.take_work()
                    });
                    match job {
                        // The state is out, so that section has given no other.
                        Some(_) => Work { job, ..work },
                        None => work,
                    }
                }
                (None, Some((mut applier, job))) => {
                    let done = applier.run(outside, job);
                    self.monitor.enter(outside, "finish applying", |section| {
                        let now = section.now();
                        section.finish_job(now, applier, done);
                        section.take_work()
                    })
                }
            };
        }
        std::mem::forget(guard);
    }

    /// One turn after the other, until the node stops.
    fn run(&self, outside: &mut Outside, turn: fn(&Engine, &mut Outside) -> Result<(), Stopped>) {
        let why = loop {
            if let Err(why) = turn(self, outside) {
                break why;
            }
        };
        self.let_callers_go(outside, &why);
    }

    /// Whoever still waits is told that the node has stopped. Who stops a node does that; but a section that broke has nobody to do it, so
    /// every thread does when it ends.
    fn let_callers_go(&self, outside: &mut Outside, why: &Stopped) {
        if !matches!(why, Stopped::Broken { .. }) {
            return;
        }
        let work = self
            .monitor
            .enter(outside, "let callers go", |section| section.take_messages());
        self.carry_out(outside, work);
    }

    /// Tells the transport who the members are. Two threads may come with a change each, the later one first.
    fn tell_members(&self, outside: &Outside, (change, members): &(u64, Members)) {
        let told = self.members_told.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner);
        if *told < *change {
            *told = *change;
            self.transport.members_changed(outside, members);
        }
    }

    /// One line in the log. It asks for the permission, because whoever reads the log may make it wait.
    fn tell(&self, _: &Outside, (change, news): (u64, Leadership)) {
        let Leadership { term, leader } = news;
        let (node, term, leader) = (self.id.0, term.0, leader.map(|id| id.0));
        match leader {
            Some(leader) => tracing::info!(node, change, term, leader, "leader"),
            None => tracing::info!(node, change, term, "no leader"),
        }
    }

    /// One consistent look.
    pub fn status(&self, outside: &mut Outside) -> Status {
        self.monitor
            .enter(outside, "look at the status", |section| {
                let mut status = Status::of(&section.raft, section.now());
                if let Some(why) = section.stopped() {
                    status.leader = None;
                    status.no_leader = Some(NoLeader::Stopped {
                        why: why.to_string(),
                    });
                }
                status
            })
    }

    /// Waits until `found` finds what it looks for in the leadership.
    ///
    /// # Errors
    /// If the node stopped, or `timeout` passed before.
    pub fn await_leadership(
        &self,
        outside: &mut Outside,
        timeout: Option<Duration>,
        found: impl Fn(Leadership) -> bool,
    ) -> Result<Leadership, WaitError> {
        self.monitor.enter(outside, "look who leads", |section| {
            let by = timeout.map(|timeout| section.now() + timeout);
            section.wait_until(
                Audience::Callers,
                "a change of leadership",
                |shared, now| {
                    let leadership = shared.leadership();
                    if let Some(why) = shared.stopped() {
                        Look::Ready(Err(why.clone().into()))
                    } else if found(leadership) {
                        Look::Ready(Ok(leadership))
                    } else if by.is_some_and(|by| by <= now) {
                        Look::Ready(Err(WaitError::TimedOut))
                    } else {
                        Look::NotBefore(by)
                    }
                },
            )
        })
    }

    /// Stops the node: every loop returns, every wait ends, every message is ignored. Returns why it had stopped before, if it had.
    pub fn stop(&self, outside: &mut Outside, why: Stopped) -> Option<Stopped> {
        let (before, work) = self.monitor.enter(outside, "stop", |section| {
            let before = section.stopped().cloned();
            section.stop(why);
            (before, section.take_messages())
        });
        Told::tell_all(work.told, outside);
        before
    }

    /// Takes the disk from a node that has stopped, so that it is closed without the lock.
    pub(super) fn take_storage(&self, outside: &mut Outside) -> Option<Box<dyn Storage>> {
        self.monitor
            .enter(outside, "give the disk back", |section| {
                section.take_storage()
            })
    }

    /// The longest command that can be proposed here, in bytes.
    pub(super) fn max_command(&self, outside: &mut Outside) -> usize {
        self.monitor
            .enter(outside, "look at the settings", |section| {
                section.raft.settings().max_command()
            })
    }

    /// The monitor, for models.
    pub fn monitor(&self) -> &Monitor<Shared> {
        &self.monitor
    }

    /// The transport.
    pub(super) fn transport(&self) -> &dyn Transport {
        &*self.transport
    }

    /// What each thread is doing.
    pub fn threads(&self) -> Vec<ThreadActivity> {
        self.monitor.threads()
    }
}

/// Stops the node if storage, transport or state machine panic: the thread is lost, and perhaps the disk with it, and a node that goes
/// on without them would look alive.
struct StopOnPanic<'a> {
    engine: &'a Engine,
    thread: &'static str,
}

impl StopOnPanic<'_> {
    fn of<'a>(engine: &'a Engine, outside: &Outside) -> StopOnPanic<'a> {
        let thread = outside.thread();
        StopOnPanic { engine, thread }
    }
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        // The one that unwinds is lent to whoever panicked; no lock is held here.
        let mut outside = Outside::caller();
        let thread = self.thread;
        self.engine.stop(&mut outside, Stopped::Panicked { thread });
    }
}

/// Waits, as one of `who`, until there is something to do or the node stops.
fn wait_for(
    section: &mut Section<'_, Shared>,
    who: Audience,
    what: &'static str,
    ready: fn(&Shared) -> bool,
) -> Result<(), Stopped> {
    section.wait_until(who, what, |shared, _| match shared.stopped() {
        Some(why) => Look::Ready(Err(why.clone())),
        None if ready(shared) => Look::Ready(Ok(())),
        None => Look::NotBefore(None),
    })
}

/// Waits until this node must campaign.
fn await_deadline(section: &mut Section<'_, Shared>) -> Result<(), Stopped> {
    section.wait_until(
        Audience::Election,
        "the election deadline",
        |shared, now| {
            if let Some(why) = shared.stopped() {
                return Look::Ready(Err(why.clone()));
            }
            match shared.raft.election_deadline() {
                Some(deadline) if deadline <= now => Look::Ready(Ok(())),
                deadline => Look::NotBefore(deadline),
            }
        },
    )
}

/// Waits until there is something to do about this campaign.
fn await_decision(section: &mut Section<'_, Shared>, ballot: &Ballot) -> Result<(), Stopped> {
    section.wait_until(Audience::Election, "votes", |shared, now: Time| {
        if let Some(why) = shared.stopped() {
            return Look::Ready(Err(why.clone()));
        }
        match shared.raft.verdict(ballot, now) {
            Some(_) => Look::Ready(Ok(())),
            None => Look::NotBefore(shared.raft.next_look()),
        }
    })
}
