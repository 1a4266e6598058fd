//! Several real nodes. A thread that sends runs the receiver's handler, as in a remote procedure call, so who holds its lock while it calls
//! stands in a circle with whoever does the same.

use std::sync::Arc;

use biglock::node::Engine;
use biglock::rules::Ballot;
use biglock::{Message, NodeId, Outside, Stopped};

use super::votes::{candidate, see_through};
use crate::harness::{GATED, Model};
use crate::world::{DEADLINE, NodeSpec, Wire, World};

pub const MODELS: &[Model] = &[
    Model {
        name: "cluster-2-candidates-of-2",
        property: "two candidates that call each other both get an answer",
        threads: 2,
        goals: &["a leader", "a split vote"],
        body: two_of_two,
        ..GATED
    },
    Model {
        name: "cluster-2-candidates-of-3",
        property: "of two candidates whose requests are under way, exactly one gets the third node's vote and leads",
        threads: 2,
        goals: &["votes", "a leader"],
        body: two_of_three,
        ..GATED
    },
    Model {
        name: "cluster-3-candidates-of-3",
        property: "of three candidates of one term none leads, and all hear that they can't",
        threads: 3,
        goals: &["a split vote"],
        body: three_of_three,
        ..GATED
    },
    Model {
        name: "cluster-2-terms-of-3",
        property: "of two candidates of different terms the later one leads, unless the earlier led before and its log is longer",
        threads: 2,
        goals: &["a leader", "a leader of term 2", "a leader of term 1"],
        body: two_terms,
        ..GATED
    },
    Model {
        name: "cluster-pre-candidate-of-3",
        property: "of a node that asks for pre-votes and one that asks for votes, at most one leads a term",
        threads: 2,
        goals: &["a leader"],
        body: pre_candidate,
        ..GATED
    },
];

/// A node that has campaigned, durably, and whose requests are under way.
fn campaigned(world: &World, spec: NodeSpec, id: u64) -> (Arc<Engine>, Ballot, Vec<Message>) {
    let (node, ballot) = candidate(world, spec.wire(Wire::Direct));
    (node, ballot, world.held(id))
}

/// A thread that delivers what is under way and sees the campaign through.
fn contend(
    world: &World,
    name: &'static str,
    (node, ballot, requests): (Arc<Engine>, Ballot, Vec<Message>),
) {
    let there = world.clone();
    world.thread(name, move |outside| {
        for request in requests {
            there.deliver(outside, request);
        }
        see_through(&node, outside, ballot);
    });
}

fn two_of_two(world: &World) {
    let nodes = [1, 2].map(|id| world.node(NodeSpec::new(id, 2).wire(Wire::Direct)));
    for node in &nodes {
        node.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    }
    for (at, name) in [(0, "election 1"), (1, "election 2")] {
        let (node, other) = (nodes[at].clone(), nodes[1 - at].clone());
        world.thread(name, move |outside| {
            if let Ok(Some(ballot)) = node.election_turn(outside, None) {
                see_through(&node, outside, ballot);
            }
            // Whoever gave its vote waits for a deadline that does not come: the first to be done ends the other's wait.
            other.stop(outside, Stopped::Shutdown);
        });
    }
    let there = world.clone();
    world.finally(move || {
        if there.leader_of(1).is_none() {
            there.reached("a split vote");
        }
    });
}

fn two_of_three(world: &World) {
    let first = campaigned(world, NodeSpec::new(1, 3), 1);
    let second = campaigned(world, NodeSpec::new(2, 3), 2);
    let _voter = world.node(NodeSpec::new(3, 3).wire(Wire::Direct));
    contend(world, "election 1", first);
    contend(world, "election 2", second);
    let there = world.clone();
    world.finally(move || assert!(there.leader_of(1).is_some(), "the third node votes for one"));
}

fn three_of_three(world: &World) {
    for (id, name) in [(1, "election 1"), (2, "election 2"), (3, "election 3")] {
        let campaign = campaigned(world, NodeSpec::new(id, 3), id);
        contend(world, name, campaign);
    }
    let there = world.clone();
    world.finally(move || {
        assert_eq!(there.leader_of(1), None, "each voted for itself");
        there.reached("a split vote");
    });
}

fn two_terms(world: &World) {
    let mut first = campaigned(world, NodeSpec::new(1, 3), 1);
    // Its request to the rival, which would tell it at once, may be lost.
    if world.choose([true, false]) {
        first.2.retain(|request| request.to == NodeId(3));
    }
    // Node 2 heard of term 1 before, and campaigns in term 2.
    let second = campaigned(world, NodeSpec::new(2, 3).hard_state(1, None), 2);
    let _voter = world.node(NodeSpec::new(3, 3).wire(Wire::Direct));
    contend(world, "election 1", first);
    contend(world, "election 2", second);
    let there = world.clone();
    world.finally(move || {
        let (first, second) = (there.leader_of(1), there.leader_of(2));
        if first.is_some() {
            there.reached("a leader of term 1");
        }
        match second {
            Some(_) => there.reached("a leader of term 2"),
            // The no-op of its term was faster than the request of the next.
            None => assert!(first.is_some(), "nothing stands against the later term"),
        }
    });
}

fn pre_candidate(world: &World) {
    // The two can't hear each other: only the third node answers.
    world.cut(1, 2);
    let first = campaigned(world, NodeSpec::new(1, 3).pre_vote(), 1);
    let second = campaigned(world, NodeSpec::new(2, 3), 2);
    let _voter = world.node(NodeSpec::new(3, 3).wire(Wire::Direct));
    let nodes = [first.0.clone(), second.0.clone()];
    let names = ["election 1", "election 2"];
    for ((node, ballot, requests), (at, name)) in [first, second]
        .into_iter()
        .zip(names.into_iter().enumerate())
    {
        let (there, other) = (world.clone(), nodes[1 - at].clone());
        world.thread(name, move |outside| {
            for request in requests {
                there.deliver(outside, request);
            }
            see_through(&node, outside, ballot);
            // Whoever lost waits for a deadline that does not come.
            other.stop(outside, Stopped::Shutdown);
        });
    }
}
