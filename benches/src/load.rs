//! Clusters of real nodes under load: what users do with them, and nothing else in between.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use biglock::{Applied, Config, LocalNetwork, MemoryStorage, Node, RestoreError, StateMachine};
use bytes::Bytes;
use tempfile::TempDir;

use crate::nodes::{Store, Wire, config, store, transports};
use crate::stopwatch::now;

/// The size of a command, in bytes.
pub const COMMAND: usize = 16;

/// A cluster, as it is to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// How many nodes.
    pub nodes: usize,
    /// What carries the messages.
    pub wire: Wire,
    /// What keeps the log.
    pub store: Store,
}

/// How proposals are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One by one, so many under way at a time: for each that ends another is made.
    Window(usize),
    /// So many at once; when all have ended, as many again.
    Batch(usize),
}

/// A cluster that leads.
pub struct Load {
    nodes: Vec<Node>,
    leader: usize,
    _folder: TempDir,
}

impl Load {
    /// Starts one, its files in a folder of their own under `scratch`, and waits until it has a leader.
    ///
    /// # Panics
    /// If it finds none.
    pub fn start(kind: Kind, scratch: &Path) -> Load {
        let folder = TempDir::new_in(scratch).expect("a temporary folder");
        let transports = transports(kind.wire, kind.nodes);
        let start = |(node, transport)| {
            let storage = store(kind.store, folder.path(), node);
            Node::start(patient(node, kind.nodes), storage, transport, ()).expect("the node starts")
        };
        let nodes: Vec<Node> = transports.into_iter().enumerate().map(start).collect();
        let leader = leader(&nodes);
        Load {
            nodes,
            leader,
            _folder: folder,
        }
    }

    /// How long it takes until `commands` are committed, applied on the leader, and their replies here.
    ///
    /// # Panics
    /// If one is not: nobody was killed, so that would be a bug, or a machine that stood still for seconds.
    pub fn commit(&self, commands: u64, pace: Pace) -> Duration {
        let node = &self.nodes[self.leader];
        let command = Bytes::from_static(&[7; COMMAND]);
        let begin = now();
        let mut left = commands;
        match pace {
            Pace::Window(many) => {
                let mut window = VecDeque::with_capacity(many);
                while left > 0 || !window.is_empty() {
                    while left > 0 && window.len() < many {
                        window.push_back(node.propose(command.clone()).expect("it leads"));
                        left -= 1;
                    }
                    if let Some(oldest) = window.pop_front() {
                        oldest.wait().expect("it is committed");
                    }
                }
            }
            Pace::Batch(many) => {
                while left > 0 {
                    let now = left.min(many as u64);
                    let (proposals, all) = node.propose_all((0..now).map(|_| command.clone()));
                    all.expect("it leads");
                    for proposal in proposals {
                        proposal.wait().expect("it is committed");
                    }
                    left -= now;
                }
            }
        }
        now().since(begin)
    }
}

/// How long a follower that lacks `entries` needs to catch up.
///
/// # Panics
/// If it does not.
pub fn catch_up(entries: u64) -> Duration {
    let network = LocalNetwork::new();
    let nodes = three(&network, |_| Blob(Bytes::new()));
    let leader = leader(&nodes);
    let late = (leader + 1) % nodes.len();
    network.cut(late as u64 + 1);
    let mut left = entries;
    while left > 0 {
        let now = left.min(1000);
        let (proposals, all) = nodes[leader].propose_all((0..now).map(|_| [7; COMMAND].to_vec()));
        all.expect("it leads");
        for proposal in proposals {
            proposal.wait().expect("two of three are a majority");
        }
        left -= now;
    }
    network.mend(late as u64 + 1);
    read(&nodes[late])
}

/// How long a follower that lacks a snapshot of so many bytes needs until it has installed it and its state machine has it.
///
/// # Panics
/// If it does not.
pub fn install(bytes: usize) -> Duration {
    let network = LocalNetwork::new();
    let blob = Bytes::from(vec![7; bytes]);
    let nodes = three(&network, |_| Blob(blob.clone()));
    let leader = leader(&nodes);
    let late = (leader + 1) % nodes.len();
    network.cut(late as u64 + 1);
    let proposal = nodes[leader].propose([7; COMMAND].to_vec());
    proposal.expect("it leads").wait().expect("a majority");
    nodes[leader].snapshot().expect("it runs");
    network.mend(late as u64 + 1);
    read(&nodes[late])
}

/// When this returns, the node has everything. A node that was cut off may have to hear its leader first.
fn read(node: &Node) -> Duration {
    let begin = now();
    while node.read().is_err() {}
    now().since(begin)
}

fn three(network: &LocalNetwork, blob: impl Fn(usize) -> Blob) -> Vec<Node> {
    let start = |node: usize| {
        let mut config = patient(node, 3);
        config.keep_entries = 0;
        let transport = network.transport(node as u64 + 1);
        Node::start(config, MemoryStorage::new(), transport, blob(node)).expect("the node starts")
    };
    (0..3).map(start).collect()
}

/// Timeouts that no busy machine exceeds.
fn patient(node: usize, nodes: usize) -> Config {
    let mut config = config(node, nodes);
    config.election_timeout_min = Duration::from_millis(500);
    config.election_timeout_max = Duration::from_millis(1000);
    config.heartbeat = Duration::from_millis(50);
    config
}

fn leader(nodes: &[Node]) -> usize {
    loop {
        let seen = nodes[0].wait_for_leader(Duration::from_secs(60));
        let leader = seen.expect("a leader").leader.expect("it waited for one");
        let index = usize::try_from(leader.0 - 1).expect("a small cluster");
        // Once it has read, it has committed an entry of its own.
        if nodes[index].leadership().leader == Some(leader) && nodes[index].read().is_ok() {
            return index;
        }
    }
}

/// A state that is as large as it is.
struct Blob(Bytes);

impl StateMachine for Blob {
    fn apply(&mut self, _: Applied, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> Bytes {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0 = Bytes::copy_from_slice(snapshot);
        Ok(())
    }
}
