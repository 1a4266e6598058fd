//! Shutdown, in every state in which a thread can wait. Here the body is the program: it starts a [`Node`], and joins what it started.

use std::sync::Arc;

use biglock::node::Engine;
use biglock::{Node, Outside, Stopped, WaitError};

use super::votes::{pass_time_and_stop, receive, see_through};
use crate::harness::{Model, Start, spawn};
use crate::world::{DEADLINE, NodeSpec, World, request};

const FREE: Model = Model {
    name: "",
    property: "",
    threads: 3,
    goals: &[],
    start: Start::Free,
    crashes: false,
    body: |_| (),
};

pub const MODELS: &[Model] = &[
    Model {
        name: "shutdown-follower",
        property: "a follower that is shut down while its threads wait, or before they do, joins them all",
        goals: &["the election deadline", "the next heartbeat"],
        body: |world| run(world, world.node(NodeSpec::new(1, 3))),
        ..FREE
    },
    Model {
        name: "shutdown-candidate",
        property: "a candidate that waits for votes, or writes its own, is shut down",
        goals: &["votes", "the next heartbeat"],
        body: candidate,
        ..FREE
    },
    Model {
        name: "shutdown-leader",
        property: "a leader that waits for its next heartbeat is shut down",
        goals: &["the next heartbeat", "a leader"],
        body: leader,
        ..FREE
    },
    Model {
        name: "shutdown-receiving",
        property: "a node that is handling a message, or writing, is shut down",
        threads: 4,
        goals: &["the vote was told", "the vote was not told"],
        start: Start::Gated,
        body: receiving,
        ..FREE
    },
    Model {
        name: "shutdown-watched",
        property: "who waits for a leader hears that the node was shut down",
        threads: 4,
        goals: &["a change of leadership"],
        start: Start::Gated,
        body: watched,
        ..FREE
    },
    Model {
        name: "shutdown-twice",
        property: "of two threads that stop a node, both return",
        threads: 4,
        goals: &["stopped by the other"],
        body: twice,
        ..FREE
    },
];

fn run(world: &World, engine: Arc<Engine>) {
    let node = Node::run(engine).expect("the model gives threads");
    world.explore();
    assert!(node.shutdown().is_ok());
    world.closed(1);
}

fn candidate(world: &World) {
    let engine = world.node(NodeSpec::new(1, 3));
    engine.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    run(world, engine);
}

fn leader(world: &World) {
    // Alone in its cluster: it elects itself.
    let engine = world.node(NodeSpec::new(1, 1));
    let mut outside = Outside::claim("time");
    engine.monitor().tick(&mut outside, DEADLINE);
    if world.choose([true, false])
        && let Ok(Some(ballot)) = engine.election_turn(&mut outside, None)
    {
        see_through(&engine, &mut outside, ballot);
    }
    run(world, engine);
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

fn twice(world: &World) {
    let engine = world.node(NodeSpec::new(1, 3));
    let node = Node::run(engine.clone()).expect("the model gives threads");
    world.explore();
    let there = world.clone();
    let other = spawn("other", move || {
        let mut outside = Outside::claim("other");
        if engine.stop(&mut outside, Stopped::Shutdown).is_none() {
            there.reached("stopped by the other");
        }
    });
    assert!(node.shutdown().is_ok());
    world.closed(1);
    other.join().expect("the other ends");
}
