//! What a node's threads do. Each is a loop of the same shape: lock, wait for work, take it, leave, do it outside.

use std::sync::Arc;
use std::time::Duration;

use super::{Leadership, Shared, Status, Stopped, Transport, WaitError, Work};
use super::status::NoLeader;
use crate::lock::{Look, Monitor, Section};
use crate::{Batch, Message, NodeId, Outside, ThreadActivity, Time};

/// The one value that a node's threads share, and their loops as its methods. [`Node::start`](crate::Node::start) only spawns them,
/// so a model that runs one of them, or any of them together, runs what ships.
pub struct Engine {
    id: NodeId,
    monitor: Monitor<Shared>,
    transport: Arc<dyn Transport>,
}

impl Engine {
    /// An engine that nobody runs yet.
    pub fn new(monitor: Monitor<Shared>, id: NodeId, transport: Arc<dyn Transport>) -> Engine {
        Engine {
            id,
            monitor,
            transport,
        }
    }

    /// The **election thread**, as in the course's lecture 5: waits for the deadline, campaigns, and waits on the condvar until whoever
    /// received the votes has counted enough of them. Returns when the node stops.
    pub fn election_loop(&self, outside: &mut Outside) {
        let mut ballot = None;
        loop {
            let carried = ballot.take();
            let step = self.monitor.enter(outside, "run the election", |section| {
                match carried {
                    None => await_deadline(section)?,
                    Some(ref ballot) => await_decision(section, ballot)?,
                }
                let at = section.at_now();
                // Rule 5: the wait is over, and everything is checked again from the ballot on.
                let ballot = match carried {
                    None => Some(section.raft.campaign(at)),
                    Some(ballot) => section.raft.count_votes(at, ballot),
                };
                Some((ballot, section.take_work()))
            });
            let Some((next, work)) = step else { return };
            ballot = next;
            self.carry_out(outside, work);
        }
    }

    /// The **leader thread**, the course's periodic loop: sends heartbeats while this node leads, and waits while it does not. It never
    /// writes, so no disk can hold up a heartbeat. Returns when the node stops.
    pub fn leader_loop(&self, outside: &mut Outside) {
        loop {
            let work = self.monitor.enter(outside, "send heartbeats", |section| {
                section.wait_until("the next heartbeat", |shared, now| {
                    if shared.stopped().is_some() {
                        return Look::Ready(None);
                    }
                    match shared.raft.heartbeat_due() {
                        Some(due) if due <= now => Look::Ready(Some(())),
                        due => Look::NotBefore(due),
                    }
                })?;
                let at = section.at_now();
                section.raft.heartbeat(at);
                Some(section.take_messages())
            });
            let Some(work) = work else { return };
            self.carry_out(outside, work);
        }
    }

    /// Handles one message, in the thread that received it: one section for the whole handler, then what it gave to do.
    pub fn receive(&self, outside: &mut Outside, message: Message) {
        let work = self.monitor.enter(outside, "handle a message", |section| {
            if section.stopped().is_some() {
                return Work::default();
            }
            let at = section.at_now();
            section.raft.receive(at, message);
            section.take_work()
        });
        self.carry_out(outside, work);
    }

    /// Does, without the lock, what a section gave to do: tells the log, sends, writes; and brings the disk back, which may give more
    /// to do.
    fn carry_out(&self, outside: &mut Outside, mut work: Work) {
        loop {
            if let Some(news) = work.news {
                self.tell(outside, news);
            }
            if !work.messages.is_empty() {
                self.transport.send(outside, &work.messages);
            }
            let Some((mut storage, write)) = work.write else {
                return;
            };
            let result = storage.write(outside, &Batch::new(write.hard_state));
            work = self.monitor.enter(outside, "finish a write", |section| {
                section.finish_write(storage, write.id, result);
                section.take_work()
            });
        }
    }

    /// One line in the log. It asks for the permission, because whoever reads the log may make it wait.
    fn tell(&self, _: &Outside, news: Leadership) {
        let Leadership { term, leader } = news;
        match leader {
            Some(leader) => {
                tracing::info!(node = self.id.0, term = term.0, leader = leader.0, "leader");
            }
            None => tracing::info!(node = self.id.0, term = term.0, "no leader"),
        }
    }

    /// One consistent look.
    pub fn status(&self, outside: &mut Outside) -> Status {
        self.monitor.enter(outside, "look at the status", |section| {
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
            section.wait_until("a change of leadership", |shared, now| {
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
            })
        })
    }

    /// Stops the node: every loop returns, every wait ends, every message is ignored. Returns why it had stopped before, if it had.
    pub fn stop(&self, outside: &mut Outside, why: Stopped) -> Option<Stopped> {
        self.monitor.enter(outside, "stop", |section| {
            let before = section.stopped().cloned();
            section.stop(why);
            before
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

impl Section<'_, Shared> {
    fn at_now(&mut self) -> crate::rules::At {
        let now = self.now();
        self.at(now)
    }
}

/// Waits until this node must campaign; nothing if it stops.
fn await_deadline(section: &mut Section<'_, Shared>) -> Option<()> {
    section.wait_until("the election deadline", |shared, now| {
        if shared.stopped().is_some() {
            return Look::Ready(None);
        }
        match shared.raft.election_deadline() {
            Some(deadline) if deadline <= now => Look::Ready(Some(())),
            deadline => sleep_until(shared, deadline),
        }
    })
}

/// Waits until there is something to do about the campaign; nothing if the node stops.
fn await_decision(
    section: &mut Section<'_, Shared>,
    ballot: &crate::rules::Ballot,
) -> Option<()> {
    section.wait_until("votes", |shared, now| {
        if shared.stopped().is_some() {
            return Look::Ready(None);
        }
        match shared.raft.verdict(ballot, now) {
            Some(_) => Look::Ready(Some(())),
            None => {
                let by = shared.raft.look_again();
                sleep_until(shared, Some(by))
            }
        }
    })
}

/// Sets the alarm, so that a deadline which comes closer than that is heard.
fn sleep_until<R>(shared: &mut Shared, by: Option<Time>) -> Look<R> {
    shared.alarm = by.unwrap_or(Time::NEVER);
    Look::NotBefore(by)
}
