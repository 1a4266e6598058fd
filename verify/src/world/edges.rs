//! What a node in a model touches: its disk, its wire, its state machine, and whoever watches its lock.

use std::sync::Arc;

use biglock::lock::{Observer, Outside, Step};
use biglock::node::Shared;
use biglock::{
    Applied, Batch, Inbox, Message, NodeId, RestoreError, StateMachine, Storage, StorageError,
    Stored, Transport, TransportError,
};
use bytes::Bytes;

use super::{Wire, World};
use crate::checker;
use crate::record::{Event, View};

/// Watches the sections of one node.
pub(super) struct Watch {
    pub(super) node: NodeId,
    pub(super) boot: u64,
    pub(super) world: World,
}

impl Observer<Shared> for Watch {
    fn observe(
        &self,
        thread: &'static str,
        section: &'static str,
        step: Step,
        state: Option<&Shared>,
    ) {
        let run = &self.world.run;
        if run.is_gate(thread) {
            return;
        }
        let view = state.map(View::of);
        match step {
            Step::Wants => run.arrived(),
            // What happened while the stage was set is no merit of the model.
            Step::Waits(what) if run.gate_is_open() => run.reached(what),
            _ => {}
        }
        run.record(Event::Section {
            node: self.node,
            thread,
            section,
            step,
            view,
        });
        let mut ledger = self.world.ledger();
        ledger.check_closed(self.node, thread);
        if let Some(state) = state
            && ledger.alive(self.node, self.boot)
        {
            ledger.observe(run, self.node, state);
        }
    }
}

/// A disk whose writes the checker sees as one step each, and which a crash cuts off.
pub(super) struct ModelDisk {
    pub(super) node: NodeId,
    pub(super) boot: u64,
    pub(super) failing: bool,
    pub(super) instant: bool,
    pub(super) world: World,
    pub(super) machine: Machine,
}

impl Storage for ModelDisk {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        Ok(self.world.ledger().disks[&self.node].clone())
    }

    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError> {
        let _machine = self.machine.lock();
        let mut ledger = self.world.ledger();
        if !ledger.alive(self.node, self.boot) {
            return Err(StorageError::new("the machine has crashed"));
        }
        let node = self.node;
        if self.failing {
            assert!(
                ledger.failed.insert(node),
                "{node} tries its failed disk again"
            );
            return Err(StorageError::new("the disk is broken"));
        }
        *ledger.writes.entry(node).or_default() += 1;
        self.world.run.record(Event::Wrote {
            node,
            thread: outside.thread(),
            hard_state: batch.hard_state,
            log: batch.log.as_ref().map(|log| (log.first, log.entries.len())),
        });
        let disk = ledger.disks.entry(node).or_default();
        let (old, new) = (disk.hard_state, batch.hard_state);
        assert!(
            new.term > old.term || new == old || new.term == old.term && old.voted_for.is_none(),
            "the disk of {node} went back from {old:?} to {new:?}"
        );
        disk.apply(batch);
        Ok(())
    }

    fn is_instant(&self) -> bool {
        self.instant
    }
}

/// What a crash takes down at once: the disk's and the network's end of one machine. Visible to the checker in models that ask for it,
/// so that a crash can come between a write and a message.
#[derive(Clone)]
pub struct Machine(pub(crate) Option<Arc<checker::Mutex<()>>>);

impl Machine {
    pub(crate) fn lock(&self) -> Option<checker::MutexGuard<'_, ()>> {
        let machine = self.0.as_ref()?;
        Some(
            machine
                .lock()
                .expect("whoever panics ends the whole execution"),
        )
    }
}

pub(super) struct ModelWire {
    pub(super) node: NodeId,
    pub(super) boot: u64,
    pub(super) world: World,
    pub(super) kind: Wire,
    pub(super) machine: Machine,
}

impl Transport for ModelWire {
    fn start(&self, _: Inbox) -> Result<(), TransportError> {
        Ok(())
    }

    fn max_payload(&self) -> usize {
        super::MAX_PAYLOAD
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        for message in messages {
            {
                let _machine = self.machine.lock();
                let mut ledger = self.world.ledger();
                if !ledger.alive(self.node, self.boot) {
                    return;
                }
                self.world.run.record(Event::Sent {
                    thread: outside.thread(),
                    message: message.clone(),
                });
                ledger.send(&self.world.run, message);
            }
            let cut = self
                .world
                .ledger()
                .cut
                .contains(&(message.from, message.to));
            if self.kind == Wire::Nowhere || cut {
                continue;
            }
            if self.kind == Wire::Answered {
                let answer = self.world.ledger().answer(message);
                let node = self.world.run.engine(self.node);
                if let (Some(answer), Some(node)) = (answer, node) {
                    let answer = self.world.said(answer);
                    let mut there = Outside::claim(outside.thread());
                    node.receive(&mut there, answer);
                }
                continue;
            }
            if !self.world.run.gate_is_open() {
                self.world.ledger().held.push(message.clone());
            } else if let Some(receiver) = self.world.run.engine(message.to) {
                // The thread holds no lock here (the types see to it), so it may run the receiver's handler itself.
                let mut there = Outside::claim(outside.thread());
                receiver.receive(&mut there, message.clone());
            }
        }
    }

    fn stop(&self, _: &Outside) {}
}

/// A state machine that remembers every command, and replies with it.
pub(super) struct ModelMachine {
    pub(super) node: NodeId,
    pub(super) boot: u64,
    pub(super) instant: bool,
    pub(super) world: World,
    /// What it has applied: index and command.
    pub(super) done: Vec<(u64, Bytes)>,
}

impl StateMachine for ModelMachine {
    fn apply(&mut self, at: Applied, command: &[u8]) -> Bytes {
        let last = self.done.last().map_or(0, |(index, _)| *index);
        let mut ledger = self.world.ledger();
        let command = Bytes::copy_from_slice(command);
        // What a machine does that has crashed never happened.
        if ledger.alive(self.node, self.boot) {
            ledger.applies(self.node, last, at.index, &command);
            *ledger.ran.entry((self.node, command.clone())).or_default() += 1;
        }
        self.done.push((at.index, command.clone()));
        command
    }

    fn is_instant(&self) -> bool {
        self.instant
    }

    fn snapshot(&mut self) -> Bytes {
        biglock::codec::encode(&self.done).into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let done: Vec<(u64, Bytes)> = biglock::codec::decode(snapshot)
            .map_err(|e| RestoreError::new("no snapshot of a model's").caused_by(e))?;
        let last = |done: &[(u64, Bytes)]| done.last().map_or(0, |(index, _)| *index);
        assert!(
            last(&done) >= last(&self.done),
            "{} goes back to an older snapshot",
            self.node
        );
        self.done = done;
        Ok(())
    }
}
