//! Every step of every thread, with its moment. Taking so many notes costs time of its own, so elections are never measured with it.

use std::sync::{Arc, Mutex, PoisonError};

use biglock::lock::{Observer, Step};
use biglock::node::Shared;
use biglock::rules::{RoleKind, Verdict};
use biglock::{
    Batch, Inbox, Message, Outside, Storage, StorageError, Stored, Transport, TransportError,
};

use crate::stopwatch::{Moment, now};
use crate::watch::Watch;

/// One line of the notes.
#[derive(Clone, Debug)]
pub struct Note {
    /// When.
    pub at: Moment,
    /// On which node, counted from 0.
    pub node: usize,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thread asks for the lock, to do this.
    Wants(&'static str),
    /// A thread has the lock, for the section of this name: at first, or again after it slept in it.
    Has(&'static str),
    /// A thread leaves the section of this name, and this is what it leaves.
    Left(&'static str, Standing),
    /// Messages are handed to the wire; the first is of this kind.
    Sends(&'static str),
    /// A write begins.
    Writes,
    /// It is durable.
    Written,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its role.
    pub role: RoleKind,
    /// Who granted, a bit per node.
    pub granted: u64,
    /// Whether they are a majority.
    pub won: bool,
    /// Whether it knows a leader.
    pub led: bool,
}

/// The notes on a whole cluster.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<Note>>>);

impl Trace {
    /// Takes the notes, in the order of their moments.
    pub fn take(&self) -> Vec<Note> {
        let mut notes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        notes.sort_by_key(|note| note.at);
        notes
    }

    /// Takes notes of what `inner` does for this node.
    pub fn on<T>(&self, node: usize, inner: T) -> Traced<T> {
        let trace = self.clone();
        Traced { inner, node, trace }
    }

    fn note(&self, node: usize, event: Event) {
        let at = now();
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(Note { at, node, event });
    }
}

/// A node's observer, transport or store, with notes taken.
pub struct Traced<T> {
    inner: T,
    node: usize,
    trace: Trace,
}

impl<T> Traced<T> {
    fn note(&self, event: Event) {
        self.trace.note(self.node, event);
    }
}

impl Observer<Shared> for Traced<Watch> {
    fn observe(
        &self,
        thread: &'static str,
        section: &'static str,
        step: Step,
        state: Option<&Shared>,
    ) {
        match (step, state) {
            (Step::Wants, _) => self.note(Event::Wants(section)),
            (Step::Entered | Step::Woke, _) => self.note(Event::Has(section)),
            (Step::Left(_), Some(state)) => self.note(Event::Left(section, Standing::of(state))),
            _ => {}
        }
        self.inner.observe(thread, section, step, state);
    }
}

impl Standing {
    fn of(state: &Shared) -> Standing {
        let raft = &state.raft;
        let granted = raft.role().tally().map(|tally| &tally.granted);
        Standing {
            role: raft.role().kind(),
            granted: granted
                .into_iter()
                .flatten()
                .fold(0, |bits, id| bits | 1 << (id.0 - 1)),
            won: raft.standing() == Some(Verdict::Won),
            led: raft.leader().is_some(),
        }
    }
}

impl Transport for Traced<Arc<dyn Transport>> {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        self.inner.start(inbox)
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        if let Some(first) = messages.first() {
            self.note(Event::Sends(first.body.name()));
        }
        self.inner.send(outside, messages);
    }

    fn max_payload(&self) -> usize {
        self.inner.max_payload()
    }

    fn stop(&self, outside: &Outside) {
        self.inner.stop(outside);
    }
}

impl Storage for Traced<Box<dyn Storage>> {
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError> {
        self.inner.load(outside)
    }

    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError> {
        self.note(Event::Writes);
        let result = self.inner.write(outside, batch);
        self.note(Event::Written);
        result
    }

    fn is_instant(&self) -> bool {
        self.inner.is_instant()
    }
}
