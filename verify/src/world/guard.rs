//! What is not ours in a model: a monitor that guards anything, and a user's state machine.

use std::sync::{Arc, Mutex, PoisonError};

use biglock::lock::{Guarded, Monitor, Observer, Outside, Step};
use biglock::{Applied, Clock, NodeId, RestoreError, StateMachine};
use bytes::Bytes;

use super::World;
use crate::harness::{GATE, Gate, Run};
use crate::record::Event;

impl World {
    /// A monitor of the program, on a clock of its own that stands at zero. Its threads may begin by asking for it; `show` says in a few words what
    /// it guards, for the picture.
    pub fn monitor<S: Guarded + Send + 'static>(
        &self,
        state: S,
        show: fn(&S) -> String,
    ) -> Arc<Monitor<S>>
    where
        S::Audience: Send + Sync,
    {
        let watch = Watch {
            run: self.run.clone(),
            seen: Mutex::new(show(&state)),
            show,
        };
        let monitor = Monitor::with_clock(state, Clock::manual()).observed_by(Arc::new(watch));
        let monitor = Arc::new(monitor);
        self.run.register_lock(monitor.clone());
        monitor
    }
}

impl<S: Guarded + Send> Gate for Monitor<S>
where
    S::Audience: Send + Sync,
{
    fn hold(&self, inside: Box<dyn FnOnce() + '_>) {
        self.enter(&mut Outside::claim(GATE), GATE, |_| inside());
    }
}

/// Takes notes, for the picture.
struct Watch<S> {
    run: Arc<Run>,
    seen: Mutex<String>,
    show: fn(&S) -> String,
}

impl<S> Observer<S> for Watch<S> {
    fn observe(&self, thread: &'static str, section: &'static str, step: Step, state: Option<&S>) {
        if self.run.is_gate(thread) {
            return;
        }
        match step {
            Step::Wants => self.run.arrived(),
            Step::Waits(what) if self.run.gate_is_open() => self.run.reached(what),
            _ => {}
        }
        if let (Step::Waits(_) | Step::Left(_), Some(state)) = (step, state) {
            let text = (self.show)(state);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen != text {
                seen.clone_from(&text);
                self.run.record(Event::Changed { thread, text });
            }
        }
        self.run.record(Event::Section {
            node: NodeId(0),
            thread,
            section,
            step,
            view: None,
        });
    }
}

/// A user's state machine: what it is given must be what is committed, once and in order.
pub(super) struct JudgedMachine {
    node: NodeId,
    world: World,
    inner: Box<dyn StateMachine>,
    /// The last command that it was given.
    last: u64,
}

impl JudgedMachine {
    pub(super) fn new(node: NodeId, world: &World, inner: Box<dyn StateMachine>) -> JudgedMachine {
        JudgedMachine {
            node,
            world: world.clone(),
            inner,
            last: 0,
        }
    }
}

impl StateMachine for JudgedMachine {
    fn apply(&mut self, at: Applied, command: &[u8]) -> Bytes {
        let mut ledger = self.world.ledger();
        ledger.applies(self.node, self.last, at.index, command);
        let ran = (self.node, Bytes::copy_from_slice(command));
        *ledger.ran.entry(ran).or_default() += 1;
        drop(ledger);
        self.last = at.index;
        self.inner.apply(at, command)
    }

    fn is_instant(&self) -> bool {
        self.inner.is_instant()
    }

    /// The user's own, behind what it stands for.
    fn snapshot(&mut self) -> Bytes {
        let mut bytes = self.last.to_be_bytes().to_vec();
        bytes.extend(self.inner.snapshot());
        bytes.into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let Some((last, inner)) = snapshot.split_first_chunk() else {
            return Err(RestoreError::new("no snapshot of a model's"));
        };
        self.inner.restore(inner)?;
        self.last = u64::from_be_bytes(*last);
        Ok(())
    }
}
