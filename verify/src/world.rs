//! What a model is made of: nodes, disks, a network and threads; and the laws that hold in every execution.
//!
//! The nodes are the shipped [`Engine`]s. The world around them is ours: its bookkeeping is not visible to the checker (it is behind
//! std's locks, which are never waited for: loom runs one thread at a time), so it adds no interleavings and hides none.

mod edges;
mod guard;
mod ledger;

pub use ledger::refine_nothing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biglock::lock::{Monitor, Outside};
use biglock::node::{Decided, Engine, Shared, Tell};
use biglock::rules::{Answer, Appended, At, Beat, Body, Chunk, Raft, Sessions, SnapshotHead};
use biglock::{
    Clock, Config, Entry, HardState, Members, Message, NodeId, Payload, Position, ProposeError,
    ReadError, StateMachine, Stored, Term, Time, codec,
};
use bytes::Bytes;

pub use self::edges::Machine;
use self::edges::{ModelDisk, ModelMachine, ModelWire, Watch};
use self::guard::JudgedMachine;
use self::ledger::Ledger;
use crate::checker;
use crate::harness::Run;
use crate::record::Event;
use crate::spec::Log;

/// The election timeout of every model: a fixed one, since time passes only when a thread makes it.
pub const TIMEOUT: Duration = Duration::from_millis(100);
/// The moment at which the first deadline passes.
pub const DEADLINE: Time = Time::from_millis(100);
/// Half a deadline: candidates ask again.
pub const ASK_AGAIN: Time = Time::from_millis(150);
/// The moment at which a campaign that began at [`DEADLINE`] has had its time.
pub const NEXT_DEADLINE: Time = Time::from_millis(200);

/// The largest message of a model's wire.
const MAX_PAYLOAD: usize = 4096;

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
    /// Node 2, which is not in the model, answers each request at once, as a follower whose disk takes no time; the thread that sends runs the
    /// handler of its answer. Whoever else is asked is silent.
    Answered,
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
    disk: Stored,
    failing: bool,
    instant_disk: bool,
    instant_state: bool,
    keep_entries: u64,
    started: Time,
    machine: Option<Box<dyn StateMachine>>,
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
            disk: Stored::default(),
            failing: false,
            instant_disk: false,
            instant_state: false,
            keep_entries: 0,
            started: Time::ZERO,
            machine: None,
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

    /// With this term and vote on its disk.
    pub fn hard_state(self, term: u64, voted_for: Option<u64>) -> NodeSpec {
        let hard_state = HardState {
            term: Term(term),
            voted_for: voted_for.map(NodeId),
        };
        self.disk(Stored::new(hard_state))
    }

    /// With this term, no vote in it, and these entries on its disk.
    pub fn stored(self, term: u64, entries: Vec<Entry>) -> NodeSpec {
        let hard_state = HardState {
            term: Term(term),
            voted_for: None,
        };
        self.disk(Stored::new(hard_state).with_entries(entries))
    }

    /// With this on its disk.
    pub fn disk(mut self, stored: Stored) -> NodeSpec {
        self.disk = stored;
        self
    }

    /// With a disk and a state machine that take no time: whoever has something to write or to apply does it. Else entries are written by
    /// the disk thread and applied by the apply thread, if the model has them.
    pub fn instant(self) -> NodeSpec {
        NodeSpec {
            instant_state: true,
            ..self.instant_disk()
        }
    }

    /// With a disk that takes no time, and a state machine that does.
    pub fn instant_disk(mut self) -> NodeSpec {
        self.instant_disk = true;
        self
    }

    /// With this state machine, and not one of the models' own.
    pub fn machine(mut self, machine: impl StateMachine + 'static) -> NodeSpec {
        self.machine = Some(Box::new(machine));
        self
    }

    /// With this many entries kept in memory behind a snapshot.
    pub fn keep_entries(mut self, many: u64) -> NodeSpec {
        self.keep_entries = many;
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
        config.keep_entries = spec.keep_entries;
        let mut settings = config.validate().expect("models have valid configurations");
        settings.max_payload = MAX_PAYLOAD;
        let id = config.id;
        let at = At {
            now: spec.started,
            random: 0,
        };
        let boot = {
            let mut ledger = self.ledger();
            ledger.exist(spec.disk.log.iter());
            ledger.disks.insert(id, spec.disk.clone());
            ledger.boots.get(&id).copied().unwrap_or(0)
        };
        let raft = Raft::new(at, settings, spec.disk);
        self.ledger().refine(id, &raft, false);
        let disk = ModelDisk {
            node: id,
            boot,
            failing: spec.failing,
            instant: spec.instant_disk,
            world: self.clone(),
            machine: self.run.machine(id),
        };
        let machine: Box<dyn StateMachine> = match spec.machine {
            Some(machine) => Box::new(JudgedMachine::new(id, self, machine)),
            None => Box::new(ModelMachine {
                node: id,
                boot,
                instant: spec.instant_state,
                world: self.clone(),
                done: Vec::new(),
            }),
        };
        let shared = Shared::new(raft, Box::new(disk), machine, spec.id);
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
        let (of, by, to) = (Term(term), NodeId(voter), NodeId(candidate));
        {
            let mut ledger = self.ledger();
            ledger.give_vote(of, by, to);
            ledger.spec.assume_vote(of, by, to);
        }
        let answer = Answer::Granted;
        message(voter, candidate, term, Body::VoteReply { answer })
    }

    /// A node that is not in the model says this: the specification takes it for true.
    pub fn said(&self, message: Message) -> Message {
        if self.run.engine(message.from).is_none() {
            self.ledger().spec.assume(&message);
        }
        message
    }

    /// A line in the picture.
    pub fn note(&self, thread: &'static str, text: &'static str) {
        self.run.record(Event::Note { thread, text });
    }

    /// The machine of this node crashes: from now on nothing leaves it and nothing reaches its disk. Returns what the disk holds.
    pub fn crash(&self, node: u64) -> Stored {
        let id = NodeId(node);
        self.run.arrived();
        let machine = self.run.machine(id);
        let _machine = machine.lock();
        let mut ledger = self.ledger();
        ledger.crashed.insert(id);
        ledger.disks[&id].clone()
    }

    /// The machine of this node starts again: what it starts is a new node, which reads the disk.
    pub fn restart(&self, spec: NodeSpec) -> Arc<Engine> {
        let id = NodeId(spec.id);
        let mut ledger = self.ledger();
        let disk = ledger.disks[&id].clone();
        // What it said binds it, and all that it said was on the disk; so it may come back with less than it had in memory.
        ledger.terms.remove(&id);
        ledger.roles.remove(&id);
        ledger.restarted(id);
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
            if self.run.engine(NodeId(id)).is_none() {
                ledger
                    .spec
                    .assume_vote(Term(term), NodeId(id), NodeId(leader));
            }
        }
        let none_known = Log::default();
        ledger
            .spec
            .assume_leader(Term(term), NodeId(leader), &none_known, 0);
        ledger.leaders.insert(Term(term), NodeId(leader));
    }

    /// To whom a node said that it gave its vote of `term`.
    pub fn vote_of(&self, voter: u64, term: u64) -> Option<NodeId> {
        self.ledger()
            .votes
            .get(&(Term(term), NodeId(voter)))
            .copied()
    }

    /// Up to which entry a node has told the leader of `term` that it has its log.
    pub fn told_up_to(&self, node: u64, term: u64) -> u64 {
        let acked = &self.ledger().acked;
        acked.get(&(Term(term), NodeId(node))).copied().unwrap_or(0)
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

    /// All can hear each other again.
    pub fn mend(&self) {
        self.ledger().cut.clear();
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
    pub fn disk(&self, node: u64) -> Stored {
        self.ledger().disks[&NodeId(node)].clone()
    }

    /// A leader that is not in the model, and was [elected](World::elected), sends entries: the first follows `prev`.
    pub fn append(
        &self,
        (from, to, term): (u64, u64, u64),
        prev: Position,
        entries: Vec<Entry>,
        commit: u64,
    ) -> Message {
        self.ledger().send_entries(Term(term), prev, &entries);
        let beat = Beat::default();
        let body = Body::AppendEntries {
            prev,
            entries: entries.into(),
            commit,
            beat,
        };
        self.said(message(from, to, term, body))
    }

    /// A leader that is not in the model, and was [elected](World::elected), sends a snapshot in one piece: of the state after these commands,
    /// each with its index.
    pub fn snapshot(
        &self,
        (from, to, term): (u64, u64, u64),
        last: Position,
        commands: &[(u64, &'static str)],
    ) -> Message {
        let bytes = |&(index, command): &(u64, &'static str)| {
            (index, Bytes::from_static(command.as_bytes()))
        };
        let state: Vec<(u64, Bytes)> = commands.iter().map(bytes).collect();
        let sessions = codec::encode(&Sessions::default());
        let mut data = (sessions.len() as u64).to_be_bytes().to_vec();
        data.extend(sessions);
        data.extend(codec::encode(&state));
        let head = SnapshotHead {
            last,
            time: Time::ZERO,
            members: Members::voting((1..=3).map(NodeId)),
            length: data.len() as u64,
        };
        self.ledger().send_entries(Term(term), last, &[]);
        let chunk = Chunk {
            last,
            head: Some(head),
            offset: 0,
            bytes: data.into(),
        };
        let beat = Beat::default();
        self.said(message(
            from,
            to,
            term,
            Body::InstallSnapshot { chunk, beat },
        ))
    }

    /// A node that is not in the model says that it has what the leader of `term` has, up to `index`: it is in the ledger, so that leader
    /// may count it.
    pub fn acknowledged(&self, from: u64, to: u64, term: u64, index: u64) -> Message {
        self.ledger().acknowledge(Term(term), NodeId(from), index);
        let (beat, answer) = (Beat::default(), Appended::Matched(index));
        self.said(message(from, to, term, Body::AppendReply { beat, answer }))
    }

    /// Proposes a command, of which there is no other. What its proposer is told is judged, and [`World::all_told`] says that it is told.
    ///
    /// # Errors
    /// If it is refused: then nobody is told.
    pub fn propose(
        &self,
        node: &Engine,
        outside: &mut Outside,
        command: &'static str,
    ) -> Result<(), ProposeError> {
        let there = self.clone();
        self.propose_then(
            node,
            outside,
            command,
            Tell::call(move |_, what| there.decided(command, &what)),
        )
    }

    /// The same for one who waits; it calls [`World::decided`].
    ///
    /// # Errors
    /// If it is refused: then nobody is told.
    pub fn propose_then(
        &self,
        node: &Engine,
        outside: &mut Outside,
        command: &'static str,
        who: Tell<Decided>,
    ) -> Result<(), ProposeError> {
        let bytes = Bytes::from_static(command.as_bytes());
        self.ledger().proposed(bytes.clone());
        let payload = Payload::Command(bytes.clone());
        let result = node.propose(outside, [(payload, who)]).1;
        if result.is_err() {
            self.ledger().refused(&bytes);
        }
        result
    }

    /// The proposer of a command hears what became of it.
    pub fn decided(&self, command: &'static str, what: &Decided) {
        let command = Bytes::from_static(command.as_bytes());
        self.ledger().decided(&self.run, &command, what);
    }

    /// Nobody waits for ever: whoever proposed something was told what became of it.
    pub fn all_told(&self) {
        let undecided = &self.ledger().undecided;
        assert!(
            undecided.is_empty(),
            "nobody was told what became of {undecided:?}"
        );
    }

    /// A leader that is not in the model has committed everything up to `index`: no read that begins from now on may miss it.
    pub fn committed_elsewhere(&self, index: u64) {
        self.ledger().fresh = index;
    }

    /// Begins a read and waits for it. If it is served, nothing may be missing that was committed when it began.
    ///
    /// # Errors
    /// If it is not served.
    pub fn read(&self, node: &Engine, outside: &mut Outside) -> Result<(), ReadError> {
        let (who, awaited) = Tell::promise();
        let needed = self.ledger().known_committed();
        node.read(outside, who)?;
        awaited.wait(outside).expect("every read is answered")?;
        let applied = node.status(outside).applied;
        assert!(
            applied >= needed,
            "a read was served after entry {applied}, and {needed} was committed when it began"
        );
        Ok(())
    }

    /// How often a node ran this command.
    pub fn ran(&self, node: u64, command: &'static str) -> u64 {
        let command = Bytes::from_static(command.as_bytes());
        let ran = &self.ledger().ran;
        ran.get(&(NodeId(node), command)).copied().unwrap_or(0)
    }

    /// Registers a thread of the model: `body` runs after the gate opens.
    pub fn thread(&self, name: &'static str, body: impl FnOnce(&mut Outside) + Send + 'static) {
        self.run.thread(name, Box::new(body));
    }

    /// The threads that the body has spawned run, one after the other, until each of them waits. Before [`World::explore`].
    pub fn settle(&self) {
        self.run.open();
        checker::yield_now();
    }

    /// From here on every interleaving is explored; for models whose body spawns its threads itself.
    pub fn explore(&self) {
        self.run.open();
        checker::explore();
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
    let body = Body::AppendEntries {
        prev: Position::default(),
        entries: Default::default(),
        commit: 0,
        beat: Beat::default(),
    };
    message(from, to, term, body)
}

/// A vote request of a candidate with an empty log.
pub fn request(from: u64, to: u64, term: u64) -> Message {
    let last = Position::default();
    let handed_over = false;
    message(from, to, term, Body::RequestVote { last, handed_over })
}

/// An entry with a command.
pub fn command(term: u64, command: &'static str) -> Entry {
    Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: Payload::Command(Bytes::from_static(command.as_bytes())),
    }
}

/// The no-op with which a term begins.
pub fn noop(term: u64) -> Entry {
    Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: Payload::Noop,
    }
}

/// The entry of this term at this index.
pub fn at(term: u64, index: u64) -> Position {
    Position {
        term: Term(term),
        index,
    }
}
