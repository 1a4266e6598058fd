//! Takes notes in the nodes' critical sections, without touching what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;

use biglock::lock::{Observer, Step};
use biglock::node::Shared;

use crate::stopwatch::{Moment, now};

/// What all nodes of a cluster write down.
pub struct Notes {
    nodes: Vec<Known>,
    handled: AtomicUsize,
    /// When this many messages were handled, `waiter` is woken.
    last: AtomicUsize,
    waiter: Thread,
}

/// The latest term of which a node knew the leader, and when it came to know it.
#[derive(Default)]
struct Known {
    term: AtomicU64,
    at: AtomicU64,
}

impl Notes {
    /// Notes on this many nodes, for the calling thread.
    pub fn new(nodes: usize) -> Notes {
        Notes {
            nodes: (0..nodes).map(|_| Known::default()).collect(),
            handled: AtomicUsize::new(0),
            last: AtomicUsize::new(usize::MAX),
            waiter: std::thread::current(),
        }
    }

    /// Begins to count messages, and wakes the thread that made these notes when `last` were handled.
    pub fn expect(&self, last: usize) {
        self.last.store(last, Ordering::Relaxed);
        self.handled.store(0, Ordering::Release);
    }

    /// How many messages were handled since.
    pub fn handled(&self) -> usize {
        self.handled.load(Ordering::Acquire)
    }

    /// When `node` came to know the leader of `term`; nothing if that is not the latest term of which it knows one.
    pub fn knew(&self, node: usize, term: u64) -> Option<Moment> {
        let known = &self.nodes[node];
        (known.term.load(Ordering::Acquire) == term)
            .then(|| Moment(known.at.load(Ordering::Relaxed)))
    }

    /// The latest term of which `node` knew the leader.
    pub fn latest_term(&self, node: usize) -> u64 {
        self.nodes[node].term.load(Ordering::Acquire)
    }
}

/// The observer of one node.
pub struct Watch {
    /// Which node.
    pub node: usize,
    /// Where it writes.
    pub notes: Arc<Notes>,
}

impl Observer<Shared> for Watch {
    fn observe(&self, _: &'static str, section: &'static str, step: Step, state: Option<&Shared>) {
        let (Step::Left(_), Some(state)) = (step, state) else {
            return;
        };
        let notes = &*self.notes;
        let known = &notes.nodes[self.node];
        let term = state.raft.term().0;
        // Under the node's lock: nobody else writes here.
        if state.raft.leader().is_some() && known.term.load(Ordering::Relaxed) < term {
            known.at.store(now().0, Ordering::Relaxed);
            known.term.store(term, Ordering::Release);
        }
        if section == "handle a message"
            && notes.handled.fetch_add(1, Ordering::AcqRel) + 1
                == notes.last.load(Ordering::Relaxed)
        {
            notes.waiter.unpark();
        }
    }
}
