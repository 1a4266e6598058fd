//! Several who ask a node for something at once, and what comes between.

use std::sync::Arc;

use biglock::node::{Engine, Tell};
use biglock::{
    Node, NodeId, Outside, ProposeError, ReadError, Stopped, Time, TransferError, Undecided,
};

use super::GATED;
use crate::harness::{Model, Start};
use crate::models::leading::leader;
use crate::models::votes::{pass_time_and_stop, receive};
use crate::world::{ASK_AGAIN, NodeSpec, Wire, World, at, command, heartbeat, noop};

pub const MODELS: &[Model] = &[
    Model {
        name: "wider-two-writes",
        property: "of two proposals that the follower has before the leader's disk does, each is committed when that has it, in order",
        threads: 3,
        goals: &["committed", "something to write", "committed entries"],
        body: two_writes,
        ..GATED
    },
    Model {
        name: "wider-asked",
        property: "of two who wait for different things each hears that the node was shut down, whatever the other waits for",
        goals: &[
            "proposal",
            "read",
            "snapshot",
            "transfer",
            "something to write",
        ],
        body: asked,
        ..GATED
    },
    Model {
        name: "wider-transfers",
        property: "of two who hand over to different nodes at once each hears how it ended, and the leader takes proposals again if nothing comes of it",
        goals: &[
            "the transfer",
            "handed over",
            "refused",
            "another leads",
            "given up",
            "the node stopped",
        ],
        body: transfers,
        ..GATED
    },
    Model {
        name: "wider-installing",
        property: "who wants a snapshot while entries are applied and a leader's snapshot arrives gets one, and nothing is applied twice or out of order",
        goals: &[
            "committed entries",
            "of some entries",
            "of all entries",
            "another was installed",
        ],
        body: installing,
        ..GATED
    },
    Model {
        name: "wider-shutdown-asked",
        property: "a leader that is shut down with a proposal or a read under way joins all its threads, and who asked hears",
        threads: 5,
        goals: &[
            "stopped while it waited",
            "a read ended",
            "something to write",
        ],
        start: Start::Free,
        body: shutdown_asked,
        ..GATED
    },
];

/// The leader of term 1, with its no-op written, committed and applied.
pub(super) fn settled(world: &World) -> Arc<Engine> {
    let node = leader(world, NodeSpec::new(1, 3), 1);
    let mut outside = Outside::claim("disk");
    node.disk_turn(&mut outside).expect("it runs");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
    node.apply_turn(&mut outside).expect("it runs");
    node
}

fn disk_and_apply(world: &World, node: Arc<Engine>) {
    let writes = node.clone();
    world.thread("disk", move |outside| writes.disk_loop(outside));
    world.thread("apply", move |outside| node.apply_loop(outside));
}

fn two_writes(world: &World) {
    let node = settled(world);
    let (there, proposes) = (world.clone(), node.clone());
    let has = world.acknowledged(2, 1, 1, 3);
    world.thread("caller", move |outside| {
        assert!(there.propose(&proposes, outside, "a").is_ok());
        let (who, awaited) = Tell::promise();
        assert!(there.propose_then(&proposes, outside, "b", who).is_ok());
        proposes.receive(outside, has);
        let what = awaited.wait(outside).expect("every proposal is decided");
        assert!(what.is_ok(), "a majority has it: {what:?}");
        there.decided("b", &what);
        proposes.stop(outside, Stopped::Shutdown);
    });
    disk_and_apply(world, node);
    let there = world.clone();
    world.finally(move || there.all_told());
}

/// Waits for one thing or another on a node that is stopped meanwhile; whether it heard of that.
fn ask(
    there: &World,
    node: &Engine,
    outside: &mut Outside,
    what: &'static str,
    command: &'static str,
) -> bool {
    match what {
        "proposal" => {
            let (who, awaited) = Tell::promise();
            match there.propose_then(node, outside, command, who) {
                Err(ProposeError::Stopped(_)) => false,
                Err(ProposeError::Transferring) => false,
                Err(other) => panic!("it leads until it stops: {other}"),
                Ok(()) => {
                    let what = awaited.wait(outside).expect("every proposal is decided");
                    there.decided(command, &what);
                    matches!(what, Err(Undecided::Stopped(_)))
                }
            }
        }
        "read" => matches!(there.read(node, outside), Err(ReadError::Stopped(_))),
        "snapshot" => {
            let (who, awaited) = Tell::promise();
            let asked = node.snapshot(outside, who).is_ok();
            asked && awaited.wait(outside).expect("who waits is told").is_err()
        }
        _ => matches!(
            node.transfer(outside, NodeId(2)),
            Err(TransferError::Stopped(_))
        ),
    }
}

fn asked(world: &World) {
    const ALL: [&str; 4] = ["proposal", "read", "snapshot", "transfer"];
    let first = world.choose(0..4usize);
    let second = world.choose(first..4usize);
    let node = settled(world);
    for (name, what, command) in [
        ("caller a", ALL[first], "a"),
        ("caller b", ALL[second], "b"),
    ] {
        let (there, asks) = (world.clone(), node.clone());
        world.thread(name, move |outside| {
            if ask(&there, &asks, outside, what, command) {
                there.reached(what);
            }
        });
    }
    let writes = node.clone();
    world.thread("disk", move |outside| writes.disk_loop(outside));
    pass_time_and_stop(world, &node, &[]);
    let there = world.clone();
    world.finally(move || there.all_told());
}

const GIVE_UP: &[Time] = &[ASK_AGAIN, Time::from_millis(210)];

/// One hands over to node 2, one to node 3; one of these is elected, by the other, or none is.
fn transfers(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Answered).instant(), 1);
    let next = world.choose([Some(2), Some(3), None]);
    for (name, to) in [("caller a", 2), ("caller b", 3)] {
        let (there, hands) = (world.clone(), node.clone());
        world.thread(name, move |outside| {
            let end = hands.transfer(outside, NodeId(to));
            there.reached(match end {
                Ok(seen) => {
                    assert_eq!(seen.leader, Some(NodeId(to)));
                    "handed over"
                }
                Err(TransferError::Failed(seen)) if seen.leader == Some(NodeId(1)) => "given up",
                Err(TransferError::Failed(seen)) => {
                    assert_ne!(seen.leader, Some(NodeId(to)));
                    "another leads"
                }
                Err(TransferError::Stopped(_)) => "the node stopped",
                Err(_) => "refused",
            });
        });
    }
    let leads = node.clone();
    world.thread("leader", move |outside| leads.leader_loop(outside));
    if let Some(next) = next {
        world.elected(next, 2, 5 - next);
        let (hears, news) = (node.clone(), world.said(heartbeat(next, 1, 2)));
        world.thread("receiver", move |outside| {
            hears.receive(outside, news);
            hears.stop(outside, Stopped::Shutdown);
        });
    } else {
        pass_time_and_stop(world, &node, GIVE_UP);
    }
}

/// The leader's snapshot has as much as the entries, or more.
fn installing(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).instant_disk());
    world.elected(2, 1, 3);
    let entries = world.append(
        (2, 1, 1),
        at(0, 0),
        vec![noop(1), command(1, "a"), command(1, "b")],
        3,
    );
    let theirs = world.choose([3, 5]);
    let state: &[_] = match theirs {
        3 => &[(2, "a"), (3, "b")],
        _ => &[(2, "a"), (3, "b"), (4, "c")],
    };
    let snapshot = world.snapshot((2, 1, 1), at(1, theirs), state);
    receive(world, &node, "receiver", [entries]);
    receive(world, &node, "receiver'", [snapshot]);
    let (there, wants) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        let (who, awaited) = Tell::promise();
        wants.snapshot(outside, who).expect("nothing ends it");
        let taken = awaited.wait(outside).expect("who wants a snapshot is told");
        let taken = taken.expect("nothing ends it").index;
        there.reached(match taken {
            5 => "another was installed",
            3 => "of all entries",
            _ => "of some entries",
        });
        wants.stop(outside, Stopped::Shutdown);
    });
    world.thread("apply", move |outside| node.apply_loop(outside));
}

/// All the threads of a leader, and a caller that asks and then shuts the node down.
fn shutdown_asked(world: &World) {
    let engine = settled(world);
    let node = Node::run(engine.clone()).expect("the model gives threads");
    let proposes = world.choose([true, false]);
    world.settle();
    world.explore();
    let mut outside = Outside::claim("caller");
    let (who, reply) = Tell::promise();
    let (reads, read) = Tell::promise();
    let asked = match proposes {
        true => world.propose_then(&engine, &mut outside, "a", who).is_ok(),
        false => engine.read(&mut outside, reads).is_ok(),
    };
    assert!(asked, "it leads");
    assert!(node.shutdown().is_ok());
    world.closed(1);
    if proposes {
        let what = reply.wait(&outside).expect("every proposal is decided");
        world.decided("a", &what);
    } else {
        let end = read.wait(&outside).expect("every read is answered");
        assert!(end.is_err(), "nobody confirmed that it leads");
        world.reached("a read ended");
    }
}
