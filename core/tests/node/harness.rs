//! One node whose every edge is in the test's hand: its clock, its disk, its network, and what its threads do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use biglock::lock::{Monitor, Observer, Step};
use biglock::node::{Engine, Shared};
use biglock::rules::{
    Appended, At, Beat, Body, Chunk, Entry, Members, Payload, Position, Raft, Sessions,
    SnapshotHead,
};
use biglock::{
    Applied, Batch, Clock, Config, HardState, Inbox, Leadership, MemoryStorage, Message, Node,
    NodeId, Outside, RestoreError, StateMachine, Storage, StorageError, Stored, Term, Time,
    Transport, TransportError, WaitError, codec,
};
use bytes::Bytes;

/// How long a test waits for an event before it says that it does not come. Never part of what is tested.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` in a thread of its own, and gives what it returns; panics if it does not end.
pub fn ends<R: Send + 'static>(what: &str, body: impl FnOnce() -> R + Send + 'static) -> R {
    begin(what, body).result()
}

/// Starts `body` in a thread of its own.
pub fn begin<R: Send + 'static>(what: &str, body: impl FnOnce() -> R + Send + 'static) -> Begun<R> {
    let (sender, result) = channel();
    let run = move || drop(sender.send(body()));
    thread::Builder::new()
        .name(what.into())
        .spawn(run)
        .expect("a thread");
    Begun {
        what: what.into(),
        result,
    }
}

/// Something that goes on in another thread.
pub struct Begun<R> {
    what: String,
    result: Receiver<R>,
}

impl<R> Begun<R> {
    pub fn result(self) -> R {
        let result = self.result.recv_timeout(PATIENCE);
        result.unwrap_or_else(|e| panic!("\"{}\" does not end: {e}", self.what))
    }

    pub fn has_ended(&self) -> bool {
        self.result.try_recv().is_ok()
    }

    /// What it returns, while this goes on: `step` is done again and again until there is something, but never faster than others can follow.
    pub fn result_while(self, mut step: impl FnMut()) -> R {
        let pause = Duration::from_millis(5);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            match self.result.recv_timeout(pause) {
                Ok(result) => return result,
                Err(_) => step(),
            }
        }
        self.result()
    }
}

/// Who leads, once this node knows it; within a second of virtual time.
pub fn leader(node: &Arc<Node>) -> Result<Leadership, WaitError> {
    let node = node.clone();
    let wait = move || node.wait_for_leader(Duration::from_secs(1));
    ends("wait for a leader", wait)
}

/// What comes after `seen`.
pub fn change(node: &Arc<Node>, seen: Leadership) -> Result<Leadership, WaitError> {
    let node = node.clone();
    ends("wait for a change", move || {
        node.wait_for_change(seen, None)
    })
}

/// A step that a thread made.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub thread: &'static str,
    pub section: &'static str,
    pub step: Step,
    /// When the node campaigns, as of then.
    pub deadline: Option<Time>,
}

struct Notes(Sender<Event>);

impl Observer<Shared> for Notes {
    fn observe(
        &self,
        thread: &'static str,
        section: &'static str,
        step: Step,
        state: Option<&Shared>,
    ) {
        let deadline = state.and_then(|shared| shared.raft.election_deadline());
        let _ = self.0.send(Event {
            thread,
            section,
            step,
            deadline,
        });
    }
}

/// Something to do once, in whichever thread comes first.
pub type Once = Box<dyn FnOnce() + Send>;

/// A network that ends in the test's hand.
#[derive(Clone)]
pub struct Wire {
    inbox: Arc<Mutex<Option<Inbox>>>,
    sent: Sender<Message>,
    pub stops: Arc<AtomicUsize>,
    /// Done in the thread that sends, before it does.
    pub on_send: Arc<Mutex<Option<Once>>>,
    /// Done when it is stopped.
    pub on_stop: Arc<Mutex<Option<Once>>>,
}

impl Wire {
    pub fn new() -> (Wire, Receiver<Message>) {
        let (sent, messages) = channel();
        let wire = Wire {
            inbox: Arc::default(),
            sent,
            stops: Arc::default(),
            on_send: Arc::default(),
            on_stop: Arc::default(),
        };
        (wire, messages)
    }

    /// The node's own inbox, for as long as the transport has it.
    pub fn inbox(&self) -> Inbox {
        self.inbox
            .lock()
            .unwrap()
            .clone()
            .expect("the transport was started")
    }
}

impl Transport for Wire {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        *self.inbox.lock().unwrap() = Some(inbox);
        Ok(())
    }

    fn send(&self, _: &Outside, messages: &[Message]) {
        let first = self.on_send.lock().unwrap().take();
        if let Some(first) = first {
            first();
        }
        for message in messages {
            let _ = self.sent.send(message.clone());
        }
    }

    fn max_payload(&self) -> usize {
        64 << 10
    }

    fn stop(&self, _: &Outside) {
        self.stops.fetch_add(1, Ordering::Relaxed);
        let last = self.on_stop.lock().unwrap().take();
        if let Some(last) = last {
            last();
        }
    }
}

/// What a [`Gate`] does next.
pub enum Word {
    Done,
    Fail,
    Panic,
}

/// A disk whose every write waits for the test's word.
pub struct Gate {
    stored: HardState,
    began: Sender<HardState>,
    go: Receiver<Word>,
}

impl Gate {
    /// The disk, what it is asked to write, and the way to let it go on. Without a way any more, it writes at once.
    pub fn new() -> (Gate, Receiver<HardState>, Sender<Word>) {
        let (began, asked) = channel();
        let (word, go) = channel();
        let stored = HardState::default();
        (Gate { stored, began, go }, asked, word)
    }
}

impl Storage for Gate {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        Ok(Stored::new(self.stored))
    }

    fn write(&mut self, _: &Outside, batch: Batch) -> Result<(), StorageError> {
        if batch.founders.is_some() {
            // The node does not run yet.
            return Ok(());
        }
        let _ = self.began.send(batch.hard_state);
        match self.go.recv_timeout(PATIENCE) {
            Ok(Word::Done) | Err(_) => {
                self.stored = batch.hard_state;
                Ok(())
            }
            Ok(Word::Fail) => Err(StorageError::new("the disk is on fire")),
            Ok(Word::Panic) => panic!("the disk's own code is broken"),
        }
    }
}

/// A state machine that keeps every command, and replies with the command itself.
pub struct Keeper {
    kept: Kept,
    /// Told before each command, and waited for.
    gate: Option<(Sender<Vec<u8>>, Receiver<Word>)>,
    /// Told of each snapshot.
    pub snapshots: Option<Sender<usize>>,
}

/// What a [`Keeper`] has kept.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

impl Kept {
    pub fn all(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

impl Keeper {
    pub fn new() -> (Keeper, Kept) {
        let kept = Kept::default();
        let keeper = Keeper {
            kept: kept.clone(),
            gate: None,
            snapshots: None,
        };
        (keeper, kept)
    }

    /// One whose every command waits for the test's word. Without a way any more, it goes on.
    pub fn gated() -> (Keeper, Kept, Receiver<Vec<u8>>, Sender<Word>) {
        let (mut keeper, kept) = Keeper::new();
        let (began, asked) = channel();
        let (word, go) = channel();
        keeper.gate = Some((began, go));
        (keeper, kept, asked, word)
    }
}

impl StateMachine for Keeper {
    fn apply(&mut self, _: Applied, command: &[u8]) -> Bytes {
        if let Some((began, go)) = &self.gate {
            let _ = began.send(command.to_vec());
            if matches!(go.recv_timeout(PATIENCE), Ok(Word::Panic)) {
                panic!("the user's own code is broken");
            }
        }
        self.kept.0.lock().unwrap().push(command.to_vec());
        Bytes::copy_from_slice(command)
    }

    fn snapshot(&mut self) -> Bytes {
        let all = self.kept.all();
        if let Some(snapshots) = &self.snapshots {
            let _ = snapshots.send(all.len());
        }
        codec::encode(&all).into()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let all = codec::decode(snapshot);
        let all = all.map_err(|e| RestoreError::new("these are no commands").caused_by(e))?;
        *self.kept.0.lock().unwrap() = all;
        Ok(())
    }
}

/// The bytes of a snapshot with this state, and no sessions.
pub fn snapshot_of(state: &[u8]) -> Bytes {
    let sessions = codec::encode(&Sessions::default());
    let length = (sessions.len() as u64).to_be_bytes();
    [&length[..], &sessions, state].concat().into()
}

/// InstallSnapshot, in one piece: of a [`Keeper`] that has kept nothing, after this entry of a cluster of three.
pub fn empty_snapshot(index: u64, term: u64) -> Body {
    let last = Position {
        index,
        term: Term(term),
    };
    let bytes = snapshot_of(&codec::encode(&Vec::<Vec<u8>>::new()));
    let head = SnapshotHead {
        last,
        time: Time::ZERO,
        members: Members::voting((1..=3).map(NodeId)),
        length: bytes.len() as u64,
    };
    let chunk = Chunk {
        last,
        head: Some(head),
        offset: 0,
        bytes,
    };
    let beat = Beat::default();
    Body::InstallSnapshot { chunk, beat }
}

/// A disk that outlives its node.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<MemoryStorage>>);

impl Storage for Disk {
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError> {
        self.0.lock().unwrap().load(outside)
    }

    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError> {
        self.0.lock().unwrap().write(outside, batch)
    }
}

/// A node, and both ends of everything.
pub struct Bench {
    /// Taken when it is shut down.
    pub node: Arc<Node>,
    pub wire: Wire,
    pub sent: Receiver<Message>,
    pub events: Receiver<Event>,
}

/// Node 1 of `n`, with a disk that writes at once and keeps nothing.
pub fn bench(n: u64) -> Bench {
    bench_with(n, MemoryStorage::new(), |_| {})
}

pub fn bench_with(
    n: u64,
    storage: impl Storage + 'static,
    change: impl FnOnce(&mut Config),
) -> Bench {
    bench_of(n, storage, (), change)
}

pub fn bench_of(
    n: u64,
    mut storage: impl Storage + 'static,
    machine: impl StateMachine + 'static,
    change: impl FnOnce(&mut Config),
) -> Bench {
    let mut config = config(1, n);
    change(&mut config);
    let settings = config.validate().expect("a valid configuration");
    // Near the end of the range: later draws come closer.
    let random = 149_000_000;
    let at = At {
        now: Time::ZERO,
        random,
    };
    let stored = storage.load(&Outside::claim("test"));
    let raft = Raft::new(at, settings, stored.expect("it can be read"));
    let shared = Shared::new(raft, Box::new(storage), Box::new(machine), 7);
    let (wire, sent) = Wire::new();
    let (notes, events) = channel();
    let monitor = Monitor::with_clock(shared, config.clock).observed_by(Arc::new(Notes(notes)));
    let engine = Engine::new(monitor, config.id, Arc::new(wire.clone()));
    let node = Arc::new(Node::run(Arc::new(engine)).expect("it starts"));
    Bench {
        node,
        wire,
        sent,
        events,
    }
}

/// A bench of three, without pre-vote and check-quorum, that leads in term 1 and has committed its no-op.
pub fn leader_of_three(
    storage: impl Storage + 'static,
    machine: impl StateMachine + 'static,
) -> Bench {
    let bench = bench_of(3, storage, machine, |config| {
        config.pre_vote = false;
        config.check_quorum = false;
    });
    bench.elect();
    // By a majority, whether or not its own is durable by now.
    for id in [2, 3] {
        bench.deliver(id, 1, matched(1));
    }
    bench
}

/// The configuration of node `id` of `n`, in virtual time: elections after 150 to 300 ms, heartbeats every 30 ms.
pub fn config(id: u64, n: u64) -> Config {
    let mut config = Config::new(id, 1..=n);
    config.clock = Clock::manual();
    config.seed = Some(id);
    config
}

/// Lets it be `millis` after the start, for this node.
pub fn tick(node: &Node, millis: u64) {
    let to = Time::from_millis(millis);
    node.engine()
        .monitor()
        .tick(&mut Outside::claim("time"), to);
}

impl Bench {
    pub fn tick(&self, millis: u64) {
        tick(&self.node, millis);
    }

    /// The node gets a message, in this thread, which does all that comes of it.
    pub fn deliver(&self, from: u64, term: u64, body: Body) {
        deliver(&self.wire.inbox(), from, term, body);
    }

    /// Waits until a thread has made such a step.
    pub fn until(&self, thread: &str, fits: impl Fn(Step) -> bool) -> Event {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|e| panic!("{thread} does not do it: {e}"));
            if event.thread == thread && fits(event.step) {
                return event;
            }
        }
    }

    /// Waits until a caller has left this section.
    pub fn until_left(&self, section: &'static str) {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|e| panic!("nobody does \"{section}\": {e}"));
            if event.section == section && matches!(event.step, Step::Left(_)) {
                return;
            }
        }
    }

    /// Waits until a thread sleeps on the condvar until `what`.
    pub fn until_waits(&self, thread: &str, what: &'static str) {
        self.until(thread, |step| step == Step::Waits(what));
    }

    /// The next message that leaves.
    pub fn next_sent(&self) -> Message {
        self.sent.recv_timeout(PATIENCE).expect("a message leaves")
    }

    /// Makes node 1 of 3 the leader of term 1, without pre-vote; its first heartbeats have left.
    pub fn elect(&self) {
        self.tick(300);
        let asked = self.next_sent();
        assert_eq!((asked.to.0, asked.body), (2, request_vote()));
        self.deliver(2, 1, granted());
        let left: Vec<Message> = (0..3).map(|_| self.next_sent()).collect();
        assert_eq!((left[0].to.0, &left[0].body), (3, &request_vote()));
        for (message, to) in left[1..].iter().zip([2, 3]) {
            let Body::AppendEntries { entries, .. } = &message.body else {
                panic!("{message} is no heartbeat");
            };
            let begins = entries[0].payload == Payload::Noop;
            assert_eq!((message.to.0, entries.len(), begins), (to, 1, true));
        }
    }

    /// Shuts the node down, from here.
    pub fn shutdown(self) -> Result<(), biglock::Stopped> {
        let node = Arc::into_inner(self.node).expect("nobody else has it");
        ends("shutdown", move || node.shutdown())
    }
}

pub fn deliver(inbox: &Inbox, from: u64, term: u64, body: Body) {
    let message = Message {
        from: NodeId(from),
        to: NodeId(1),
        term: Term(term),
        body,
    };
    inbox.deliver(&mut Outside::claim("receiver"), message);
}

pub fn request_vote() -> Body {
    Body::RequestVote {
        last: Position::default(),
        handed_over: false,
    }
}

pub fn heartbeat() -> Body {
    Body::AppendEntries {
        prev: Position::default(),
        entries: Default::default(),
        commit: 0,
        beat: Beat::default(),
    }
}

/// The answer of a follower whose log equals the leader's up to there.
pub fn matched(index: u64) -> Body {
    Body::AppendReply {
        beat: Beat::default(),
        answer: Appended::Matched(index),
    }
}

/// AppendEntries with entries of these terms after this one.
pub fn append(index: u64, term: u64, new: &[u64], commit: u64) -> Body {
    let entry = |&term: &u64| Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: Payload::Noop,
    };
    Body::AppendEntries {
        prev: Position {
            index,
            term: Term(term),
        },
        entries: new.iter().map(entry).collect(),
        commit,
        beat: Beat::default(),
    }
}

pub fn granted() -> Body {
    Body::VoteReply {
        answer: biglock::rules::Answer::Granted,
    }
}
