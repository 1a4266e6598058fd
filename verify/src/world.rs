//! What a model is made of: nodes, disks, a network and threads; and the laws that hold in every execution.
//!
//! The nodes are the shipped [`Engine`]s. The world around them is ours: its bookkeeping is not visible to the checker (it is behind
//! std's locks, which are never waited for: loom runs one thread at a time), so it adds no interleavings and hides none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biglock::lock::{Monitor, Observer, Outside, Step};
use biglock::node::{Engine, Shared};
use biglock::rules::{Answer, At, Body, Log, Position, Raft, RoleKind, majority};
use biglock::{
    Batch, Clock, Config, HardState, Inbox, Message, NodeId, Storage, StorageError, Stored, Term,
    Time, Transport, TransportError,
};

use crate::harness::{GATE, Run};
use crate::record::{Event, View};

/// The election timeout of every model: a fixed one, since time passes only when a thread makes it.
pub const TIMEOUT: Duration = Duration::from_millis(100);
/// The moment at which the first deadline passes.
pub const DEADLINE: Time = Time::from_millis(100);
/// Half a deadline: candidates ask again.
pub const ASK_AGAIN: Time = Time::from_millis(150);
/// The moment at which a campaign that began at [`DEADLINE`] has had its time.
pub const NEXT_DEADLINE: Time = Time::from_millis(200);

/// What happened, across all nodes: what the laws are about.
#[derive(Default)]
struct Ledger {
    /// Who led each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Who gave which vote, as far as anybody was told.
    votes: BTreeMap<(Term, NodeId), NodeId>,
    /// The latest term each node was seen in.
    terms: BTreeMap<NodeId, Term>,
    roles: BTreeMap<NodeId, RoleKind>,
    /// What each disk holds.
    disks: BTreeMap<NodeId, HardState>,
    /// Machines that have crashed: nothing leaves them, nothing reaches their disk.
    crashed: BTreeSet<NodeId>,
    /// Nodes whose disk has failed.
    failed: BTreeSet<NodeId>,
    /// How often each node wrote, how many heartbeats it sent, and how many answers to heartbeats reached it.
    writes: BTreeMap<NodeId, u64>,
    heartbeats: BTreeMap<NodeId, u64>,
    answers: BTreeMap<NodeId, u64>,
    /// The latest attempt of each pre-candidate.
    attempts: BTreeMap<NodeId, u64>,
    /// Nodes whose shutdown has returned.
    closed: BTreeSet<NodeId>,
    /// Who asked whom for a vote in which term.
    asked: BTreeSet<(Term, NodeId, NodeId)>,
    /// Who can't hear whom.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// What was sent before the threads started.
    held: Vec<Message>,
    /// How often each machine was started again.
    boots: BTreeMap<NodeId, u64>,
}

/// One execution.
#[derive(Clone)]
pub struct World {
    pub(crate) run: Arc<Run>,
    ledger: Arc<Mutex<Ledger>>,
}

/// How a node's messages travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Nobody hears them: the model makes up what arrives.
    Nowhere,
    /// The thread that sends runs the receiver's handler, as in a remote procedure call: no message waits. What is sent before the
    /// threads start is held, and one of them [delivers](World::held) it.
    Direct,
}

/// Builds one node.
pub struct NodeSpec {
    id: u64,
    members: u64,
    pre_vote: bool,
    check_quorum: bool,
    wire: Wire,
    disk: HardState,
    failing: bool,
    started: Time,
}

impl NodeSpec {
    /// Node `id` of nodes 1 to `members`, without pre-vote and check-quorum.
    pub fn new(id: u64, members: u64) -> NodeSpec {
        NodeSpec {
            id,
            members,
            pre_vote: false,
            check_quorum: false,
            wire: Wire::Nowhere,
            disk: HardState::default(),
            failing: false,
            started: Time::ZERO,
        }
    }

    /// With a disk on which every write fails.
    pub fn failing(mut self) -> NodeSpec {
        self.failing = true;
        self
    }

    /// With its first deadline then; later ones are [`TIMEOUT`] from when they are drawn.
    pub fn first_deadline(mut self, at: Time) -> NodeSpec {
        self.started = Time::ZERO + at.since(DEADLINE);
        self
    }

    /// With pre-vote.
    pub fn pre_vote(mut self) -> NodeSpec {
        self.pre_vote = true;
        self
    }

    /// With check-quorum.
    pub fn check_quorum(mut self) -> NodeSpec {
        self.check_quorum = true;
        self
    }

    /// With this kind of wire.
    pub fn wire(mut self, wire: Wire) -> NodeSpec {
        self.wire = wire;
        self
    }

    /// With this on its disk.
    pub fn disk(mut self, hard_state: HardState) -> NodeSpec {
        self.disk = hard_state;
        self
    }
}

impl World {
    pub(crate) fn new(run: Arc<Run>) -> World {
        World {
            run,
            ledger: Arc::default(),
        }
    }

    /// Something that this model must reach in at least one execution.
    pub fn reached(&self, goal: &'static str) {
        self.run.reached(goal);
    }

    /// One of `options`, each in executions of its own.
    pub fn choose<T>(&self, options: impl IntoIterator<Item = T>) -> T {
        let mut options: Vec<T> = options.into_iter().collect();
        let pick = self.run.choose(options.len());
        options.swap_remove(pick)
    }

    /// Makes a node: the shipped engine with a recording disk and wire. Nobody runs it yet; its clock stands at zero.
    pub fn node(&self, spec: NodeSpec) -> Arc<Engine> {
        let mut config = Config::new(spec.id, 1..=spec.members);
        config.pre_vote = spec.pre_vote;
        config.check_quorum = spec.check_quorum;
        config.election_timeout_min = TIMEOUT;
        config.election_timeout_max = TIMEOUT;
        config.heartbeat = TIMEOUT * 2 / 5;
        config.clock = Clock::manual();
        let settings = config.validate().expect("models have valid configurations");
        let id = config.id;
        let at = At {
            now: spec.started,
            random: 0,
        };
        let boot = {
            let mut ledger = self.ledger();
            ledger.disks.insert(id, spec.disk);
            ledger.boots.get(&id).copied().unwrap_or(0)
        };
        let raft = Raft::new(at, settings, spec.disk, Log::new());
        let disk = ModelDisk {
            node: id,
            boot,
            failing: spec.failing,
            world: self.clone(),
            machine: self.run.machine(id),
        };
        let shared = Shared::new(raft, Box::new(disk), spec.id);
        let watch = Watch {
            node: id,
            boot,
            world: self.clone(),
        };
        let monitor = Monitor::with_clock(shared, config.clock).observed_by(Arc::new(watch));
        let wire = ModelWire {
            node: id,
            boot,
            world: self.clone(),
            kind: spec.wire,
            machine: self.run.machine(id),
        };
        let engine = Arc::new(Engine::new(monitor, id, Arc::new(wire)));
        self.run.register(id, engine.clone());
        engine
    }

    /// A vote that node `voter`, which is not in the model, gave: it is in the ledger, so a leader may count it.
    pub fn vote(&self, voter: u64, term: u64, candidate: u64) -> Message {
        self.ledger()
            .give_vote(Term(term), NodeId(voter), NodeId(candidate));
        message(
            voter,
            candidate,
            term,
            Body::VoteReply {
                answer: Answer::Granted,
            },
        )
    }

    /// A line in the picture.
    pub fn note(&self, thread: &'static str, text: &'static str) {
        self.run.record(Event::Note { thread, text });
    }

    /// The machine of this node crashes: from now on nothing leaves it and nothing reaches its disk. Returns what the disk holds.
    pub fn crash(&self, node: u64) -> HardState {
        let id = NodeId(node);
        self.run.arrived();
        let machine = self.run.machine(id);
        let _machine = machine.lock();
        let mut ledger = self.ledger();
        ledger.crashed.insert(id);
        ledger.disks[&id]
    }

    /// The machine of this node starts again: what it starts is a new node, which reads the disk.
    pub fn restart(&self, spec: NodeSpec) -> Arc<Engine> {
        let id = NodeId(spec.id);
        let mut ledger = self.ledger();
        let disk = ledger.disks[&id];
        // What it said binds it, and all that it said was on the disk; so it may come back with less than it had in memory.
        ledger.terms.remove(&id);
        ledger.roles.remove(&id);
        // The life that crashed stays dead: its disk and wire are of an earlier boot.
        *ledger.boots.entry(id).or_default() += 1;
        ledger.crashed.remove(&id);
        drop(ledger);
        self.node(spec.disk(disk))
    }

    /// Who led in `term`.
    pub fn leader_of(&self, term: u64) -> Option<NodeId> {
        self.ledger().leaders.get(&Term(term)).copied()
    }

    /// Node `leader`, which is not in the model, was elected in `term` by itself and `voter`.
    pub fn elected(&self, leader: u64, term: u64, voter: u64) {
        let mut ledger = self.ledger();
        for id in [leader, voter] {
            ledger.give_vote(Term(term), NodeId(id), NodeId(leader));
        }
        ledger.leaders.insert(Term(term), NodeId(leader));
    }

    /// To whom a node said that it gave its vote of `term`.
    pub fn vote_of(&self, voter: u64, term: u64) -> Option<NodeId> {
        self.ledger()
            .votes
            .get(&(Term(term), NodeId(voter)))
            .copied()
    }

    /// How often a node wrote.
    pub fn writes(&self, node: u64) -> u64 {
        self.ledger()
            .writes
            .get(&NodeId(node))
            .copied()
            .unwrap_or(0)
    }

    /// How many heartbeats a node sent.
    pub fn heartbeats(&self, node: u64) -> u64 {
        self.ledger()
            .heartbeats
            .get(&NodeId(node))
            .copied()
            .unwrap_or(0)
    }

    /// How many answers to heartbeats were sent to a node.
    pub fn answers(&self, node: u64) -> u64 {
        self.ledger()
            .answers
            .get(&NodeId(node))
            .copied()
            .unwrap_or(0)
    }

    /// The latest attempt with which a node asked for pre-votes.
    pub fn attempt_of(&self, node: u64) -> u64 {
        self.ledger().attempts[&NodeId(node)]
    }

    /// This node's shutdown has returned: from now on none of its threads may do anything.
    pub fn closed(&self, node: u64) {
        self.ledger().closed.insert(NodeId(node));
    }

    /// Two nodes can't hear each other.
    pub fn cut(&self, a: u64, b: u64) {
        let (a, b) = (NodeId(a), NodeId(b));
        self.ledger().cut.extend([(a, b), (b, a)]);
    }

    /// What this node sent before the threads started, which is now under way.
    pub fn held(&self, from: u64) -> Vec<Message> {
        let held = &mut self.ledger().held;
        held.extract_if(.., |message| message.from == NodeId(from))
            .collect()
    }

    /// A message that was under way arrives: the thread runs the receiver's handler.
    pub fn deliver(&self, outside: &mut Outside, message: Message) {
        if let Some(receiver) = self.run.engine(message.to) {
            receiver.receive(outside, message);
        }
    }

    /// What a node's disk holds.
    pub fn disk(&self, node: u64) -> HardState {
        self.ledger().disks[&NodeId(node)]
    }

    /// Registers a thread of the model: `body` runs after the gate opens.
    pub fn thread(&self, name: &'static str, body: impl FnOnce(&mut Outside) + Send + 'static) {
        self.run.thread(name, Box::new(body));
    }

    /// From here on every interleaving is explored; for models whose body spawns its threads itself.
    pub fn explore(&self) {
        self.run.open();
        loom::explore();
    }

    /// Registers what the last thread to finish checks.
    pub fn finally(&self, check: impl FnOnce() + Send + 'static) {
        self.run.finally(Box::new(check));
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message of a node that is not in the model.
pub fn message(from: u64, to: u64, term: u64, body: Body) -> Message {
    Message {
        from: NodeId(from),
        to: NodeId(to),
        term: Term(term),
        body,
    }
}

/// A heartbeat of a leader with an empty log.
pub fn heartbeat(from: u64, to: u64, term: u64) -> Message {
    let prev = Position::default();
    message(from, to, term, Body::AppendEntries { prev, commit: 0 })
}

/// A vote request of a candidate with an empty log.
pub fn request(from: u64, to: u64, term: u64) -> Message {
    let last = Position::default();
    message(from, to, term, Body::RequestVote { last })
}

impl Ledger {
    /// A node that was shut down has no threads left.
    fn check_closed(&self, node: NodeId, thread: &str) {
        let own = ["election", "leader"].contains(&thread);
        assert!(
            !own || !self.closed.contains(&node),
            "{thread} of {node} goes on after the node was shut down"
        );
    }

    /// Whether the machine still runs what was started at this boot.
    fn alive(&self, node: NodeId, boot: u64) -> bool {
        !self.crashed.contains(&node) && self.boots.get(&node).copied().unwrap_or(0) == boot
    }

    /// One vote per term: whoever answers for a voter answers the same.
    fn give_vote(&mut self, term: Term, voter: NodeId, candidate: NodeId) {
        let first = *self.votes.entry((term, voter)).or_insert(candidate);
        assert!(
            first == candidate,
            "{voter} gave two votes in {term}: to {first} and to {candidate}"
        );
    }

    /// The laws, at every section of every node.
    fn observe(&mut self, run: &Run, node: NodeId, view: &View) {
        let term = view.hard_state.term;
        let latest = self.terms.entry(node).or_insert(term);
        assert!(
            *latest <= term,
            "the term of {node} went back from {latest} to {term}"
        );
        *latest = term;
        let role = self.roles.insert(node, view.role);
        if view.role == RoleKind::Leader {
            let first = *self.leaders.entry(term).or_insert(node);
            assert!(first == node, "two leaders in {term}: {first} and {node}");
            if role != Some(RoleKind::Leader) {
                self.votes.insert((term, node), node);
                let votes = self
                    .votes
                    .iter()
                    .filter(|&(&(of, _), &candidate)| of == term && candidate == node)
                    .count();
                let majority = majority(view.members);
                assert!(
                    votes >= majority,
                    "{node} leads {term} with {votes} of the {majority} votes it needs"
                );
                run.reached_by_threads("a leader");
            }
        }
        if role == Some(RoleKind::Leader) && view.role != RoleKind::Leader {
            run.reached_by_threads("a leader steps down");
        }
    }

    /// The laws, whenever something is sent.
    fn send(&mut self, run: &Run, message: &Message) {
        let Message {
            from,
            to,
            term,
            ref body,
        } = *message;
        let disk = self.disks[&from];
        assert!(
            !self.failed.contains(&from),
            "{from} says something after its disk has failed"
        );
        match body {
            Body::PreVote { attempt, .. } => {
                self.attempts.insert(from, *attempt);
            }
            Body::AppendReply { .. } => *self.answers.entry(to).or_default() += 1,
            Body::VoteReply {
                answer: Answer::Granted,
            } => {
                let kept = disk.term > term || disk.term == term && disk.voted_for == Some(to);
                assert!(
                    kept,
                    "{from} tells {to} that it has its vote of {term}, and its disk holds {disk:?}"
                );
                self.give_vote(term, from, to);
            }
            Body::RequestVote { .. } => {
                let kept = disk.term > term || disk.term == term && disk.voted_for == Some(from);
                assert!(
                    kept,
                    "{from} asks for votes in {term}, and its disk holds {disk:?}"
                );
                self.give_vote(term, from, from);
                if !self.asked.insert((term, from, to)) {
                    run.reached_by_threads("asked again");
                }
            }
            Body::AppendEntries { .. } => {
                assert!(
                    self.leaders.get(&term) == Some(&from),
                    "{from} sends a heartbeat of {term}, which it never led"
                );
                *self.heartbeats.entry(from).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Watches the sections of one node.
struct Watch {
    node: NodeId,
    boot: u64,
    world: World,
}

impl Observer<Shared> for Watch {
    fn observe(
        &self,
        thread: &'static str,
        section: &'static str,
        step: Step,
        state: Option<&Shared>,
    ) {
        if thread == GATE {
            return;
        }
        let view = state.map(View::of);
        let run = &self.world.run;
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
        if let Some(view) = &view
            && ledger.alive(self.node, self.boot)
        {
            ledger.observe(run, self.node, view);
        }
    }
}

/// A disk whose writes the checker sees as one step each, and which a crash cuts off.
struct ModelDisk {
    node: NodeId,
    boot: u64,
    failing: bool,
    world: World,
    machine: Machine,
}

impl Storage for ModelDisk {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        Ok(Stored::new(self.world.ledger().disks[&self.node]))
    }

    fn write(&mut self, outside: &Outside, batch: &Batch) -> Result<(), StorageError> {
        let _machine = self.machine.lock();
        let mut ledger = self.world.ledger();
        if !ledger.alive(self.node, self.boot) {
            return Err(StorageError::new("the machine has crashed"));
        }
        let (node, new) = (self.node, batch.hard_state);
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
            hard_state: new,
        });
        let old = ledger.disks.insert(node, new).unwrap_or_default();
        assert!(
            new.term > old.term || new == old || new.term == old.term && old.voted_for.is_none(),
            "the disk of {node} went back from {old:?} to {new:?}"
        );
        Ok(())
    }
}

/// What a crash takes down at once: the disk's and the network's end of one machine. Visible to the checker in models that ask for it,
/// so that a crash can come between a write and a message.
#[derive(Clone)]
pub struct Machine(pub(crate) Option<Arc<loom::sync::Mutex<()>>>);

impl Machine {
    pub(crate) fn lock(&self) -> Option<loom::sync::MutexGuard<'_, ()>> {
        let machine = self.0.as_ref()?;
        Some(machine.lock().expect("loom's locks do not poison"))
    }
}

struct ModelWire {
    node: NodeId,
    boot: u64,
    world: World,
    kind: Wire,
    machine: Machine,
}

impl Transport for ModelWire {
    fn start(&self, _: Inbox) -> Result<(), TransportError> {
        Ok(())
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
