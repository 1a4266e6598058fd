//! Elections on threads, and those who wait for them.

use std::sync::Arc;
use std::time::Duration;

use biglock::lock::Step;
use biglock::rules::{Body, RoleKind};
use biglock::{Leadership, LocalNetwork, MemoryStorage, Node, NodeId, Outside, Term, WaitError};

use crate::harness::{
    PATIENCE, Wire, begin, bench, bench_with, change, config, deliver, ends, granted, heartbeat,
    leader, tick,
};

const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_single_node_elects_itself() {
    let bench = bench(1);
    assert_eq!(bench.node.status().role, RoleKind::Follower);
    bench.tick(300);
    let leadership = leader(&bench.node).unwrap();
    assert_eq!(
        leadership,
        Leadership {
            term: Term(1),
            leader: Some(NodeId(1))
        }
    );
    let status = bench.node.status();
    assert!(status.durable && status.voted_for == Some(NodeId(1)));
    assert_eq!((status.role, status.no_leader), (RoleKind::Leader, None));
}

/// Waits until this node knows of this.
fn until(node: &Arc<Node>, expected: Leadership) {
    let mut seen = node.leadership();
    while seen != expected {
        seen = change(node, seen).unwrap();
    }
}

/// Three nodes over the local network, each with a clock of its own: who times out is the test's choice.
#[test]
fn three_nodes_elect_and_elect_again() {
    let network = LocalNetwork::new();
    let start = |id| {
        Node::start(
            config(id, 3),
            MemoryStorage::new(),
            network.transport(id),
            (),
        )
    };
    let nodes: Vec<_> = (1..=3).map(|id| Arc::new(start(id).unwrap())).collect();

    tick(&nodes[0], 300);
    let first = Leadership {
        term: Term(1),
        leader: Some(NodeId(1)),
    };
    for node in &nodes {
        assert_eq!(leader(node).unwrap(), first);
    }

    network.cut(1);
    // Node 3 no longer hears a leader, and does not campaign yet.
    tick(&nodes[2], 150);
    tick(&nodes[1], 300);
    let second = Leadership {
        term: Term(2),
        leader: Some(NodeId(2)),
    };
    until(&nodes[1], second);
    until(&nodes[2], second);
    assert_eq!(
        nodes[0].leadership(),
        first,
        "whoever is cut off has heard nothing"
    );

    network.mend(1);
    tick(&nodes[1], 330);
    until(&nodes[0], second);
    for node in nodes {
        let node = Arc::into_inner(node).unwrap();
        ends("shutdown", move || node.shutdown()).unwrap();
    }
}

/// A seed repeats timeouts, and not the numbers of reads: an answer to an earlier life of a node must fit no read of this one.
#[test]
fn reads_of_two_lives_have_different_numbers() {
    let life = || {
        let (wire, sent) = Wire::new();
        let node = Node::start(config(1, 3), MemoryStorage::new(), wire.clone(), ());
        let node = Arc::new(node.expect("it starts"));
        deliver(&wire.inbox(), 2, 1, heartbeat());
        let reader = node.clone();
        let reading = begin("read", move || reader.read());
        let number = loop {
            let message = sent.recv_timeout(PATIENCE).expect("it asks");
            if let Body::ReadIndex { read } = message.body {
                break read;
            }
        };
        ends("shutdown", move || node.shutdown()).unwrap();
        assert!(reading.result().is_err());
        number
    };
    let (first, second) = (life(), life());
    let fits = first == second;
    assert!(
        !fits,
        "an answer to an earlier life fits no read of this one"
    );
}

#[test]
fn waiting_for_a_leader_ends_by_the_clock_and_not_before() {
    let bench = bench(3);
    let node = bench.node.clone();
    let waiting = begin("wait", move || node.wait_for_leader(SOON));
    bench.until_waits("caller", "a change of leadership");
    bench.tick(999);
    let monitor = bench.node.engine().monitor();
    monitor.disturb(&mut Outside::claim("test"));
    bench.until_waits("caller", "a change of leadership");
    assert!(!waiting.has_ended());
    bench.tick(1000);
    assert!(matches!(waiting.result(), Err(WaitError::TimedOut)));
}

#[test]
fn waiting_with_a_leader_does_not_wait() {
    let bench = bench(1);
    bench.tick(300);
    leader(&bench.node).unwrap();
    let seen = bench.node.wait_for_leader(Duration::ZERO).unwrap();
    let no_change = bench.node.wait_for_change(seen, Some(Duration::ZERO));
    assert!(matches!(no_change, Err(WaitError::TimedOut)));
    assert_eq!(
        bench
            .node
            .wait_for_change(Leadership::default(), None)
            .unwrap(),
        seen
    );
}

/// A change is seen by all who wait for it: broadcast, not signal.
#[test]
fn all_waiters_hear_of_a_change() {
    let bench = bench(3);
    let wait = |_| {
        let node = bench.node.clone();
        let waiting = begin("wait", move || {
            node.wait_for_change(Leadership::default(), None)
        });
        bench.until_waits("caller", "a change of leadership");
        waiting
    };
    let waiting: Vec<_> = (0..8).map(wait).collect();
    bench.deliver(2, 4, heartbeat());
    for waiting in waiting {
        let seen = waiting.result().unwrap();
        assert_eq!(
            seen,
            Leadership {
                term: Term(4),
                leader: Some(NodeId(2))
            }
        );
    }
}

/// A heartbeat that resets the deadline wakes the election thread only if it would oversleep otherwise.
#[test]
fn a_deadline_that_comes_closer_is_heard_by_the_sleeping_election_thread() {
    let bench = bench(3);
    bench.until_waits("election", "the election deadline");
    // The first heartbeat begins a term and wakes everyone; what follows changes the deadline alone.
    bench.deliver(2, 1, heartbeat());
    let slept = bench.until("election", |step| matches!(step, Step::Waits(_)));
    let (mut alarm, mut closer, mut later) = (slept.deadline, 0, 0);
    for _ in 0..200 {
        bench.deliver(2, 1, heartbeat());
        let left = bench.until("receiver", |step| matches!(step, Step::Left(_)));
        let must_wake = left.deadline < alarm;
        assert_eq!(
            left.step,
            Step::Left(must_wake),
            "{:?} against {alarm:?}",
            left.deadline
        );
        if must_wake {
            closer += 1;
            alarm = bench
                .until("election", |step| matches!(step, Step::Waits(_)))
                .deadline;
        } else {
            later += 1;
        }
    }
    // The alarm ends up at the earliest deadline that was ever drawn, so few are closer.
    assert!(
        closer >= 1 && later >= 100,
        "{closer} closer, {later} later"
    );
}

/// The heartbeats of a leader go on by the clock, one round each.
#[test]
fn a_leader_sends_heartbeats_by_the_clock() {
    let bench = bench_with(3, MemoryStorage::new(), |config| {
        config.pre_vote = false;
        config.check_quorum = false;
    });
    bench.elect();
    for millis in [330, 360, 390] {
        bench.tick(millis);
        assert_eq!(
            (bench.next_sent().to, bench.next_sent().to),
            (NodeId(2), NodeId(3))
        );
    }
    bench.tick(400);
    bench.until_waits("leader", "the next heartbeat");
    assert!(bench.sent.try_recv().is_err(), "none is due");
}

/// Requests are repeated to the silent, and a campaign that nobody answers is followed by the next.
#[test]
fn a_candidate_asks_again_and_starts_again() {
    let bench = bench_with(3, MemoryStorage::new(), |config| config.pre_vote = false);
    bench.tick(300);
    assert_eq!(
        (bench.next_sent().term, bench.next_sent().term),
        (Term(1), Term(1))
    );
    bench.tick(330);
    assert_eq!(
        (bench.next_sent().term, bench.next_sent().term),
        (Term(1), Term(1))
    );
    bench.tick(630);
    assert_eq!(
        (bench.next_sent().term, bench.next_sent().term),
        (Term(2), Term(2))
    );
    bench.deliver(3, 2, granted());
    assert_eq!(leader(&bench.node).unwrap().leader, Some(NodeId(1)));
}

/// Taking a local transport again replaces the node; the one that was replaced does not take its successor down with it.
#[test]
fn a_node_that_was_replaced_does_not_deafen_its_successor() {
    let network = LocalNetwork::new();
    let start = |id| {
        Node::start(
            config(id, 2),
            MemoryStorage::new(),
            network.transport(id),
            (),
        )
        .unwrap()
    };
    let (old, other) = (start(1), Arc::new(start(2)));
    let new = Arc::new(start(1));
    ends("shutdown", move || old.shutdown()).unwrap();
    tick(&other, 300);
    assert_eq!(leader(&other).unwrap().leader, Some(NodeId(2)));
    assert_eq!(leader(&new).unwrap().leader, Some(NodeId(2)));
}
