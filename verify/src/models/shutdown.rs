//! Shutdown, in every state in which a thread can wait. Here the body is the program: it starts a [`Node`], and joins what it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use biglock::node::{Engine, Tell};
use biglock::{
    Node, NodeId, Outside, ProposeError, ReadError, Stopped, TransferError, Undecided, WaitError,
};

use super::votes::{pass_time_and_stop, receive, see_through};
use crate::harness::{GATED, Model, Start};
use crate::world::{DEADLINE, NodeSpec, World, request};

pub const MODELS: &[Model] = &[
    Model {
        name: "shutdown-follower",
        property: "a node that is shut down while its threads wait joins them all",
        threads: 5,
        goals: &[
            "the election deadline",
            "the next heartbeat",
            "something to write",
            "committed entries",
        ],
        body: |world| {
            let node = Node::run(world.node(NodeSpec::new(1, 3))).expect("the model gives threads");
            world.settle();
            world.explore();
            assert!(node.shutdown().is_ok());
            world.closed(1);
        },
        start: Start::Free,
        ..GATED
    },
    Model {
        name: "shutdown-candidate",
        property: "a candidate that waits for votes, or writes its own, is shut down",
        threads: 4,
        goals: &["votes", "the next heartbeat", "something to write"],
        body: candidate,
        ..GATED
    },
    Model {
        name: "shutdown-leader",
        property: "a leader that waits for its next heartbeat, or writes and applies its first entry, is shut down",
        threads: 4,
        goals: &[
            "the next heartbeat",
            "something to write",
            "committed entries",
            "applied",
        ],
        body: leader,
        ..GATED
    },
    Model {
        name: "shutdown-receiving",
        property: "a node that is handling a message, or writing, is shut down",
        threads: 4,
        goals: &["the vote was told", "the vote was not told"],
        body: receiving,
        ..GATED
    },
    Model {
        name: "shutdown-watched",
        property: "who waits for a leader hears that the node was shut down",
        threads: 4,
        goals: &["a change of leadership"],
        body: watched,
        ..GATED
    },
    Model {
        name: "shutdown-asked",
        property: "who waits for a proposal, a read, a snapshot or a transfer hears that the node was shut down, whatever its threads are doing",
        threads: 4,
        goals: &[
            "proposal",
            "read",
            "snapshot",
            "transfer",
            "something to write",
            "committed entries",
        ],
        body: asked,
        ..GATED
    },
    Model {
        name: "shutdown-twice",
        property: "of two threads that stop a node, both return, and one was first",
        threads: 4,
        goals: &["stopped by the other"],
        body: twice,
        ..GATED
    },
];

/// One of a node's own threads.
fn run(world: &World, node: &Arc<Engine>, name: &'static str, body: fn(&Engine, &mut Outside)) {
    let node = node.clone();
    world.thread(name, move |outside| body(&node, outside));
}

fn candidate(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    node.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    run(world, &node, "election", Engine::election_loop);
    run(world, &node, "leader", Engine::leader_loop);
    run(world, &node, "disk", Engine::disk_loop);
    pass_time_and_stop(world, &node, &[]);
}

fn leader(world: &World) {
    // Alone in its cluster: it elects itself.
    let node = world.node(NodeSpec::new(1, 1));
    let mut outside = Outside::claim("time");
    node.monitor().tick(&mut outside, DEADLINE);
    if let Ok(Some(ballot)) = node.election_turn(&mut outside, None) {
        see_through(&node, &mut outside, ballot);
    }
    run(world, &node, "leader", Engine::leader_loop);
    run(world, &node, "disk", Engine::disk_loop);
    run(world, &node, "apply", Engine::apply_loop);
    pass_time_and_stop(world, &node, &[]);
    let there = world.clone();
    world.finally(move || {
        if node.status(&mut Outside::claim("caller")).applied > 0 {
            there.reached("applied");
        }
    });
}

/// All of a node's threads and the one that stops it, from the gate: that they are joined is the other models' concern.
fn receiving(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    receive(world, &node, "receiver", [request(2, 1, 1)]);
    pass_time_and_stop(world, &node, &[]);
    let there = world.clone();
    world.finally(move || {
        there.reached(match there.vote_of(1, 1) {
            Some(_) => "the vote was told",
            None => "the vote was not told",
        });
    });
    let leader = node.clone();
    world.thread("leader", move |outside| leader.leader_loop(outside));
    world.thread("election", move |outside| node.election_loop(outside));
}

fn watched(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    let waiter = node.clone();
    world.thread("caller", move |outside| {
        let end = waiter.await_leadership(outside, None, |seen| seen.leader.is_some());
        assert!(matches!(end, Err(WaitError::Stopped(Stopped::Shutdown))));
    });
    pass_time_and_stop(world, &node, &[]);
    let leader = node.clone();
    world.thread("leader", move |outside| leader.leader_loop(outside));
    world.thread("election", move |outside| node.election_loop(outside));
}

/// A leader with something to write, and a caller who waits for one thing or another.
fn asked(world: &World) {
    let node = super::leading::leader(world, NodeSpec::new(1, 3), 1);
    let what = world.choose(["proposal", "read", "snapshot", "transfer"]);
    if what == "snapshot" {
        // Of a state that has not changed there is one at once.
        let mut outside = Outside::claim("caller");
        node.disk_turn(&mut outside).expect("it runs");
        node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
        node.apply_turn(&mut outside).expect("it runs");
    }
    let (there, asks) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        let stopped = match what {
            "proposal" => {
                let (who, awaited) = Tell::promise();
                match there.propose_then(&asks, outside, "a", who) {
                    Err(ProposeError::Stopped(_)) => false,
                    Err(other) => panic!("it leads until it stops: {other}"),
                    Ok(()) => {
                        let what = awaited.wait(outside).expect("every proposal is decided");
                        there.decided("a", &what);
                        matches!(what, Err(Undecided::Stopped(_)))
                    }
                }
            }
            "read" => matches!(there.read(&asks, outside), Err(ReadError::Stopped(_))),
            "snapshot" => {
                let (who, awaited) = Tell::promise();
                let asked = asks.snapshot(outside, who).is_ok();
                asked && awaited.wait(outside).expect("who waits is told").is_err()
            }
            _ => matches!(
                asks.transfer(outside, NodeId(2)),
                Err(TransferError::Stopped(_))
            ),
        };
        if stopped {
            there.reached(what);
        }
    });
    run(world, &node, "disk", Engine::disk_loop);
    run(world, &node, "apply", Engine::apply_loop);
    pass_time_and_stop(world, &node, &[]);
    let there = world.clone();
    world.finally(move || there.all_told());
}

fn twice(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    run(world, &node, "election", Engine::election_loop);
    run(world, &node, "disk", Engine::disk_loop);
    let firsts = Arc::new(AtomicUsize::new(0));
    for name in ["caller a", "caller b"] {
        let (there, node, firsts) = (world.clone(), node.clone(), firsts.clone());
        world.thread(name, move |outside| {
            match node.stop(outside, Stopped::Shutdown) {
                None => firsts.fetch_add(1, Ordering::Relaxed),
                Some(_) => {
                    there.reached("stopped by the other");
                    0
                }
            };
        });
    }
    world.finally(move || assert_eq!(firsts.load(Ordering::Relaxed), 1, "one was first"));
}
