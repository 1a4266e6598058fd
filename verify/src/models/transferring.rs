//! A leadership that is handed over, and all that may happen meanwhile.

use biglock::{NodeId, ProposeError, Time, TransferError};

use super::leading::leader;
use super::votes::{pass_time_and_stop, receive};
use crate::harness::{GATED, Model};
use crate::world::{ASK_AGAIN, NodeSpec, Wire, World, heartbeat};

pub const MODELS: &[Model] = &[
    Model {
        name: "transferring",
        property: "who hands over hears how it ended, whoever proposes meanwhile and whoever leads next",
        threads: 4,
        goals: &[
            "the transfer",
            "handed over",
            "another leads",
            "the node stopped",
            "no proposal meanwhile",
            "a proposal",
        ],
        body: transferring,
        ..GATED
    },
    Model {
        name: "transferring-given-up",
        property: "a transfer of which nothing comes is given up, and the leader takes proposals again",
        threads: 3,
        goals: &["the transfer", "given up", "the node stopped"],
        body: given_up,
        ..GATED
    },
];

/// Node 2 has everything, so it is told at once, and is elected by node 3; or node 3 is, by node 2.
fn transferring(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Answered).instant(), 1);
    let next = world.choose([2, 3]);
    world.elected(next, 2, 5 - next);
    let (there, hands) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        let end = hands.transfer(outside, NodeId(2));
        there.reached(match end {
            Ok(seen) => {
                assert_eq!(seen.leader, Some(NodeId(2)));
                "handed over"
            }
            Err(TransferError::Failed(seen)) => {
                assert_ne!(seen.leader, Some(NodeId(2)));
                "another leads"
            }
            Err(TransferError::Stopped(_)) => "the node stopped",
            Err(_) => "refused",
        });
    });
    let (there, proposes) = (world.clone(), node.clone());
    world.thread("proposer", move |outside| {
        match there.propose(&proposes, outside, "a") {
            Ok(()) => there.reached("a proposal"),
            Err(ProposeError::Transferring) => there.reached("no proposal meanwhile"),
            Err(_) => there.reached("no leader"),
        }
    });
    receive(world, &node, "receiver", [heartbeat(next, 1, 2)]);
    pass_time_and_stop(world, &node, &[]);
    let there = world.clone();
    world.finally(move || there.all_told());
}

const GIVE_UP: &[Time] = &[ASK_AGAIN, Time::from_millis(210)];

fn given_up(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).instant(), 1);
    let (there, hands) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        match hands.transfer(outside, NodeId(2)) {
            Err(TransferError::Failed(seen)) => {
                assert_eq!(seen.leader, Some(NodeId(1)), "this node leads on");
                there.reached("given up");
                match there.propose(&hands, outside, "a") {
                    Ok(()) | Err(ProposeError::Stopped(_)) => {}
                    Err(why) => panic!("it leads on, and takes proposals again: {why}"),
                }
            }
            Err(TransferError::Stopped(_)) => there.reached("the node stopped"),
            other => panic!("nobody else leads: {other:?}"),
        }
    });
    let leads = node.clone();
    world.thread("leader", move |outside| leads.leader_loop(outside));
    pass_time_and_stop(world, &node, GIVE_UP);
}
