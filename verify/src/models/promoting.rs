//! A learner that is to vote, and who waits for it.

use std::sync::Arc;

use biglock::node::{Engine, Tell};
use biglock::rules::{Change, ChangeRefused, ProposalRefused};
use biglock::{NodeId, Outside, Time};

use super::leading::leader;
use super::votes::{pass_time_and_stop, receive};
use crate::harness::{GATED, Model};
use crate::world::{NodeSpec, World, heartbeat};

pub const MODELS: &[Model] = &[
    Model {
        name: "promoting-learner",
        property: "the answer of a learner that has caught up wakes who waits for it: nobody else is there",
        threads: 2,
        goals: &["a learner", "promoted"],
        body: promoting,
        ..GATED
    },
    Model {
        name: "promoting-given-up",
        property: "who waits for a learner waits no longer than the leadership, its patience and the node last",
        threads: 4,
        goals: &[
            "a learner",
            "promoted",
            "given up",
            "deposed",
            "the node stopped",
        ],
        body: given_up,
        ..GATED
    },
];

/// The learner.
const FOUR: NodeId = NodeId(4);

/// Later than anybody is patient.
const TOO_LATE: &[Time] = &[Time::from_millis(2000)];

/// Node 1 leads nodes 2 and 3, node 4 is a learner that has not been heard, and somebody promotes it.
fn promoting_at(world: &World) -> Arc<Engine> {
    let node = leader(world, NodeSpec::new(1, 3).instant(), 1);
    let mut outside = Outside::claim("caller");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
    let (id, address) = (FOUR, String::new());
    let added = Change::AddLearner { id, address };
    let begun = node.change_members(&mut outside, &added, Tell::call(|_, _| {}));
    begun.expect("it leads, and has committed an entry of its term");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 2));

    let (there, promotes) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        if promotes.await_learner(outside, FOUR).is_err() {
            return there.reached("the node stopped");
        }
        let promoted = Change::Promote(FOUR);
        let begun = promotes.change_members(outside, &promoted, Tell::call(|_, _| {}));
        there.reached(match begun {
            Ok(()) => "promoted",
            Err(ChangeRefused::CatchingUp { .. }) => "given up",
            Err(ChangeRefused::Proposal(ProposalRefused::NotLeader)) => "deposed",
            Err(why) => panic!("nothing else is in the way: {why}"),
        });
    });
    receive(world, &node, "learner", [world.acknowledged(4, 1, 1, 2)]);
    node
}

fn promoting(world: &World) {
    promoting_at(world);
}

fn given_up(world: &World) {
    let node = promoting_at(world);
    world.elected(3, 2, 2);
    receive(world, &node, "receiver", [heartbeat(3, 1, 2)]);
    pass_time_and_stop(world, &node, TOO_LATE);
}
