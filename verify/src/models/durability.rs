//! What is said and what is durable.

use biglock::{Outside, Stopped, WaitError};

use super::votes::{receive, see_through};
use crate::harness::{GATED, Model};
use crate::world::{DEADLINE, NodeSpec, World, request};

pub const MODELS: &[Model] = &[
    Model {
        name: "durable-vote-crash",
        property: "no vote is told before it is durable, and after a crash at any point none is given twice",
        threads: 3,
        goals: &[
            "told before the crash",
            "told after the crash",
            "voted for 2",
            "voted for 3",
        ],
        crashes: true,
        body: crash,
        ..GATED
    },
    Model {
        name: "durable-candidacy-crash",
        property: "a candidacy is durable before anyone hears of it, and after a crash at any point its vote is not given again",
        threads: 2,
        goals: &[
            "the vote was given to 3",
            "its requests had been sent",
            "its requests were never sent",
        ],
        crashes: true,
        body: candidacy_crash,
        ..GATED
    },
    Model {
        name: "durable-order",
        property: "records reach the disk in the order in which the sections made them",
        threads: 3,
        goals: &["a write covers two changes", "three writes"],
        crashes: true,
        body: order,
        ..GATED
    },
    Model {
        name: "durable-failure",
        property: "a write that fails stops the node: nothing is said after it, nothing is tried again, and nobody waits on",
        threads: 4,
        goals: &["a change of leadership", "the disk failed"],
        body: failure,
        ..GATED
    },
];

fn crash(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    receive(world, &node, "receiver 2", [request(2, 1, 1)]);
    receive(world, &node, "receiver 3", [request(3, 1, 1)]);
    let there = world.clone();
    world.thread("crash", move |outside| {
        there.crash(1);
        let before = there.vote_of(1, 1);
        there.reached(match before {
            Some(_) => "told before the crash",
            None => "not told before the crash",
        });
        let again = there.restart(NodeSpec::new(1, 3));
        again.receive(outside, there.said(request(3, 1, 1)));
        again.receive(outside, there.said(request(2, 1, 1)));
        if before.is_none() {
            there.reached("told after the crash");
        }
        match there.vote_of(1, 1).map(|id| id.0) {
            Some(2) => there.reached("voted for 2"),
            Some(3) => there.reached("voted for 3"),
            other => panic!("after both asked again, one has the vote, not {other:?}"),
        }
    });
}

fn candidacy_crash(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    node.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    world.thread("election", move |outside| {
        // The requests are sent in this turn; nobody answers them.
        let _ = node.election_turn(outside, None);
    });
    let there = world.clone();
    world.thread("crash", move |outside| {
        there.crash(1);
        let again = there.restart(NodeSpec::new(1, 3));
        again.receive(outside, there.said(request(3, 1, 1)));
        match there.vote_of(1, 1).map(|id| id.0) {
            Some(3) => there.reached("the vote was given to 3"),
            Some(1) => there.reached("its requests had been sent"),
            // Its vote for itself was durable, and nobody had heard of it.
            _ => there.reached("its requests were never sent"),
        }
    });
}

fn order(world: &World) {
    let node = world.node(NodeSpec::new(1, 5));
    receive(world, &node, "receiver 2", [request(2, 1, 1)]);
    receive(world, &node, "receiver 3", [request(3, 1, 2)]);
    receive(world, &node, "receiver 4", [request(4, 1, 3)]);
    let there = world.clone();
    world.finally(move || {
        // The ledger has checked that the disk never went back; here, that it has the last of them.
        assert_eq!(
            there.disk(1).hard_state.term.0,
            3,
            "the latest term is durable"
        );
        there.reached(match there.writes(1) {
            3 => "three writes",
            _ => "a write covers two changes",
        });
    });
}

fn failure(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).failing());
    node.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    receive(world, &node, "receiver", [request(2, 1, 1)]);
    receive(world, &node, "receiver'", [request(3, 1, 1)]);
    let (there, waiter) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        let end = waiter.await_leadership(outside, None, |seen| seen.term.0 == 9);
        match end {
            Err(WaitError::Stopped(Stopped::Storage(_))) => there.reached("the disk failed"),
            other => panic!("the wait ends because the disk failed, not with {other:?}"),
        }
    });
    world.thread("election", move |outside| {
        if let Ok(Some(ballot)) = node.election_turn(outside, None) {
            see_through(&node, outside, ballot);
        }
    });
}
