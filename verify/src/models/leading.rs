//! The leader's loop, and what ends a leadership.

use std::sync::Arc;

use biglock::node::Engine;
use biglock::rules::RoleKind;
use biglock::{Outside, Time};

use super::votes::{candidate, pass_time_and_stop, receive, see_through};
use crate::harness::{GATED, Model};
use crate::world::{ASK_AGAIN, NEXT_DEADLINE, NodeSpec, Wire, World, heartbeat, request};

pub const MODELS: &[Model] = &[
    Model {
        name: "leading-step-down",
        property: "a higher term that arrives at any moment silences the leader: no heartbeat of a term it does not lead",
        threads: 3,
        goals: &[
            "the next heartbeat",
            "a leader steps down",
            "heartbeats were sent",
        ],
        body: step_down,
        ..GATED
    },
    Model {
        name: "leading-check-quorum",
        property: "a leader that hears no majority steps down, keeps its vote, and campaigns again",
        threads: 4,
        goals: &[
            "the next heartbeat",
            "a leader steps down",
            "still leads",
            "campaigns again",
        ],
        body: check_quorum,
        ..GATED
    },
    Model {
        name: "leading-calls-back",
        property: "a leader that calls its followers hears their answers: it sends without the lock",
        threads: 3,
        goals: &["the next heartbeat", "heartbeats were answered"],
        body: calls_back,
        ..GATED
    },
];

/// Node 1 leads `term`, the one after the last that it had heard of, elected by node 2.
pub fn leader(world: &World, spec: NodeSpec, term: u64) -> Arc<Engine> {
    let (node, ballot) = candidate(world, spec);
    let mut outside = Outside::claim("election");
    let status = node.status(&mut outside);
    if status.role != RoleKind::Leader {
        node.receive(&mut outside, world.vote(2, term, 1));
    }
    see_through(&node, &mut outside, ballot);
    assert_eq!(world.leader_of(term), Some(biglock::NodeId(1)));
    node
}

fn lead(world: &World, node: &Arc<Engine>) {
    let node = node.clone();
    world.thread("leader", move |outside| {
        let _ = (0..2).try_for_each(|_| node.leader_turn(outside));
    });
}

fn step_down(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3), 1);
    let before = world.heartbeats(1);
    lead(world, &node);
    let arrives = world.choose([request(3, 1, 2), heartbeat(3, 1, 2)]);
    receive(world, &node, "receiver", [arrives]);
    pass_time_and_stop(world, &node, &[ASK_AGAIN, NEXT_DEADLINE]);
    let there = world.clone();
    world.finally(move || {
        if there.heartbeats(1) > before {
            there.reached("heartbeats were sent");
        }
    });
}

fn check_quorum(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).check_quorum(), 1);
    lead(world, &node);
    receive(world, &node, "receiver", [world.acknowledged(2, 1, 1, 0)]);
    const MOMENTS: &[Time] = &[ASK_AGAIN, NEXT_DEADLINE, Time::from_millis(300)];
    pass_time_and_stop(world, &node, MOMENTS);
    let (there, last) = (world.clone(), node.clone());
    world.finally(move || {
        let status = last.status(&mut Outside::claim("caller"));
        if status.role == RoleKind::Leader {
            there.reached("still leads");
        } else if status.term.0 == 1 {
            assert_eq!(
                status.voted_for,
                Some(biglock::NodeId(1)),
                "the vote of the term stays"
            );
        }
    });
    let there = world.clone();
    world.thread("election", move |outside| {
        if let Ok(Some(ballot)) = node.election_turn(outside, None) {
            assert_eq!(ballot.term().0, 2);
            there.reached("campaigns again");
        }
    });
}

fn calls_back(world: &World) {
    let follower = world.node(NodeSpec::new(2, 3).wire(Wire::Direct));
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Direct), 1);
    let before = world.answers(1);
    lead(world, &node);
    receive(world, &follower, "receiver", [heartbeat(1, 2, 1)]);
    pass_time_and_stop(world, &node, &[ASK_AGAIN, NEXT_DEADLINE]);
    let there = world.clone();
    world.finally(move || {
        if there.answers(1) > before + 1 {
            there.reached("heartbeats were answered");
        }
    });
}
