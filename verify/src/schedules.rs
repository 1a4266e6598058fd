//! Whole clusters with all their threads, under schedules that are drawn at random: what is too large to be searched.
//!
//! The nodes are the real [`Node`]s, on the facade's third back end, which is shuttle's: the threads of all nodes are coroutines of one, and a
//! scheduler draws which goes on at each lock, wait and broadcast. *Random* draws anew each time; *PCT* gives each thread a priority and
//! changes few of them, which finds a bug of few ordering constraints with a probability that can be told (Burckhardt and others, 2010).
//!
//! **This is sampling.** It shows that a bug is there, and never that none is. The same seed draws the same schedules, so one that fails comes back with it.
//!
//! In each schedule: nobody hangs, every call ends, each section of each node is a step that the specification allows, what one state machine
//! applied all apply, who is told "committed" finds its command there once, and who is told "lost" nowhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biglock::lock::{Observer, Step};
use biglock::node::Shared;
use biglock::{
    Applied, Batch, Clock, Config, LocalNetwork, MemoryStorage, Node, NodeId, Outside,
    ProposeError, RestoreError, StateMachine, Storage, StorageError, Stored, Time, Undecided,
};
use bytes::Bytes;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use crate::spec::{self, Action, Watched};

/// How far time moves at once, in nanoseconds.
const TICK: u64 = 10_000_000;
/// How often it moves: four seconds are a dozen elections, if it comes to that.
const TICKS: u64 = 400;
/// How many clients propose,
const CLIENTS: u64 = 3;
/// and how many commands each of them.
const COMMANDS: u64 = 4;
/// Asks no more often than this for a command that is refused.
const TRIES: u64 = 40;

/// What is asked of each schedule, in a sentence.
pub const PROPERTY: &str = "nobody hangs, every section is a step of the specification, state machines agree, and clients are told the truth";

/// What happens in a schedule, and how often.
pub const BOUNDS: [(&str, u64); 3] = [
    ("clients", CLIENTS),
    ("commands", COMMANDS),
    ("ticks", TICKS),
];

/// What some schedule must reach, or they show nothing.
pub const GOALS: [&str; 5] = [
    "a leader",
    "a leader commits",
    "a leader steps down",
    "committed",
    "lost",
];

/// What was reached, in all schedules together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(pub BTreeMap<&'static str, u64>);

impl Reached {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// Sees each critical section of each node, in the order in which they were left.
#[derive(Default)]
struct Judge {
    spec: spec::Cluster,
    watched: BTreeMap<NodeId, Watched>,
    reached: Reached,
}

struct Tap {
    id: NodeId,
    judge: Arc<Mutex<Judge>>,
}

/// No thread is scheduled while one of these is held, so nobody ever waits for it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer<Shared> for Tap {
    fn observe(&self, _: &'static str, _: &'static str, step: Step, state: Option<&Shared>) {
        let Some(state) = state.filter(|_| matches!(step, Step::Waits(_) | Step::Left(_))) else {
            return;
        };
        let mut judge = locked(&self.judge);
        let Judge {
            spec,
            watched,
            reached,
        } = &mut *judge;
        let watched = watched.entry(self.id).or_default();
        let stopped = state.stopped().is_some();
        match watched.step(spec, &state.raft, stopped) {
            Ok(actions) => {
                reached.count("a section");
                for action in actions {
                    match action {
                        Action::Timeout => reached.count("a candidacy"),
                        Action::BecomeLeader => reached.count("a leader"),
                        Action::StepDown => reached.count("a leader steps down"),
                        Action::AdvanceCommit(_) => reached.count("a leader commits"),
                        _ => {}
                    }
                }
            }
            Err(refused) => {
                drop(judge);
                panic!("{refused}");
            }
        }
    }
}

/// A state machine that keeps every command.
#[derive(Clone, Default)]
struct Kept {
    commands: Arc<Mutex<Vec<Bytes>>>,
    instant: bool,
}

impl StateMachine for Kept {
    fn apply(&mut self, _: Applied, command: &[u8]) -> Bytes {
        let command = Bytes::copy_from_slice(command);
        locked(&self.commands).push(command.clone());
        command
    }

    fn is_instant(&self) -> bool {
        self.instant
    }

    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        unreachable!("no snapshot is due")
    }
}

/// A store that is written by a thread of its own.
struct Disk(MemoryStorage);

impl Storage for Disk {
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError> {
        self.0.load(outside)
    }

    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError> {
        self.0.write(outside, batch)
    }
}

/// One schedule of a cluster of so many nodes: what it reached.
///
/// # Panics
/// If something is broken.
pub fn cluster(nodes: u64) -> Reached {
    let judge = Arc::new(Mutex::new(Judge::default()));
    let network = LocalNetwork::direct();
    let start = |id: u64| {
        let mut config = Config::new(id, 1..=nodes);
        config.clock = Clock::manual();
        config.seed = Some(thread_rng().r#gen());
        // A third of the nodes have threads for their disk and their state.
        let kept = Kept {
            instant: !id.is_multiple_of(3),
            ..Kept::default()
        };
        let tap = Arc::new(Tap {
            id: NodeId(id),
            judge: judge.clone(),
        });
        let transport = network.transport(id);
        let (state, memory) = (kept.clone(), MemoryStorage::new());
        let node = match kept.instant {
            true => Node::start_observed(config, memory, transport, state, Some(tap)),
            false => Node::start_observed(config, Disk(memory), transport, state, Some(tap)),
        };
        (node.expect("it starts"), kept)
    };
    let (nodes, kept): (Vec<Node>, Vec<Kept>) = (1..=nodes).map(start).unzip();
    let nodes = Arc::new(nodes);

    let clients = (0..CLIENTS).map(|client| {
        let nodes = nodes.clone();
        thread::spawn(move || propose(client, &nodes))
    });
    let clients: Vec<_> = clients.collect();
    pass_time(&nodes, &network);
    for node in nodes.iter() {
        node.shutdown().expect("nothing broke");
    }
    let ends = clients
        .into_iter()
        .flat_map(|client| client.join().expect("it ends"));
    let mut reached = std::mem::take(&mut locked(&judge).reached);
    for (command, end) in ends {
        reached.count(end);
        compare(&kept, &command, end);
    }
    reached
}

/// Time passes, and once in a while a node is cut off, or all are connected again.
fn pass_time(nodes: &[Node], network: &LocalNetwork) {
    let mut outside = Outside::claim("time");
    let mut cut = None;
    for tick in 1..=TICKS {
        for node in nodes {
            let to = Time::from_nanos(tick * TICK);
            node.engine().monitor().tick(&mut outside, to);
        }
        if thread_rng().gen_ratio(1, 40) {
            cut = match cut {
                Some(node) => {
                    network.mend(node);
                    None
                }
                None => {
                    let leader = nodes.iter().find_map(|node| node.leadership().leader);
                    let node = leader.map_or(1, |leader| leader.0);
                    network.cut(node);
                    Some(node)
                }
            };
        }
        // Else a scheduler with priorities may let time pass and nothing else.
        thread::yield_now();
    }
}

/// Proposes commands, one after the other, each until its end is known: what became of each.
fn propose(client: u64, nodes: &[Node]) -> Vec<(Bytes, &'static str)> {
    let mut ends = Vec::new();
    let mut at = client as usize % nodes.len();
    let mut tries = 0;
    let mut number = 0;
    while number < COMMANDS && tries < TRIES {
        tries += 1;
        let command = Bytes::from(format!("client {client}, try {tries}"));
        let why = match nodes[at].propose(command.clone()) {
            Ok(proposal) => {
                let end = match proposal.wait() {
                    Ok(reply) => {
                        assert_eq!(reply, command, "another command's reply");
                        "committed"
                    }
                    Err(Undecided::Lost) => "lost",
                    Err(_) => "unknown",
                };
                number += u64::from(end == "committed");
                ends.push((command, end));
                continue;
            }
            Err(why) => why,
        };
        match why {
            ProposeError::Stopped(_) => break,
            ProposeError::NotLeader {
                leader: Some(leader),
            } => at = leader.0 as usize - 1,
            _ => at = (at + 1) % nodes.len(),
        }
        // Ends when there is one, when the time has come, or when the node stops.
        let _ = nodes[at].wait_for_leader(Duration::from_millis(300));
        thread::yield_now();
    }
    ends
}

/// What somebody was told of a command is so, and all state machines agree.
fn compare(kept: &[Kept], command: &Bytes, end: &str) {
    let logs: Vec<_> = kept
        .iter()
        .map(|kept| locked(&kept.commands).clone())
        .collect();
    let longest = logs.iter().max_by_key(|log| log.len()).expect("nodes");
    for log in &logs {
        assert!(
            longest.starts_with(log),
            "two state machines applied different commands: {log:?} and {longest:?}"
        );
    }
    let times = longest.iter().filter(|other| *other == command).count();
    match end {
        "committed" => assert_eq!(
            times, 1,
            "{command:?} is committed, and was applied {times} times"
        ),
        "lost" => assert_eq!(times, 0, "{command:?} is lost, and was applied"),
        _ => assert!(times < 2, "{command:?} was applied {times} times"),
    }
}
