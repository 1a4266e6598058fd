//! Clusters of real nodes, threads and all, in which one election after another can be started at will.
//!
//! Every node has a manual clock of its own. A tick of the candidate's fires its deadline, and nobody else's time moves: no other
//! deadline, heartbeat or repetition can come between. The deadline fires by the monitor's broadcast in place of a timer's.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use biglock::rules::majority;
use biglock::{Clock, Node, Outside};
use tempfile::TempDir;

use crate::nodes::{Store, Wire, config, start, store, transports};
use crate::stopwatch::{Moment, keep_silent, now};
use crate::trace::Trace;
use crate::watch::{Notes, Watch};
use crate::{Election, PATIENCE, Rejected, SILENCE};

/// A cluster, as it is to be measured.
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
}

impl Setup {
    /// The rounds of questions before a leader is one.
    pub fn rounds(&self) -> usize {
        1 + usize::from(self.pre_vote)
    }
}

/// A cluster of real nodes.
pub struct Cluster {
    setup: Setup,
    nodes: Vec<Node>,
    notes: Arc<Notes>,
    outside: Outside,
    term: u64,
    leader: Option<usize>,
    _folder: TempDir,
}

impl Cluster {
    /// Starts one, its files in a folder of their own under `scratch`.
    pub fn start(setup: Setup, scratch: &Path) -> Cluster {
        Cluster::with(setup, scratch, None)
    }

    /// Starts one that writes down every step.
    pub fn traced(setup: Setup, scratch: &Path, trace: &Trace) -> Cluster {
        Cluster::with(setup, scratch, Some(trace))
    }

    fn with(setup: Setup, scratch: &Path, trace: Option<&Trace>) -> Cluster {
        let folder = TempDir::new_in(scratch).expect("a temporary folder");
        let notes = Arc::new(Notes::new(setup.nodes));
        let nodes = transports(setup.wire, setup.nodes)
            .into_iter()
            .enumerate()
            .map(|(node, transport)| {
                let watch = Watch {
                    node,
                    notes: notes.clone(),
                };
                let mut config = config(node, setup.nodes);
                config.pre_vote = setup.pre_vote;
                config.clock = Clock::manual();
                let storage = store(setup.store, folder.path(), node);
                match trace {
                    None => start(config, storage, transport, Arc::new(watch)),
                    Some(trace) => {
                        let (transport, storage) =
                            (trace.on(node, transport), trace.on(node, storage));
                        let watch = Arc::new(trace.on(node, watch));
                        start(config, Box::new(storage), Arc::new(transport), watch)
                    }
                }
            })
            .collect();
        let mut cluster = Cluster {
            setup,
            nodes,
            notes,
            outside: Outside::claim("bench"),
            term: 0,
            leader: None,
            _folder: folder,
        };
        cluster.settle();
        // The first is spent on threads that have yet to start. If it fails, so will the next, which says why.
        let _ = cluster.elect();
        cluster
    }

    /// Runs one election and brings the cluster to rest again.
    ///
    /// # Errors
    /// If it was not a clean one. The cluster can't be measured any more then.
    pub fn elect(&mut self) -> Result<Election, Rejected> {
        self.fire().map(|(election, _)| election)
    }

    /// The same; gives also who the candidate was (counted from 0), and when its deadline fired.
    ///
    /// # Errors
    /// As [`elect`](Cluster::elect).
    pub fn fire(&mut self) -> Result<(Election, (usize, Moment)), Rejected> {
        let Setup { nodes, .. } = self.setup;
        let candidate = self.leader.map_or(0, |leader| (leader + 1) % nodes);
        let term = self.term + 1;
        // To each other node and back: the questions of each round, and the announcement.
        let messages = 2 * (nodes - 1) * (self.setup.rounds() + 1);
        self.notes.expect(messages);
        let monitor = self.nodes[candidate].engine().monitor();
        let deadline = monitor.clock().now() + longest();

        let fired = now();
        monitor.tick(&mut self.outside, deadline);
        while self.notes.handled() < messages {
            if now().since(fired) > PATIENCE {
                return Err(self.rejected("a message was lost", messages));
            }
            thread::park_timeout(PATIENCE);
        }

        self.term = term;
        self.leader = Some(candidate);
        self.settle();
        if self.notes.handled() != messages {
            return Err(self.rejected("there was more than one campaign", messages));
        }
        let mut knew = Vec::with_capacity(nodes);
        for node in 0..nodes {
            let Some(moment) = self.notes.knew(node, term) else {
                return Err(self.rejected("a node passed the term over", messages));
            };
            knew.push(moment);
        }
        let leader = knew[candidate].since(fired);
        knew.sort_unstable();
        let election = Election {
            leader,
            majority: knew[majority(nodes) - 1].since(fired),
        };
        Ok((election, (candidate, fired)))
    }

    fn rejected(&self, why: &str, messages: usize) -> Rejected {
        let status = |node: &Node| node.status().to_string();
        let status: Vec<String> = self.nodes.iter().map(status).collect();
        let handled = self.notes.handled();
        let status = status.join("; ");
        Rejected(format!("{why}: {handled} of {messages} messages; {status}"))
    }

    /// Makes it as it is when a leader has died: nobody has heard it for the shortest election timeout, and the leader itself has
    /// stepped down because it heard no majority, so that it answers like anybody. Then the machine comes to rest.
    fn settle(&mut self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let monitor = node.engine().monitor();
            let leads = self.leader == Some(index);
            let aged = if leads { longest() } else { shortest() };
            let before = node.leadership();
            monitor.tick(&mut self.outside, monitor.clock().now() + aged);
            if leads {
                // Its own thread notices.
                node.wait_for_change(before, None)
                    .expect("a node that runs");
            }
        }
        keep_silent(SILENCE);
    }
}

fn shortest() -> Duration {
    config(0, 1).election_timeout_min
}

fn longest() -> Duration {
    config(0, 1).election_timeout_max
}
