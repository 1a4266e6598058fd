//! Shutdown ends everything, in every state, from everywhere.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};

use biglock::lock::Step;
use biglock::{
    Inbox, Leadership, LocalNetwork, LocalTransport, MemoryStorage, Message, NoLeader, Node,
    Outside, StartError, Stopped, Storage, StorageError, Stored, Transport, TransportError,
    WaitError,
};

use crate::harness::{
    Bench, Event, Gate, PATIENCE, Word, begin, bench, bench_with, config, deliver, ends, heartbeat,
    leader, request_vote, tick,
};

/// Waits until the section in which the node stops is over.
fn until_stopped(events: &Receiver<Event>) {
    let over = |event: &Event| event.section == "stop" && matches!(event.step, Step::Left(_));
    while !over(&events.recv_timeout(PATIENCE).expect("it is told to stop")) {}
}

#[test]
fn while_every_thread_waits() {
    let bench = bench(3);
    bench.until_waits("election", "the election deadline");
    assert!(bench.shutdown().is_ok());
}

#[test]
fn at_once() {
    for n in [1, 2, 3] {
        assert!(bench(n).shutdown().is_ok());
    }
}

#[test]
fn while_it_asks_for_votes() {
    for pre_vote in [false, true] {
        let bench = bench_with(3, MemoryStorage::new(), |config| config.pre_vote = pre_vote);
        bench.tick(300);
        bench.next_sent();
        bench.until_waits("election", "votes");
        assert!(bench.shutdown().is_ok());
    }
}

#[test]
fn while_it_leads() {
    let bench = bench_with(3, MemoryStorage::new(), |config| config.pre_vote = false);
    bench.elect();
    bench.until_waits("leader", "the next heartbeat");
    assert!(bench.shutdown().is_ok());
}

#[test]
fn dropping_it_shuts_it_down() {
    let Bench { node, wire, .. } = bench(3);
    ends("drop", move || drop(node));
    assert_eq!(
        wire.stops.load(Ordering::Relaxed),
        1,
        "the transport is stopped, once"
    );
}

/// Whoever waits hears of it, whatever for.
#[test]
fn every_waiter_ends() {
    let bench = bench(3);
    let wait = |_| {
        let node = bench.node.clone();
        let waiting = begin("wait", move || {
            node.wait_for_change(Leadership::default(), None)
        });
        bench.until_waits("caller", "a change of leadership");
        waiting
    };
    let waiting: Vec<_> = (0..4).map(wait).collect();
    let node = bench.node.clone();
    assert!(ends("shutdown", move || node.shutdown()).is_ok());
    for waiting in waiting {
        let ended = waiting.result();
        assert!(
            matches!(ended, Err(WaitError::Stopped(Stopped::Shutdown))),
            "{ended:?}"
        );
    }
    let late = leader(&bench.node);
    assert!(
        matches!(late, Err(WaitError::Stopped(Stopped::Shutdown))),
        "{late:?}"
    );
}

/// From two threads at once, and again: it is the same shutdown, and the transport is stopped once.
#[test]
fn from_several_threads_at_once() {
    for _ in 0..50 {
        let bench = bench(3);
        let shutdown = |_| {
            let node = bench.node.clone();
            begin("shutdown", move || node.shutdown())
        };
        let stopping: Vec<_> = (0..4).map(shutdown).collect();
        for stopping in stopping {
            assert!(stopping.result().is_ok());
        }
        assert!(bench.node.shutdown().is_ok());
        assert_eq!(bench.wire.stops.load(Ordering::Relaxed), 1);
    }
}

/// It waits for the write that is under way, and says nothing of it any more.
#[test]
fn while_a_write_is_under_way() {
    let (gate, asked, word) = Gate::new();
    let Bench {
        node, sent, events, ..
    } = bench_with(3, gate, |config| config.pre_vote = false);
    tick(&node, 300);
    asked.recv_timeout(PATIENCE).unwrap();
    let node = Arc::into_inner(node).unwrap();
    let stopping = begin("shutdown", move || node.shutdown());
    until_stopped(&events);
    assert!(!stopping.has_ended(), "the write is not done");
    word.send(Word::Done).unwrap();
    assert!(stopping.result().is_ok());
    assert!(sent.try_recv().is_err(), "nothing was sent");
    assert!(asked.try_recv().is_err(), "nothing more was written");
}

/// The disk is closed when the shutdown is over, though handles are left: whoever shut the node down may open it again. Also if a receiver
/// had it, which ends only when the transport stops.
#[test]
fn while_a_receiver_writes_and_then_the_disk_is_closed() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |config| config.pre_vote = false);
    let inbox = bench.wire.inbox();
    let receiving = begin("receive", move || deliver(&inbox, 2, 1, request_vote()));
    asked.recv_timeout(PATIENCE).unwrap();
    *bench.wire.on_stop.lock().unwrap() = Some(Box::new(move || {
        word.send(Word::Done).unwrap();
        receiving.result();
    }));
    let node = bench.node.clone();
    assert!(ends("shutdown", move || node.shutdown()).is_ok());
    // The disk has the other end of this.
    let closed = matches!(asked.try_recv(), Err(TryRecvError::Disconnected));
    assert!(closed, "a node that is shut down has closed its disk");
}

/// What was decided while a write was under way is not written after the shutdown: nothing relies on it.
#[test]
fn while_a_write_is_under_way_and_another_waits() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |config| config.pre_vote = false);
    bench.tick(300);
    asked.recv_timeout(PATIENCE).unwrap();
    bench.deliver(2, 9, request_vote());
    let node = Arc::into_inner(bench.node).unwrap();
    let stopping = begin("shutdown", move || node.shutdown());
    until_stopped(&bench.events);
    word.send(Word::Done).unwrap();
    assert!(stopping.result().is_ok());
    assert!(asked.try_recv().is_err(), "nothing more was written");
    assert!(bench.sent.try_recv().is_err(), "nothing was sent");
}

/// The first reason is the one that counts, whatever goes wrong afterwards.
#[test]
fn the_first_reason_stays() {
    let bench = bench(3);
    let mut outside = Outside::claim("test");
    let engine = bench.node.engine();
    assert!(engine.stop(&mut outside, Stopped::Shutdown).is_none());
    let before = engine.stop(&mut outside, Stopped::Panicked { thread: "test" });
    assert!(matches!(before, Some(Stopped::Shutdown)));
    let told = leader(&bench.node);
    assert!(
        matches!(told, Err(WaitError::Stopped(Stopped::Shutdown))),
        "{told:?}"
    );
}

/// A write that fails after the shutdown began is no reason any more: the first one stays.
#[test]
fn while_a_write_is_under_way_that_fails() {
    let (gate, asked, word) = Gate::new();
    let Bench { node, events, .. } = bench_with(1, gate, |_| {});
    tick(&node, 300);
    asked.recv_timeout(PATIENCE).unwrap();
    let node = Arc::into_inner(node).unwrap();
    let stopping = begin("shutdown", move || node.shutdown());
    until_stopped(&events);
    word.send(Word::Fail).unwrap();
    assert!(stopping.result().is_ok());
}

/// After it stopped, what arrives is ignored, and those who ask over the network are told.
#[test]
fn afterwards_nothing_happens() {
    let bench = bench(3);
    let (inbox, wire) = (bench.wire.inbox(), bench.wire.clone());
    let Bench { node, sent, .. } = bench;
    let node = Arc::into_inner(node).unwrap();
    ends("shutdown", move || node.shutdown()).unwrap();
    deliver(&inbox, 2, 5, request_vote());
    deliver(&inbox, 2, 5, heartbeat());
    assert!(sent.try_recv().is_err());
    let status = inbox.status(&mut Outside::claim("test"));
    assert_eq!((status.term.0, status.leader), (0, None));
    let why = "the node was shut down".to_string();
    assert_eq!(status.no_leader, Some(NoLeader::Stopped { why }));
    assert_eq!(wire.stops.load(Ordering::Relaxed), 1);
}

/// From a thread that the transport brought, in the middle of sending an answer.
#[test]
fn from_a_thread_that_delivers() {
    let bench = bench(3);
    let (told, done) = channel();
    let node = Arc::into_inner(bench.node).unwrap();
    let shutdown = move || told.send(node.shutdown().is_ok()).expect("the test waits");
    *bench.wire.on_send.lock().unwrap() = Some(Box::new(shutdown));
    let inbox = bench.wire.inbox();
    ends("deliver", move || {
        deliver(&inbox, 2, 1, heartbeat());
    });
    assert!(done.recv_timeout(PATIENCE).unwrap());
}

/// A [`LocalTransport`] that does something once, in the thread that sends.
struct Armed {
    inner: LocalTransport,
    node: Arc<Mutex<Option<Node>>>,
    told: Mutex<Sender<bool>>,
}

impl Transport for Armed {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        self.inner.start(inbox)
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        let node = self.node.lock().unwrap().take();
        if let Some(node) = node {
            let ended = node.shutdown().is_ok();
            let _ = self.told.lock().unwrap().send(ended);
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

/// From the election thread (a campaign's first messages), and from the local network's receiver (an answer): a thread does not wait
/// for itself.
#[test]
fn from_the_nodes_own_threads() {
    for receiver in [false, true] {
        let network = LocalNetwork::new();
        let (told, done) = channel();
        let slot = Arc::new(Mutex::new(None));
        let (node, told) = (slot.clone(), Mutex::new(told));
        let armed = Armed {
            inner: network.transport(1),
            node,
            told,
        };
        let node = Node::start(config(1, 2), MemoryStorage::new(), armed, ()).unwrap();
        let other =
            Node::start(config(2, 2), MemoryStorage::new(), network.transport(2), ()).unwrap();
        if receiver {
            *slot.lock().unwrap() = Some(node);
            tick(&other, 300);
        } else {
            // Whoever sends waits until the node is in its place.
            let mut slot = slot.lock().unwrap();
            tick(&node, 300);
            *slot = Some(node);
        }
        assert!(
            done.recv_timeout(PATIENCE).expect("it ends"),
            "receiver: {receiver}"
        );
        ends("shutdown", move || other.shutdown()).unwrap();
    }
}

/// A storage that cannot be read, or a transport that cannot start: an error, and nothing left behind.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    struct Unreadable;
    impl Storage for Unreadable {
        fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
            Err(StorageError::new("no such disk"))
        }
        fn write(&mut self, _: &Outside, _: biglock::Batch) -> Result<(), StorageError> {
            unreachable!("it never started")
        }
    }
    let network = LocalNetwork::new();
    let failed = Node::start(config(1, 1), Unreadable, network.transport(1), ())
        .err()
        .unwrap();
    assert_eq!(failed.to_string(), "storage: no such disk");

    struct Unstartable {
        _alive: Arc<()>,
    }
    impl Transport for Unstartable {
        fn start(&self, _: Inbox) -> Result<(), TransportError> {
            Err(TransportError::new("the port is taken", None))
        }
        fn send(&self, _: &Outside, _: &[Message]) {}
        fn max_payload(&self) -> usize {
            64 << 10
        }
        fn stop(&self, _: &Outside) {}
    }
    let alive = Arc::new(());
    let transport = Unstartable {
        _alive: alive.clone(),
    };
    let failed = ends("start", || {
        Node::start(config(1, 1), MemoryStorage::new(), transport, ()).err()
    });
    assert!(
        matches!(failed, Some(StartError::Transport(ref e)) if e.to_string() == "transport: the port is taken")
    );
    assert_eq!(
        Arc::strong_count(&alive),
        1,
        "no thread holds the engine any more"
    );
}
