//! A leader dies, and a majority comes to know the next one: on the machine's own clock, with real timeouts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use biglock::rules::majority;
use biglock::{Inbox, Leadership, Message, Node, Outside, Transport, TransportError};
use tempfile::TempDir;

use crate::Rejected;
use crate::nodes::{Store, Wire, config, start, store, transports};
use crate::stopwatch::{Moment, keep_silent, now};
use crate::watch::{Notes, Watch};

/// A cluster whose leader is to die again and again.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many nodes.
    pub nodes: usize,
    /// Whether candidates ask before they spend a term.
    pub pre_vote: bool,
    /// What carries the messages.
    pub wire: Wire,
    /// What keeps term and vote.
    pub store: Store,
    /// The shortest election timeout.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// How often a leader sends.
    pub heartbeat: Duration,
}

/// A death, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// From the leader's death until a majority, the next leader included, knows the next one.
    pub took: Duration,
    /// How many terms were spent.
    pub terms: u64,
}

/// A running one.
pub struct Mortal {
    setup: Setup,
    nodes: Vec<Node>,
    gates: Vec<Arc<AtomicBool>>,
    notes: Arc<Notes>,
    random: fastrand::Rng,
    _folder: TempDir,
}

/// A cluster finds a leader within this many of its longest timeouts, and some seconds for a machine that stalls; or there is a bug.
const TIMEOUTS: u32 = 50;
const STALL: Duration = Duration::from_secs(5);

impl Mortal {
    /// Starts one, its files in a folder of their own under `scratch`.
    ///
    /// # Panics
    /// If a node does not start.
    pub fn start(setup: Setup, scratch: &Path) -> Mortal {
        let folder = TempDir::new_in(scratch).expect("a temporary folder");
        let notes = Arc::new(Notes::new(setup.nodes));
        let gates: Vec<_> = (0..setup.nodes).map(|_| Arc::default()).collect();
        let nodes = transports(setup.wire, setup.nodes)
            .into_iter()
            .zip(&gates)
            .enumerate()
            .map(|(node, (inner, gate))| {
                let mut config = config(node, setup.nodes);
                config.pre_vote = setup.pre_vote;
                config.election_timeout_min = setup.min;
                config.election_timeout_max = setup.max;
                config.heartbeat = setup.heartbeat;
                let storage = store(setup.store, folder.path(), node);
                let shut = Arc::clone(gate);
                let notes = notes.clone();
                start(
                    config,
                    storage,
                    Arc::new(Gate { inner, shut }),
                    Arc::new(Watch { node, notes }),
                )
            })
            .collect();
        Mortal {
            setup,
            nodes,
            gates,
            notes,
            random: fastrand::Rng::with_seed(1),
            _folder: folder,
        }
    }

    /// Kills the leader at a random moment between two heartbeats, and brings it back when the others have another.
    ///
    /// # Errors
    /// If the leader had changed without it: then nobody was killed.
    ///
    /// # Panics
    /// If no leader is found.
    pub fn kill(&mut self) -> Result<Failover, Rejected> {
        let seen = self.agreement();
        let heartbeat = self.setup.heartbeat;
        keep_silent(heartbeat * 2 + heartbeat.mul_f64(self.random.f64()));
        if self.agreement() != seen {
            return Err(Rejected("the leader changed by itself".into()));
        }
        let (old, before) = (leader(seen), seen.term.0);
        let killed = now();
        self.gates[old].store(true, Ordering::SeqCst);
        let knew = self.successor(old, before);
        self.gates[old].store(false, Ordering::SeqCst);
        let (term, moment) = knew;
        Ok(Failover {
            took: moment.since(killed),
            terms: term - before,
        })
    }

    /// Waits until all nodes agree on a leader.
    fn agreement(&self) -> Leadership {
        let begin = now();
        loop {
            let seen: Vec<Leadership> = self.nodes.iter().map(Node::leadership).collect();
            let latest = seen
                .iter()
                .max_by_key(|seen| seen.term)
                .copied()
                .unwrap_or_default();
            let behind = seen
                .iter()
                .position(|&seen| seen != latest || seen.leader.is_none());
            let Some(behind) = behind else { return latest };
            self.wait(behind, seen[behind], begin);
        }
    }

    /// Waits until all survivors know a leader of one term after `before`: the term, and when the majority's last one knew.
    fn successor(&self, old: usize, before: u64) -> (u64, Moment) {
        let begin = now();
        let survivors: Vec<usize> = (0..self.nodes.len()).filter(|&node| node != old).collect();
        loop {
            let terms = || survivors.iter().map(|&node| self.notes.latest_term(node));
            let term = terms().max().unwrap_or_default();
            let behind = survivors
                .iter()
                .find(|&&node| self.notes.latest_term(node) < term.max(before + 1));
            if let Some(&behind) = behind {
                self.wait(behind, self.nodes[behind].leadership(), begin);
                continue;
            }
            let knew = survivors.iter().map(|&node| self.notes.knew(node, term));
            if let Some(mut knew) = knew.collect::<Option<Vec<Moment>>>() {
                knew.sort_unstable();
                return (term, knew[majority(self.nodes.len()) - 1]);
            }
        }
    }

    /// Waits for a change at a node, or a heartbeat long: what was seen may be over already.
    fn wait(&self, node: usize, seen: Leadership, begin: Moment) {
        let _ = self.nodes[node].wait_for_change(seen, Some(self.setup.heartbeat));
        assert!(
            now().since(begin) < self.setup.max * TIMEOUTS + STALL,
            "no leader is found"
        );
    }
}

fn leader(leadership: Leadership) -> usize {
    let id = leadership.leader.expect("they agreed on one").0;
    usize::try_from(id - 1).expect("a small cluster")
}

/// A transport that can be silenced, which for the others is death. It hears on, and so is a follower of the next leader when it comes back.
struct Gate {
    inner: Arc<dyn Transport>,
    shut: Arc<AtomicBool>,
}

impl Transport for Gate {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        self.inner.start(inbox)
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        if !self.shut.load(Ordering::SeqCst) {
            self.inner.send(outside, messages);
        }
    }

    fn max_payload(&self) -> usize {
        self.inner.max_payload()
    }

    fn stop(&self, outside: &Outside) {
        self.inner.stop(outside);
    }
}
