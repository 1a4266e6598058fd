//! What a node's threads do. Each is a loop of the same shape: lock, wait for work, take it, leave, do it outside.

use std::sync::Arc;
use std::time::Duration;

use super::status::NoLeader;
use super::{Audience, Leadership, Shared, Status, Stopped, Storage, Transport, WaitError, Work};
use crate::lock::{Look, Monitor, Section};
use crate::rules::{At, Ballot};
use crate::{Batch, Message, NodeId, Outside, ThreadActivity};

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
        while let Ok(next) = self.election_turn(outside, ballot) {
            ballot = next;
        }
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
                let at = section.at_now();
                let ballot = section.raft.campaign(at);
                Ok((Some(ballot), section.take_work()))
            })?,
            Some(ballot) => self.monitor.enter(outside, "count the votes", |section| {
                await_decision(section, &ballot)?;
                // Rule 5: the lock was free, so nothing is assumed; spending the ballot checks everything again.
                let at = section.at_now();
                let next = section.raft.count_votes(at, ballot);
                Ok((next, section.take_work()))
            })?,
        };
        self.carry_out(outside, work);
        Ok(ballot)
    }

    /// The **leader thread**, the course's periodic loop: sends heartbeats while this node leads, and waits while it does not. It never
    /// writes, so no disk can hold up a heartbeat. Returns when the node stops.
    pub fn leader_loop(&self, outside: &mut Outside) {
        while self.leader_turn(outside).is_ok() {}
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
                match shared.raft.heartbeat_due() {
                    Some(due) if due <= now => Look::Ready(Ok(())),
                    due => Look::NotBefore(due),
                }
            })?;
            let at = section.at_now();
            section.raft.heartbeat(at);
            Ok(section.take_messages())
        })?;
        self.carry_out(outside, work);
        Ok(())
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
        let guard = StopOnPanic {
            engine: self,
            thread: outside.thread(),
        };
        loop {
            if let Some(news) = work.news {
                self.tell(outside, news);
            }
            if !work.messages.is_empty() {
                self.transport.send(outside, &work.messages);
            }
            let Some((mut storage, write)) = work.write else {
                break;
            };
            let result = storage.write(outside, &Batch::new(write.hard_state));
            work = self.monitor.enter(outside, "finish a write", |section| {
                section.finish_write(storage, write.id, result);
                section.take_work()
            });
        }
        std::mem::forget(guard);
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
        self.monitor.enter(outside, "stop", |section| {
            let before = section.stopped().cloned();
            section.stop(why);
            before
        })
    }

    /// Takes the disk from a node that has stopped, so that it is closed without the lock.
    pub(super) fn take_storage(&self, outside: &mut Outside) -> Option<Box<dyn Storage>> {
        self.monitor
            .enter(outside, "give the disk back", |section| {
                section.take_storage()
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

/// Stops the node if storage or transport panic: the thread is lost, and perhaps the disk with it, and a node that goes on without
/// them would look alive.
struct StopOnPanic<'a> {
    engine: &'a Engine,
    thread: &'static str,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        // The one that unwinds is lent to whoever panicked; no lock is held here.
        let mut outside = Outside::caller();
        let thread = self.thread;
        self.engine.stop(&mut outside, Stopped::Panicked { thread });
    }
}

impl Section<'_, Shared> {
    fn at_now(&mut self) -> At {
        let now = self.now();
        self.at(now)
    }
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
    section.wait_until(Audience::Election, "votes", |shared, now| {
        if let Some(why) = shared.stopped() {
            return Look::Ready(Err(why.clone()));
        }
        match shared.raft.verdict(ballot, now) {
            Some(_) => Look::Ready(Ok(())),
            None => Look::NotBefore(shared.raft.next_look()),
        }
    })
}
