//! What a node asks of those around it, and tells them: the transport, the log, whoever looks.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use biglock::kv::{Command, KvStore};
use biglock::node::{Activity, MIN_PAYLOAD, ThreadActivity};
use biglock::rules::{Body, Change, Entry, Members, Payload, Position};
use biglock::{
    Clock, Config, ConfigError, Inbox, LocalNetwork, MemoryStorage, Message, Node, NodeId, Outside,
    SessionRequest, StartError, Stopped, Storage, Term, Time, Transport, TransportError, WaitError,
    codec,
};

use crate::harness::{
    Disk, Once, PATIENCE, Wire, append, begin, bench, bench_of, config, deliver, ends, granted,
    heartbeat, leader, leader_of_three, matched, tick,
};

/// A network that goes nowhere, whose messages are this long, and which says who it is told are the members.
struct Deaf {
    max_payload: usize,
    members: Sender<Vec<u64>>,
}

impl Deaf {
    fn new(max_payload: usize) -> (Deaf, Receiver<Vec<u64>>) {
        let (members, told) = channel();
        let deaf = Deaf {
            max_payload,
            members,
        };
        (deaf, told)
    }
}

impl Transport for Deaf {
    fn start(&self, _: Inbox) -> Result<(), TransportError> {
        Ok(())
    }

    fn send(&self, _: &Outside, _: &[Message]) {}

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    fn members_changed(&self, _: &Outside, members: &Members) {
        let _ = self.members.send(members.ids().map(|id| id.0).collect());
    }

    fn stop(&self, _: &Outside) {}
}

#[test]
fn messages_must_have_room_for_a_list_of_members() {
    let start = |max_payload| {
        let (deaf, _told) = Deaf::new(max_payload);
        Node::start(Config::new(1, [1, 2, 3]), MemoryStorage::new(), deaf, ())
    };
    let max_payload = MIN_PAYLOAD - 1;
    match start(max_payload) {
        Err(StartError::Config(error)) => {
            assert_eq!(error, ConfigError::MessagesTooSmall { max_payload });
        }
        other => panic!("it starts, or says {:?}", other.err()),
    }
    let node = start(MIN_PAYLOAD).expect("that much is enough");
    ends("shutdown", move || node.shutdown()).unwrap();
}

/// Whoever keeps a transport shares it: what the node says to it goes to the one behind.
#[test]
fn a_transport_and_a_storage_may_be_behind_a_pointer() {
    let (deaf, _told) = Deaf::new(7);
    let storage = || -> Box<dyn Storage> { Box::new(MemoryStorage::new()) };
    let refused = Node::start(config(1, 3), storage(), Arc::new(deaf), ());
    let max_payload = 7;
    assert!(matches!(
        refused.err(),
        Some(StartError::Config(ConfigError::MessagesTooSmall { max_payload: said })) if said == max_payload
    ));

    let (wire, _sent) = Wire::new();
    let wire = Arc::new(wire);
    let disk = Disk::default();
    let boxed: Box<dyn Storage> = Box::new(disk.clone());
    let node = Node::start(config(1, 3), boxed, wire.clone(), ()).expect("it starts");
    deliver(&wire.inbox(), 2, 5, heartbeat());
    ends("shutdown", move || node.shutdown()).unwrap();
    assert_eq!(wire.stops.load(Ordering::Relaxed), 1);
    // The next one finds what this one left.
    let (wire, _sent) = Wire::new();
    let boxed: Box<dyn Storage> = Box::new(disk);
    let node = Node::start(config(1, 3), boxed, Arc::new(wire), ()).expect("it starts");
    assert_eq!(node.status().term.0, 5);
    ends("shutdown", move || node.shutdown()).unwrap();
    assert!(storage().is_instant());
    assert!(!Box::new(Disk::default()).is_instant());
}

/// The thread that receives is the transport's own. If it is lost, the node is deaf: so it stops, and does not look alive.
#[test]
fn a_receiver_that_is_lost_stops_the_node() {
    let bench = bench(3);
    let node = bench.node.clone();
    let waiting = begin("wait", move || node.wait_for_leader(PATIENCE));
    bench.until_waits("caller", "a change of leadership");
    let inbox = bench.wire.inbox();
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _inbox = inbox;
        panic!("the receiver's own code is broken");
    }));
    assert!(broken.is_err());
    let ended = waiting.result();
    let thread = "receiver";
    assert!(
        matches!(ended, Err(WaitError::Stopped(Stopped::Panicked { thread: lost })) if lost == thread),
        "{ended:?}"
    );
}

/// Once for the members with which it begins, and once for each change, as soon as the change is in the log.
#[test]
fn the_transport_is_told_of_the_members() {
    let (deaf, told) = Deaf::new(MIN_PAYLOAD);
    let node = Node::start(config(1, 1), MemoryStorage::new(), deaf, ()).unwrap();
    let node = Arc::new(node);
    tick(&node, 300);
    leader(&node).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(vec![1]));
    for (id, all) in [(2, vec![1, 2]), (3, vec![1, 2, 3])] {
        let (id, address) = (NodeId(id), String::new());
        let (there, change) = (node.clone(), Change::AddLearner { id, address });
        ends("add", move || there.change_members(&change)).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(all));
    }
    ends("shutdown", move || node.shutdown()).unwrap();
    assert!(told.try_recv().is_err(), "nothing is told twice");
}

/// Two threads may come with a change each, the later one first: the earlier one is then told no more.
#[test]
fn the_transport_is_told_of_the_members_in_their_order() {
    let (deaf, told) = Deaf::new(MIN_PAYLOAD);
    let node = Node::start(config(1, 3), MemoryStorage::new(), deaf, ()).unwrap();
    let node = Arc::new(node);
    let grow = |node: &Node, index: u64, ids: u64| {
        let entry = Entry {
            term: Term(1),
            time: Time::ZERO,
            payload: Payload::Members(Members::voting((1..=ids).map(NodeId))),
        };
        let Body::AppendEntries { commit, beat, .. } = heartbeat() else {
            unreachable!("it is one")
        };
        let prev = Position {
            term: Term(index.min(2) - 1),
            index: index - 1,
        };
        let body = Body::AppendEntries {
            prev,
            entries: [entry].into_iter().collect(),
            commit,
            beat,
        };
        let message = Message {
            from: NodeId(2),
            to: NodeId(1),
            term: Term(1),
            body,
        };
        node.engine().receive(&mut Outside::claim("test"), message);
    };
    // It halts where it tells the log who leads, before it tells the transport.
    let (halts, halted) = channel();
    let (go, gone) = channel::<()>();
    let lines = Lines::default();
    *lines.1.lock().unwrap() = Some(Box::new(move || {
        halts.send(()).expect("the test listens");
        let _ = gone.recv_timeout(PATIENCE);
    }));
    let there = node.clone();
    let first = begin("the first change", move || {
        tracing::subscriber::with_default(lines, || grow(&there, 1, 4));
    });
    halted.recv_timeout(PATIENCE).expect("somebody leads");
    grow(&node, 2, 5);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(vec![1, 2, 3, 4, 5]));
    drop(go);
    first.result();
    assert!(
        told.try_recv().is_err(),
        "the transport is told of no earlier members after later ones"
    );
    ends("shutdown", move || node.shutdown()).unwrap();
}

/// With a disk and a state machine that take no time, one section may give something to write and something to apply: neither is forgotten.
#[test]
fn what_is_written_and_applied_at_once_is_both_done() {
    let bench = bench(3);
    bench.deliver(2, 1, append(0, 0, &[1], 0));
    bench.deliver(2, 1, append(1, 1, &[1], 1));
    let status = bench.node.status();
    assert_eq!((status.durable_log, status.applied), (2, 1));
    bench.deliver(2, 1, append(2, 1, &[], 2));
    assert_eq!(bench.node.status().applied, 2);
}

#[test]
fn whoever_looks_sees_what_each_thread_does() {
    let bench = bench(3);
    let node = bench.node.clone();
    let waiting = begin("wait", move || node.wait_for_leader(PATIENCE));
    bench.until_waits("caller", "a change of leadership");
    // It says so itself a moment later. And so sees whoever asks over the network.
    let (node, inbox) = (bench.node.clone(), bench.wire.inbox());
    ends("look", move || {
        let waits = |one: &ThreadActivity| {
            let waits = Activity::WaitsFor("a change of leadership");
            one.thread == "caller" && one.activity == waits
        };
        while !(node.threads().iter().any(waits) && inbox.threads().iter().any(waits)) {
            std::thread::yield_now();
        }
    });
    bench.deliver(2, 1, heartbeat());
    waiting.result().unwrap();
}

#[test]
fn several_are_proposed_at_once() {
    let bench = leader_of_three(MemoryStorage::new(), KvStore::new());
    while bench.sent.try_recv().is_ok() {}
    let put = |key: &str| codec::encode(&Command::put(key, "x"));
    let (proposals, result) = bench.node.propose_all([put("a"), put("b")]);
    result.unwrap();
    assert_eq!(proposals.len(), 2);
    assert_eq!(bench.node.status().last.index, 3);
    bench.deliver(2, 1, matched(3));
    for proposal in proposals {
        ends("wait", move || proposal.wait()).unwrap();
    }
    // Once it leads no more, none is made.
    bench.deliver(2, 2, append(3, 1, &[], 3));
    let (proposals, result) = bench.node.propose_all([put("c"), put("d")]);
    assert!(proposals.is_empty() && result.is_err());
}

/// The lines that a subscriber was given by this thread; and something to do when the first comes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>, Arc<Mutex<Option<Once>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?} ");
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
        let first = self.1.lock().unwrap().take();
        if let Some(first) = first {
            first();
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// One line for each change of the leadership, with a number, because two threads may tell theirs at once.
#[test]
fn the_log_says_who_leads() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let bench = bench_of(3, MemoryStorage::new(), (), |config| {
            config.pre_vote = false
        });
        bench.deliver(2, 4, heartbeat());
        bench.deliver(3, 5, granted());
    });
    let lines = lines.0.lock().unwrap().clone();
    let changes: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let changes: Vec<_> = changes
        .iter()
        .filter_map(|l| l.find("node=").map(|at| &l[at..]))
        .collect();
    assert_eq!(
        changes,
        ["node=1 change=1 term=4 leader=2", "node=1 change=2 term=5"],
        "{lines:?}"
    );
}

/// Whoever prints a structure that has one of these in it sees what it is.
#[test]
fn handles_say_what_they_are() {
    let bench = leader_of_three(MemoryStorage::new(), KvStore::new());
    let put = codec::encode(&Command::put("a", "x"));
    let proposal = bench.node.propose(put).unwrap();
    assert_eq!(format!("{proposal:?}"), "Proposal { .. }");
    let patience = PATIENCE;
    let call = bench.node.call(SessionRequest::Open { patience }).unwrap();
    assert_eq!(format!("{call:?}"), "SessionCall { .. }");
    assert_eq!(format!("{:?}", bench.node), "Node { .. }");
    let network = LocalNetwork::new();
    assert_eq!(format!("{network:?}"), "LocalNetwork { .. }");
    let transport = format!("{:?}", network.transport(1));
    assert_eq!(transport, "LocalTransport { id: NodeId(1), .. }");
}

/// The machine's own clock is no test's to move, and a node runs by it as well.
#[test]
fn a_node_alone_leads_by_the_machines_clock() {
    let mut config = config(1, 1);
    config.clock = Clock::monotonic();
    let (deaf, _told) = Deaf::new(MIN_PAYLOAD);
    let node = Arc::new(Node::start(config, MemoryStorage::new(), deaf, ()).unwrap());
    let there = node.clone();
    let seen = ends("wait", move || there.wait_for_leader(PATIENCE)).unwrap();
    assert_eq!(seen.leader, Some(NodeId(1)));
    ends("shutdown", move || node.shutdown()).unwrap();
}
